-- ?1 tenant, ?2 agent, ?3 capabilities, ?4 digest. Numbers have no gaps and become visible in their order.
insert into routes (no, tenant, agent, capabilities, digest)
select coalesce(max(no), 0) + 1, ?1, ?2, ?3, ?4 from routes
returning no
