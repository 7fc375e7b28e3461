insert into tasks (
    no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, asking, events,
    created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
    ?20, ?21)
