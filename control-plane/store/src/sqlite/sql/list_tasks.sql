-- ?1 tenant, ?2 status, ?3 only below this number, ?4 prefix of the id, ?5 limit
select
    t.no, t.id, p.title, t.priority, t.status, t.total, t.unfinished, t.created_at, t.started_at, t.ended_at
from tasks t
join plans p on p.task_no = t.no
where t.tenant = ?1 and t.status = ?2 and t.no < ?3
    and substr(cast(t.id as blob), 1, length(cast(?4 as blob))) = cast(?4 as blob)
order by t.no desc
limit ?5
