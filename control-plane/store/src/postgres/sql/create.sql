-- New tasks, in one statement: their heads ($7, in the order of their names), plans ($8), and subtasks ($9), also those
-- by which older tasks have grown. $5 is the stamp. Of names that were not looked up before ($6), nothing is written unless they are free.
, proven as materialized (
    select
        (select count(*) from held) = cardinality($1::bigint[])
        and (select count(*) from locked) = cardinality($3::bigint[])
        and (not $6::boolean or not exists (
            select
            from unnest($7::task_row_2[]) as named
            join tasks t on t.tenant = named.tenant and t.id = named.id
        )) as all
), heads as (
    insert into tasks (
        no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, asking, events,
        created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason, stamp
    )
    select c.*, $5::bigint
    from unnest($7::task_row_2[]) as c
    where (select proven.all from proven)
), planned as (
    insert into plans (task_no, tenant, title, request, nodes)
    select c.*
    from unnest($8::plan_row[]) as c
    where (select proven.all from proven)
), places as (
    insert into subtasks (
        task_no, idx, tenant, state, route, priority, pending, failed, skipped, failures, attempts, losses,
        held, waived, queued, lease, session_no, outcome, wake_at, since
    )
    select c.*
    from unnest($9::subtask_row_2[]) as c
    where (select proven.all from proven)
)
