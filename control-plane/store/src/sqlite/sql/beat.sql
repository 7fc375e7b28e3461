-- ?1 replica, ?2 now. A beat that was deleted, because it came too late, is written anew.
insert into replicas (no, joined_at, beat_at)
values (?1, ?2, ?2)
on conflict (no) do update set beat_at = excluded.beat_at
