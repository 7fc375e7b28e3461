-- ?1 route, ?2 the number of the state, ?3 whether to be in it, ?4 in line since before, ?5 limit
select task_no, idx
from subtasks
where route = ?1 and queued is not null and (state = ?2) = ?3 and (?3 or since < ?4)
order by priority desc, queued, task_no, idx
limit ?5
