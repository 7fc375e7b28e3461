-- Each agent at most once, in the order of their names: another batch may write the same ones.
insert into agents (tenant, name, seen_at, declaration)
select * from unnest($1::agent_row[])
on conflict (tenant, name) do update set seen_at = excluded.seen_at, declaration = excluded.declaration
