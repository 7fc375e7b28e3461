-- Two replicas that start at once migrate one after the other.
select pg_advisory_xact_lock(7234303018468110438)
