select no, tenant, replica, token, connection, state, opened_at, wake_at, declaration from sessions order by no
