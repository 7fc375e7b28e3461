-- ?1 number
select no, tenant, version, wake_at, name, spec, state, starts from schedules where no = ?1
