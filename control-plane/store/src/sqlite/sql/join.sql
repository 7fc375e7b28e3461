-- ?1 number, ?2 now
insert into replicas (no, joined_at, beat_at) values (?1, ?2, ?2)
