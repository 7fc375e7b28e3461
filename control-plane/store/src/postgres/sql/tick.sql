-- $1 this replica, $2 milliseconds after which a silent one is dead, $3 limit of what is due, $4 whether to look at
-- the lines: that walks over what has left them and is not cleaned up yet, $5 how far ahead schedules are looked for.
-- Kinds: 0 the time, 1 the mark of the sessions, 2 a live replica, 3 a route with somebody in line,
-- 4 a due task, 5 a due subtask, 6 a due session, 7 the next time that is not due yet,
-- 8 a schedule. All parts see the same snapshot.
-- The mark sums the stamps, as batches do not commit in the order of their stamps: the newest one would hide
-- a change that was drawn before it and committed after.
with clock as materialized (
    select (extract(epoch from clock_timestamp()) * 1000)::bigint as now
),
beat as (
    insert into replicas (no, joined_at, beat_at)
    select $1::bigint, now, now from clock
    on conflict (no) do update set beat_at = excluded.beat_at
),
buried as (
    delete from replicas r
    using clock c
    where r.beat_at < c.now - $2::bigint and r.no <> $1::bigint
),
due as (
    (
        select wake_at as at, 4 as kind, no, 0 as idx from tasks
        where wake_at <= (select now from clock) order by wake_at, no limit $3::bigint
    )
    union all
    (
        select wake_at, 5, task_no, idx from subtasks
        where wake_at <= (select now from clock) order by wake_at, task_no, idx limit $3::bigint
    )
    union all
    (
        select wake_at, 6, no, 0 from sessions
        where wake_at <= (select now from clock) order by wake_at, no limit $3::bigint
    )
    order by at, kind, no, idx
    limit $3::bigint
),
next as (
    select least(
        (select wake_at from tasks where wake_at > (select now from clock) order by wake_at limit 1),
        (select wake_at from subtasks where wake_at > (select now from clock) order by wake_at limit 1),
        (select wake_at from sessions where wake_at > (select now from clock) order by wake_at limit 1)
    ) as at
),
scheduled as (
    select wake_at as at, no from schedules
    where wake_at <= (select now from clock) + $5::bigint order by wake_at, no limit $3::bigint
)
select 0 as kind, now as no, 0 as idx, 0 as at from clock
union all
select 1, coalesce(sum(stamp), 0)::bigint, count(*)::int, 0 from sessions
union all
select 2, r.no, 0, 0 from replicas r, clock c where r.beat_at >= c.now - $2::bigint or r.no = $1::bigint
union all
select 3, r.no, 0, 0 from routes r
where $4::boolean and exists (select from subtasks s where s.route = r.no and s.queued is not null)
union all
select kind, no, idx, at from due
union all
select 7, 0, 0, at from next where at is not null
union all
select 8, no, 0, at from scheduled
