insert into workflow_versions
    (tenant, name, version, restores, created_at, created_by, description, digest, definition)
values ($1::int, $2::text, $3::int, $4::int, $5::bigint, $6::text, $7::text, $8::bytea, $9::bytea)
