-- $1 tenant
select session_no, count(*)
from subtasks
where session_no is not null and tenant = $1::int
group by session_no
order by session_no
