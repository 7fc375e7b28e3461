insert into subtasks (
    task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
    session_no, outcome, wake_at, since, tenant
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
