update subtasks
set state = ?3, route = ?4, priority = ?5, pending = ?6, failures = ?7, attempts = ?8, losses = ?9,
    held = ?10, queued = ?11, lease = ?12, session_no = ?13, outcome = ?14, wake_at = ?15, since = ?16
where task_no = ?1 and idx = ?2
