-- The batch's time and stamp, once with each subtask at $1 and $2 (tasks and indexes, pair by pair), or alone.
-- Last of the load: after the locks.
with drawn as materialized (
    select (extract(epoch from clock_timestamp()) * 1000)::bigint as now, nextval('stamps') as stamp
)
select
    drawn.now, drawn.stamp, s.task_no, s.idx, s.state, s.route, s.priority, s.pending, s.failed, s.skipped,
    s.failures, s.attempts, s.losses, s.held, s.waived, s.queued, s.lease, s.session_no, s.outcome, s.wake_at, s.since
from drawn
left join (
    unnest($1::bigint[], $2::int[]) as wanted (task_no, idx)
    join subtasks s on s.task_no = wanted.task_no and s.idx = wanted.idx
) on true
