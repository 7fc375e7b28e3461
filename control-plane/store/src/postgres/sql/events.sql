-- $1 task, $2 after this number, $3 limit: each row holds at least one event. No event is older than its
-- task, so older partitions are not looked at.
select body
from history
where task_no = $1::bigint
    and last > $2::bigint
    and first <= $2::bigint + $3::bigint
    and day >= (select created_at / 86400000 from tasks where no = $1::bigint)
order by last
limit $3::bigint
