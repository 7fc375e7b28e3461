insert into outputs (task_no, idx, tenant, body, artifacts)
select * from unnest($1::bigint[], $2::int[], $3::int[], $4::bytea[], $5::text[])
