-- New tasks, in one statement: their heads ($1 to $20, in the order of their names), plans ($21 to $25) and
-- subtasks ($26 to $42). $43 is the stamp.
with heads as (
    insert into tasks (
        no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, events,
        created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason, stamp
    )
    select *, $43::bigint
    from unnest(
        $1::bigint[], $2::int[], $3::text[], $4::bytea[], $5::smallint[], $6::smallint[], $7::smallint[],
        $8::int[], $9::int[], $10::int[], $11::int[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[]
    )
), planned as (
    insert into plans (task_no, tenant, title, request, nodes)
    select * from unnest($21::bigint[], $22::int[], $23::text[], $24::bytea[], $25::bytea[])
)
insert into subtasks (
    task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
    session_no, outcome, wake_at, since, tenant
)
select *
from unnest(
    $26::bigint[], $27::int[], $28::smallint[], $29::bigint[], $30::smallint[], $31::int[], $32::int[],
    $33::int[], $34::int[], $35::boolean[], $36::bigint[], $37::bigint[], $38::bigint[], $39::smallint[],
    $40::bigint[], $41::bigint[], $42::int[]
)
