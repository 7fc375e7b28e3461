update subtasks s
set state = c.state, route = c.route, priority = c.priority, pending = c.pending, failures = c.failures,
    attempts = c.attempts, losses = c.losses, held = c.held, queued = c.queued, lease = c.lease,
    session_no = c.session_no, outcome = c.outcome, wake_at = c.wake_at, since = c.since
from unnest(
    $1::bigint[], $2::int[], $3::smallint[], $4::bigint[], $5::smallint[], $6::int[], $7::int[],
    $8::int[], $9::int[], $10::boolean[], $11::bigint[], $12::bigint[], $13::bigint[], $14::smallint[],
    $15::bigint[], $16::bigint[]
) as c (
    task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
    session_no, outcome, wake_at, since
)
where s.task_no = c.task_no and s.idx = c.idx
