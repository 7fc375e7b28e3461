-- Everything but who it is: number, tenant, id, digest, birth.
update tasks
set status = ?2, mode = ?3, priority = ?4, total = ?5, unfinished = ?6, failed = ?7, in_review = ?8,
    events = ?9, started_at = ?10, ended_at = ?11, due_at = ?12, wake_at = ?13, reason = ?14
where no = ?1
