-- $1 tasks
select p.task_no, p.tenant, t.id, p.title, p.request, p.nodes
from plans p
join tasks t on t.no = p.task_no
where p.task_no = any($1::bigint[])
order by p.task_no
