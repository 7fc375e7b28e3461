delete from replicas where no = $1::bigint
