-- Each agent at most once, in the order of their names: another batch may write the same ones.
insert into agents (tenant, name, seen_at, declaration)
select * from unnest($1::int[], $2::text[], $3::bigint[], $4::text[])
on conflict (tenant, name) do update set seen_at = excluded.seen_at, declaration = excluded.declaration
