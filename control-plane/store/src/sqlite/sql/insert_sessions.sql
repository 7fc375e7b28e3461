insert into sessions (no, tenant, replica, token, state, opened_at, wake_at, stamp, declaration)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
