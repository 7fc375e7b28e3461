-- ?1 tenant, ?2 name, ?3 version after the first, ?4 limit
select name, version, restores, created_at, created_by, description, digest, x''
from workflow_versions
where tenant = ?1 and name = ?2 and version < ?3
order by version desc
limit ?4
