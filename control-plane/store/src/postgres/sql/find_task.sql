-- $1 tenant, $2 id
select no from tasks where tenant = $1::int and id = $2::text
