-- What a worker declared never changes.
update sessions s
set replica = c.replica, token = c.token, state = c.state, wake_at = c.wake_at, stamp = $6::bigint
from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::smallint[], $5::bigint[])
    as c (no, replica, token, state, wake_at)
where s.no = c.no
