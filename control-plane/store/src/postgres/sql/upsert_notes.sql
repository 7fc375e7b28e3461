insert into notes (task_no, kind, place, tenant, body)
select * from unnest($1::note_row_2[])
on conflict (task_no, kind, place) do update set body = excluded.body
