-- $1 sessions, $2 those whose declaration is wanted
select no, tenant, replica, token, connection, state, opened_at, wake_at,
    case when no = any($2::bigint[]) then declaration else '' end
from sessions
where no = any($1::bigint[])
order by no
for update
