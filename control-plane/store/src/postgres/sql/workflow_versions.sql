-- $1 tenant, $2 name, $3 version after the first, $4 limit
select name, version, restores, created_at, created_by, description, digest, ''::bytea
from workflow_versions
where tenant = $1::int and name = $2::text and version < $3::int
order by version desc
limit $4::bigint
