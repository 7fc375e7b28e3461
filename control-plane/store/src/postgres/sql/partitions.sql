-- $1 days ahead. Today's partition of the history and the following ones, each with whether it exists.
select
    wanted.day::int, wanted.name, to_regclass(wanted.name) is not null
from (
    select day, 'history_' || to_char(to_timestamp(day * 86400) at time zone 'UTC', 'YYYYMMDD') as name
    from (select floor(extract(epoch from clock_timestamp()) / 86400)::bigint as today) as clock
    cross join generate_series(clock.today, clock.today + $1::bigint) as day
) as wanted
order by wanted.day
