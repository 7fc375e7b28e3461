create table if not exists schema_migrations (
    number int not null primary key,
    name text not null,
    digest text not null
)
