-- ?1 task, ?2 the kind to stop before
select task_no, kind, place, body from notes where task_no = ?1 and kind < ?2 order by kind, place
