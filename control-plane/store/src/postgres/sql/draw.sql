-- The batch's time and stamp. Last of the load: after the locks.
select (extract(epoch from clock_timestamp()) * 1000)::bigint, nextval('stamps')
