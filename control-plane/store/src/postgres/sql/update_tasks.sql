-- Everything but who it is: number, tenant, id, digest, birth.
update tasks t
set status = c.status, mode = c.mode, priority = c.priority, total = c.total, unfinished = c.unfinished,
    failed = c.failed, in_review = c.in_review, events = c.events, started_at = c.started_at,
    ended_at = c.ended_at, deadline = c.deadline, stopped_at = c.stopped_at, due_at = c.due_at,
    wake_at = c.wake_at, reason = c.reason
from unnest(
    $1::bigint[], $2::smallint[], $3::smallint[], $4::smallint[], $5::int[], $6::int[], $7::int[],
    $8::int[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::bigint[], $16::text[]
) as c (
    no, status, mode, priority, total, unfinished, failed, in_review, events, started_at, ended_at, deadline,
    stopped_at, due_at, wake_at, reason
)
where t.no = c.no
