-- One replica at a time creates partitions.
select pg_advisory_xact_lock(7234303018468110439)
