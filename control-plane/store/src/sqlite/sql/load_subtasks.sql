-- ?1 task, ?2 index
select
    task_no, idx, state, route, priority, pending, failed, skipped, failures, attempts, losses, held,
    waived, queued, lease, session_no, outcome, wake_at, since
from subtasks
where task_no = ?1 and idx = ?2
