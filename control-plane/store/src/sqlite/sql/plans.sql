-- ?1 task
select p.task_no, p.tenant, t.id, p.title, p.request, p.nodes
from plans p
join tasks t on t.no = p.task_no
where p.task_no = ?1
