insert into sessions (no, tenant, replica, token, connection, state, opened_at, wake_at, stamp, declaration)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
