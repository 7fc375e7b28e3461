-- $1 tasks
select
    task_no, idx, state, route, priority, pending, failed, skipped, failures, attempts, losses, held,
    waived, queued, lease, session_no, outcome, wake_at, since
from subtasks
where task_no = any($1::bigint[])
order by task_no, idx
