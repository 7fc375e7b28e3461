-- ?1 session, ?2 whether its declaration is wanted
select no, tenant, replica, token, connection, state, opened_at, wake_at, case when ?2 then declaration else '' end
from sessions
where no = ?1
