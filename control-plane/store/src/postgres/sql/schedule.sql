-- $1 tenant, $2 name
select no, tenant, version, wake_at, name, spec, state, starts from schedules where tenant = $1 and name = $2
