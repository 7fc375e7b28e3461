-- Everything but who it is: number, tenant, id, digest, birth.
update tasks
set status = ?2, mode = ?3, priority = ?4, total = ?5, unfinished = ?6, failed = ?7, in_review = ?8,
    events = ?9, started_at = ?10, ended_at = ?11, deadline = ?12, stopped_at = ?13, due_at = ?14,
    wake_at = ?15, reason = ?16
where no = ?1
