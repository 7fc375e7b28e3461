-- New tasks, in one statement: their heads ($7 to $26, in the order of their names), plans ($27 to $31), subtasks
-- ($32 to $48), and what happened ($49 to $55). $5 is the stamp. Of names that were
-- not looked up before ($6), nothing is written unless they are free.
, proven as materialized (
    select
        (select count(*) from held) = cardinality($1::bigint[])
        and (select count(*) from locked) = cardinality($3::bigint[])
        and (not $6::boolean or not exists (
            select
            from unnest($8::int[], $9::text[]) as named (tenant, id)
            join tasks t on t.tenant = named.tenant and t.id = named.id
        )) as all
), heads as (
    insert into tasks (
        no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, events,
        created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason, stamp
    )
    select *, $5::bigint
    from unnest(
        $7::bigint[], $8::int[], $9::text[], $10::bytea[], $11::smallint[], $12::smallint[], $13::smallint[],
        $14::int[], $15::int[], $16::int[], $17::int[], $18::bigint[], $19::bigint[], $20::bigint[],
        $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::text[]
    )
    where (select proven.all from proven)
), planned as (
    insert into plans (task_no, tenant, title, request, nodes)
    select * from unnest($27::bigint[], $28::int[], $29::text[], $30::bytea[], $31::bytea[])
    where (select proven.all from proven)
), places as (
    insert into subtasks (
        task_no, idx, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
        session_no, outcome, wake_at, since, tenant
    )
    select *
    from unnest(
        $32::bigint[], $33::int[], $34::smallint[], $35::bigint[], $36::smallint[], $37::int[], $38::int[],
        $39::int[], $40::int[], $41::boolean[], $42::bigint[], $43::bigint[], $44::bigint[], $45::smallint[],
        $46::bigint[], $47::bigint[], $48::int[]
    )
    where (select proven.all from proven)
), happened as (
    insert into history (task_no, first, last, at, day, tenant, body)
    select *
    from unnest($49::bigint[], $50::bigint[], $51::bigint[], $52::bigint[], $53::int[], $54::int[], $55::bytea[])
    where (select proven.all from proven)
)
