-- $1 number, $2 the version that was seen, $6 null: as it is
update schedules
set version = version + 1, wake_at = $3, spec = $4, state = $5, starts = coalesce($6, starts)
where no = $1 and version = $2
returning no
