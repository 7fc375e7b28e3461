insert into sessions (no, tenant, replica, token, state, opened_at, wake_at, declaration, stamp)
select c.*, $9::bigint
from unnest(
    $1::bigint[], $2::int[], $3::bigint[], $4::bytea[], $5::smallint[], $6::bigint[], $7::bigint[],
    $8::text[]
) as c
