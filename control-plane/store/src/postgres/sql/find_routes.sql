-- $1 tenant, $2 digests
select digest, no from routes where tenant = $1::int and digest = any($2::bytea[])
