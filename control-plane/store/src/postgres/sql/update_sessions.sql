-- What a worker declared never changes, nor its token.
update sessions s
set replica = c.replica, connection = c.connection, state = c.state, wake_at = c.wake_at, stamp = $2::bigint
from unnest($1::session_row[]) as c
where s.no = c.no
