-- Numbers must become visible in their order, or a reader that remembers the newest would miss one.
select pg_advisory_xact_lock(7234303018468110437)
