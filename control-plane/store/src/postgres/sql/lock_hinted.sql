-- $1 tasks; those locked elsewhere are left out
select
    no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, asking, events,
    created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason, stamp
from tasks
where no = any($1::bigint[])
order by no
for update skip locked
