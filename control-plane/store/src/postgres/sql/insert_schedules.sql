insert into schedules (version, wake_at, tenant, name, spec, state, starts)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant, name) do nothing
returning no
