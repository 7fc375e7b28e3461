-- $1 and $2 tasks and indexes, pair by pair
select o.task_no, o.idx, o.tenant, o.body, o.artifacts
from unnest($1::bigint[], $2::int[]) with ordinality as wanted (task_no, idx, place)
join outputs o on o.task_no = wanted.task_no and o.idx = wanted.idx
order by wanted.place
