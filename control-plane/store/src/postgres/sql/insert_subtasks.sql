insert into subtasks (
    task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
    session_no, outcome, wake_at, since, tenant
)
select *
from unnest(
    $1::bigint[], $2::int[], $3::smallint[], $4::bigint[], $5::smallint[], $6::int[], $7::int[],
    $8::int[], $9::int[], $10::boolean[], $11::bigint[], $12::bigint[], $13::bigint[], $14::smallint[],
    $15::bigint[], $16::bigint[], $17::int[]
)
