insert into subtasks (
    task_no, idx, state, route, priority, pending, failed, skipped, failures, attempts, losses, held,
    waived, queued, lease, session_no, outcome, wake_at, since, tenant
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
    ?19, ?20)
