insert into plans (task_no, tenant, title, request, nodes)
select * from unnest($1::bigint[], $2::int[], $3::text[], $4::bytea[], $5::bytea[])
