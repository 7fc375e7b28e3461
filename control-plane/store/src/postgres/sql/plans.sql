-- $1 tasks. Of each its plan (`first` is null), and then what it grew by, in order.
select p.task_no, null as first, p.tenant, t.id, p.title, p.request, p.nodes
from plans p
join tasks t on t.no = p.task_no
where p.task_no = any($1::bigint[])
union all
select task_no, first, tenant, '', '', ''::bytea, nodes
from plan_parts
where task_no = any($1::bigint[])
order by task_no, first nulls first
