-- ?1 route, ?2 priority, ?3 from this place in line, ?4 limit
select queued, task_no, idx
from subtasks
where route = ?1 and priority = ?2 and queued >= ?3 and queued is not null
order by queued, task_no, idx
limit ?4
