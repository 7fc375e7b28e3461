insert into history (task_no, first, last, at, day, tenant, body)
select *
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::bytea[])
