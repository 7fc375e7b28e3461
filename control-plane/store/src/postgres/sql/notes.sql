-- $1 task
select task_no, kind, place, body from notes where task_no = $1::bigint order by kind, place
