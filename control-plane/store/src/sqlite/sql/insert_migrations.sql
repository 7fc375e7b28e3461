insert into schema_migrations (number, name, digest) values (?1, ?2, ?3)
