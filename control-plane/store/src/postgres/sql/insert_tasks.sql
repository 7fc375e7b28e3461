insert into tasks (
    no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, events,
    created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason
)
select *
from unnest(
    $1::bigint[], $2::int[], $3::text[], $4::bytea[], $5::smallint[], $6::smallint[], $7::smallint[],
    $8::int[], $9::int[], $10::int[], $11::int[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[]
)
