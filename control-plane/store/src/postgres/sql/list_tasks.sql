-- $1 tenant, $2 statuses, $3 only below this number, $4 prefix of the id, $5 limit.
-- The newest of each status are the only ones that can be on the page: one short scan of `tasks_listed` each. It is
-- by `-no` so that no other index can serve: by the primary key, a status that few tasks have is looked for in all.
select
    t.no, t.id, p.title, t.priority, t.status, t.total, t.unfinished, t.created_at, t.started_at, t.ended_at
from (
    select newest.*
    from unnest($2::smallint[]) as wanted (status)
    cross join lateral (
        select *
        from tasks
        where tenant = $1::int and status = wanted.status and -no > -$3::bigint and id ^@ $4::text
        order by -no
        limit $5::bigint
    ) as newest
    order by newest.no desc
    limit $5::bigint
) as t
join plans p on p.task_no = t.no
order by t.no desc
