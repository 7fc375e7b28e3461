-- $1 tenant, $2 name, $3 version, $4 deleted; $5 and $6 are what both were
insert into workflows (tenant, name, version, deleted)
values ($1::int, $2::text, $3::int, $4::boolean)
on conflict (tenant, name) do update set version = excluded.version, deleted = excluded.deleted
where workflows.version = $5::int and workflows.deleted = $6::boolean
returning version
