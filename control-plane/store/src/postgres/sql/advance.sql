-- What a running task changes, in one statement: the heads of tasks ($1 to $16: everything but who they are),
-- subtasks ($17 to $32), what they delivered ($33 to $37), and what happened ($38 to $44). $45 is the stamp.
--
-- Nothing is written unless the rows that were not locked before are as they are remembered: sessions and their
-- stamps ($46, $47), and then tasks and theirs ($48, $49), locked here in this order. Answers whether they are,
-- which of them, and the time and the stamp for the next batch.
with held as materialized (
    select s.no
    from unnest($46::bigint[], $47::bigint[]) as known (no, stamp)
    join sessions s on s.no = known.no and s.stamp = known.stamp
    order by s.no
    for share of s
), locked as materialized (
    select t.no
    from unnest($48::bigint[], $49::bigint[]) as known (no, stamp)
    join tasks t on t.no = known.no and t.stamp = known.stamp
    where (select count(*) from held) = cardinality($46::bigint[])
    order by t.no
    for update of t
), proven as materialized (
    select
        (select count(*) from held) = cardinality($46::bigint[])
        and (select count(*) from locked) = cardinality($48::bigint[]) as all
), heads as (
    update tasks t
    set status = c.status, mode = c.mode, priority = c.priority, total = c.total, unfinished = c.unfinished,
        failed = c.failed, in_review = c.in_review, events = c.events, started_at = c.started_at,
        ended_at = c.ended_at, deadline = c.deadline, stopped_at = c.stopped_at, due_at = c.due_at,
        wake_at = c.wake_at, reason = c.reason, stamp = $45::bigint
    from unnest(
        $1::bigint[], $2::smallint[], $3::smallint[], $4::smallint[], $5::int[], $6::int[], $7::int[],
        $8::int[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::bigint[], $16::text[]
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
        $17::bigint[], $18::int[], $19::smallint[], $20::bigint[], $21::smallint[], $22::int[], $23::int[],
        $24::int[], $25::int[], $26::boolean[], $27::bigint[], $28::bigint[], $29::bigint[], $30::smallint[],
        $31::bigint[], $32::bigint[]
    ) as c (
        task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
        session_no, outcome, wake_at, since
    )
    where (select proven.all from proven) and s.task_no = c.task_no and s.idx = c.idx
), delivered as (
    insert into outputs (task_no, idx, tenant, body, artifacts)
    select *
    from unnest($33::bigint[], $34::int[], $35::int[], $36::bytea[], $37::text[])
    where (select proven.all from proven)
), happened as (
    insert into history (task_no, first, last, at, day, tenant, body)
    select *
    from unnest($38::bigint[], $39::bigint[], $40::bigint[], $41::bigint[], $42::int[], $43::int[], $44::bytea[])
    where (select proven.all from proven)
)
select
    proven.all,
    case when not proven.all then array(select no from held) end,
    case when not proven.all then array(select no from locked) end,
    (extract(epoch from clock_timestamp()) * 1000)::bigint,
    nextval('stamps')
from proven
