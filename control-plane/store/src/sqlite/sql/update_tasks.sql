-- Everything but who it is: number, tenant, id, digest, birth.
update tasks
set status = ?2, mode = ?3, priority = ?4, total = ?5, unfinished = ?6, failed = ?7, in_review = ?8,
    asking = ?9, events = ?10, started_at = ?11, ended_at = ?12, deadline = ?13, stopped_at = ?14,
    due_at = ?15, wake_at = ?16, reason = ?17
where no = ?1
