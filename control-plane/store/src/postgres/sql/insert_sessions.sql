insert into sessions (no, tenant, replica, token, connection, state, opened_at, wake_at, declaration, stamp)
select c.*, $10::bigint
from unnest(
    $1::bigint[], $2::int[], $3::bigint[], $4::bytea[], $5::bigint[], $6::smallint[], $7::bigint[],
    $8::bigint[], $9::text[]
) as c
