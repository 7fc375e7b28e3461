-- $1 the hint
select pg_notify('downbeat', $1::text)
