insert into agents (tenant, name, seen_at, declaration)
values (?1, ?2, ?3, ?4)
on conflict (tenant, name) do update set seen_at = excluded.seen_at, declaration = excluded.declaration
