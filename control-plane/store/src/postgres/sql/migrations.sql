select number, name, digest from schema_migrations order by number
