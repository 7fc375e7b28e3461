-- $1 sessions
select session_no, task_no, idx, lease, route
from subtasks
where session_no = any($1::bigint[])
order by session_no, task_no, idx
