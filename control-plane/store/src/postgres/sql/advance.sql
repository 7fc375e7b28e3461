-- What a running task changes, in one statement: the heads of tasks ($7 to $22: everything but who they are),
-- subtasks ($23 to $38), what they delivered ($39 to $43), and what happened ($44 to $50). $5 is the stamp. Nothing
-- is written unless the tasks $6 are there, which the same batch created.
, proven as materialized (
    select
        (select count(*) from held) = cardinality($1::bigint[])
        and (select count(*) from locked) = cardinality($3::bigint[])
        and (
            cardinality($6::bigint[]) = 0
            or (select count(*) from tasks where no = any($6::bigint[])) = cardinality($6::bigint[])
        ) as all
), heads as (
    update tasks t
    set status = c.status, mode = c.mode, priority = c.priority, total = c.total, unfinished = c.unfinished,
        failed = c.failed, in_review = c.in_review, events = c.events, started_at = c.started_at,
        ended_at = c.ended_at, deadline = c.deadline, stopped_at = c.stopped_at, due_at = c.due_at,
        wake_at = c.wake_at, reason = c.reason, stamp = $5::bigint
    from unnest(
        $7::bigint[], $8::smallint[], $9::smallint[], $10::smallint[], $11::int[], $12::int[], $13::int[],
        $14::int[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
        $21::bigint[], $22::text[]
    ) as c (
        no, status, mode, priority, total, unfinished, failed, in_review, events, started_at, ended_at,
        deadline, stopped_at, due_at, wake_at, reason
    )
    where (select proven.all from proven) and t.no = c.no
), places as (
    update subtasks s
    set state = c.state, route = c.route, priority = c.priority, pending = c.pending, failures = c.failures,
        attempts = c.attempts, losses = c.losses, held = c.held, queued = c.queued, lease = c.lease,
        session_no = c.session_no, outcome = c.outcome, wake_at = c.wake_at, since = c.since
    from unnest(
        $23::bigint[], $24::int[], $25::smallint[], $26::bigint[], $27::smallint[], $28::int[], $29::int[],
        $30::int[], $31::int[], $32::boolean[], $33::bigint[], $34::bigint[], $35::bigint[], $36::smallint[],
        $37::bigint[], $38::bigint[]
    ) as c (
        task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
        session_no, outcome, wake_at, since
    )
    where (select proven.all from proven) and s.task_no = c.task_no and s.idx = c.idx
), delivered as (
    insert into outputs (task_no, idx, tenant, body, artifacts)
    select *
    from unnest($39::bigint[], $40::int[], $41::int[], $42::bytea[], $43::text[])
    where (select proven.all from proven)
), happened as (
    insert into history (task_no, first, last, at, day, tenant, body)
    select *
    from unnest($44::bigint[], $45::bigint[], $46::bigint[], $47::bigint[], $48::int[], $49::int[], $50::bytea[])
    where (select proven.all from proven)
)
