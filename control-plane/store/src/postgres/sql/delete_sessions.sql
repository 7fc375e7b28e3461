delete from sessions where no = any($1::bigint[])
