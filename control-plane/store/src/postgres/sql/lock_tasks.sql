-- $1 tasks; $2 and $3 tenants and ids of others, pair by pair. All are locked in the order of their numbers.
select
    no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, asking, events,
    created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason, stamp
from tasks
where no = any(array(
    select unnest($1::bigint[])
    union
    select t.no
    from unnest($2::int[], $3::text[]) as named (tenant, id)
    join tasks t on t.tenant = named.tenant and t.id = named.id
))
order by no
for update
