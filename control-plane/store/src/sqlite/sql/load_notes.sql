-- ?1 task, ?2 kind, ?3 place
select task_no, kind, place, body from notes where task_no = ?1 and kind = ?2 and place = ?3
