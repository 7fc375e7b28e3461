-- $1 task, $2 the kind to stop before
select task_no, kind, place, body from notes where task_no = $1::bigint and kind < $2::smallint order by kind, place
