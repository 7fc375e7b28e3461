update subtasks
set state = ?3, route = ?4, priority = ?5, pending = ?6, failed = ?7, skipped = ?8, failures = ?9,
    attempts = ?10, losses = ?11, held = ?12, waived = ?13, queued = ?14, lease = ?15, session_no = ?16,
    outcome = ?17, wake_at = ?18, since = ?19
where task_no = ?1 and idx = ?2
