-- ?1 task. Its plan (`first` is null), and then what it grew by, in order.
select p.task_no, null as first, p.tenant, t.id, p.title, p.request, p.nodes
from plans p
join tasks t on t.no = p.task_no
where p.task_no = ?1
union all
select task_no, first, tenant, '', '', x'', nodes
from plan_parts
where task_no = ?1
order by task_no, first nulls first
