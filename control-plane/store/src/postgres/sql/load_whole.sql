-- $1 tasks
select
    task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
    session_no, outcome, wake_at, since
from subtasks
where task_no = any($1::bigint[])
order by task_no, idx
