-- $1 tenant; $2 agents, $3 capabilities and $4 digests, each digest once. Under lock_routes.sql.
insert into routes (no, tenant, agent, capabilities, digest)
select newest.no + row_number() over (order by c.place), $1::int, c.agent, c.capabilities, c.digest
from unnest($2::text[], $3::text[], $4::bytea[]) with ordinality as c (agent, capabilities, digest, place)
cross join (select coalesce(max(no), 0) as no from routes) as newest
where not exists (select from routes r where r.tenant = $1::int and r.digest = c.digest)
