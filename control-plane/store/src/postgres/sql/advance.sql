-- What a running task changes, in one statement: the heads of tasks ($7: everything but who they are), subtasks ($8),
-- and what they delivered ($9). $5 is the stamp. Nothing is written unless the tasks $6 are there,
-- which the same batch created.
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
        failed = c.failed, in_review = c.in_review, asking = c.asking, events = c.events,
        started_at = c.started_at, ended_at = c.ended_at, deadline = c.deadline, stopped_at = c.stopped_at,
        due_at = c.due_at, wake_at = c.wake_at, reason = c.reason, stamp = $5::bigint
    from unnest($7::task_row_2[]) as c
    where (select proven.all from proven) and t.no = c.no
), places as (
    update subtasks s
    set state = c.state, route = c.route, priority = c.priority, pending = c.pending, failed = c.failed,
        skipped = c.skipped, failures = c.failures, attempts = c.attempts, losses = c.losses, held = c.held,
        waived = c.waived, queued = c.queued, lease = c.lease, session_no = c.session_no, outcome = c.outcome,
        wake_at = c.wake_at, since = c.since
    from unnest($8::subtask_row_2[]) as c
    where (select proven.all from proven) and s.task_no = c.task_no and s.idx = c.idx
), delivered as (
    insert into outputs (task_no, idx, tenant, body, artifacts)
    select c.*
    from unnest($9::output_row[]) as c
    where (select proven.all from proven)
)
