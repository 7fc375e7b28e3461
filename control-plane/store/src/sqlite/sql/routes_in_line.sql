select no
from routes r
where exists (select 1 from subtasks s where s.route = r.no and s.queued is not null)
order by no
