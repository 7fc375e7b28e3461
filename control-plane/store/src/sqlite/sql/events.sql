-- ?1 task, ?2 after this number, ?3 limit: each row holds at least one event
select body
from history
where task_no = ?1 and last > ?2 and first <= ?2 + ?3
order by last
limit ?3
