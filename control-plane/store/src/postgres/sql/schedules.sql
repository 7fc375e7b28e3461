-- $1 tenant, $2 the name before, $3 limit
select no, tenant, version, wake_at, name, spec, state from schedules
where tenant = $1 and name > $2
order by name
limit $3
