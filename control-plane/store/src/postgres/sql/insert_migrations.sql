insert into schema_migrations (number, name, digest) values ($1::int, $2::text, $3::text)
