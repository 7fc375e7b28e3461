with clock as materialized (select (extract(epoch from clock_timestamp()) * 1000)::bigint as now)
insert into replicas (no, joined_at, beat_at)
select nextval('replica_numbers'), now, now from clock
returning no
