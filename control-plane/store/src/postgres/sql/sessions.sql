select no, tenant, replica, token, state, opened_at, wake_at, declaration from sessions order by no
