insert into sessions (no, tenant, replica, token, connection, state, opened_at, wake_at, declaration, stamp)
select c.*, $2::bigint from unnest($1::session_row[]) as c
