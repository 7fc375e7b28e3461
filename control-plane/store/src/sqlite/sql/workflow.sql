-- ?1 tenant, ?2 name, ?3 version, 0 for the newest
select w.version, w.deleted,
       v.name, v.version, v.restores, v.created_at, v.created_by, v.description, v.digest, v.definition
from workflows w
join workflow_versions v
  on v.tenant = w.tenant and v.name = w.name and v.version = case when ?3 = 0 then w.version else ?3 end
where w.tenant = ?1 and w.name = ?2
