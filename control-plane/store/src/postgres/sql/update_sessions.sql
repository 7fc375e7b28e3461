-- What a worker declared never changes, nor its token.
update sessions s
set replica = c.replica, connection = c.connection, state = c.state, wake_at = c.wake_at, stamp = $6::bigint
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[])
    as c (no, replica, connection, state, wake_at)
where s.no = c.no
