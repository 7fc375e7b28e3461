-- $1 task
select
    no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, asking, events,
    created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason
from tasks
where no = $1::bigint
