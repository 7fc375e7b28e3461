-- $1 route, $2 from these places in line (one for each priority, by its number), $3 limit. Dead index entries before
-- them are not walked.
select place.priority, place.queued, place.task_no, place.idx
from (select (nth - 1)::smallint, at from unnest($2::bigint[]) with ordinality as _ (at, nth)) as level (priority, at)
cross join lateral (
    select priority, queued, task_no, idx
    from subtasks
    where route = $1::bigint and priority = level.priority and queued >= level.at and queued is not null
    order by queued, task_no, idx
    limit $3::bigint
) as place
order by place.priority desc, place.queued, place.task_no, place.idx
limit $3::bigint
