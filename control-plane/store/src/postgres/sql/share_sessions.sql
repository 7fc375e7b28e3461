-- $1 sessions that must not change meanwhile
select no, tenant, replica, token, connection, state, opened_at, wake_at, '', stamp
from sessions
where no = any($1::bigint[])
order by no
for share
