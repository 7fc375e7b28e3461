delete from schedules where no = $1
