-- $1 tenant, $2 name before the first, $3 limit
select v.name, v.version, v.restores, v.created_at, v.created_by, v.description, v.digest, ''::bytea
from workflows w
join workflow_versions v on v.tenant = w.tenant and v.name = w.name and v.version = w.version
where w.tenant = $1::int and w.name > $2::text and not w.deleted
order by w.name
limit $3::bigint
