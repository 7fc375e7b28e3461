-- What a running task changes, in one statement: the heads of tasks ($1 to $16: everything but who they are),
-- subtasks ($17 to $32), what they delivered ($33 to $37), and what happened ($38 to $44).
with heads as (
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
        no, status, mode, priority, total, unfinished, failed, in_review, events, started_at, ended_at,
        deadline, stopped_at, due_at, wake_at, reason
    )
    where t.no = c.no
), places as (
    update subtasks s
    set state = c.state, route = c.route, priority = c.priority, pending = c.pending, failures = c.failures,
        attempts = c.attempts, losses = c.losses, held = c.held, queued = c.queued, lease = c.lease,
        session_no = c.session_no, outcome = c.outcome, wake_at = c.wake_at, since = c.since
    from unnest(
        $17::bigint[], $18::int[], $19::smallint[], $20::bigint[], $21::smallint[], $22::int[], $23::int[],
        $24::int[], $25::int[], $26::boolean[], $27::bigint[], $28::bigint[], $29::bigint[], $30::smallint[],
        $31::bigint[], $32::bigint[]
    ) as c (
        task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
        session_no, outcome, wake_at, since
    )
    where s.task_no = c.task_no and s.idx = c.idx
), delivered as (
    insert into outputs (task_no, idx, tenant, body, artifacts)
    select * from unnest($33::bigint[], $34::int[], $35::int[], $36::bytea[], $37::text[])
)
insert into history (task_no, first, last, at, day, tenant, body)
select *
from unnest($38::bigint[], $39::bigint[], $40::bigint[], $41::bigint[], $42::int[], $43::int[], $44::bytea[])
