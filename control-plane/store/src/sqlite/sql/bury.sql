-- ?1 beats before this time are of dead replicas
delete from replicas where beat_at < ?1
