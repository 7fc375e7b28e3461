insert into notes (task_no, kind, place, tenant, body)
values (?1, ?2, ?3, ?4, ?5)
on conflict (task_no, kind, place) do update set body = excluded.body
