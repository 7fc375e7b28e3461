-- $1 route, $2 from this place in line, $3 limit. Each priority starts where the last scan stopped, so that
-- dead index entries before it are never walked.
select place.priority, place.queued, place.task_no, place.idx
from unnest(array[3, 2, 1, 0]::smallint[]) as level (priority)
cross join lateral (
    select priority, queued, task_no, idx
    from subtasks
    where route = $1::bigint and priority = level.priority and queued >= $2::bigint and queued is not null
    order by queued, task_no, idx
    limit $3::bigint
) as place
order by place.priority desc, place.queued, place.task_no, place.idx
limit $3::bigint
