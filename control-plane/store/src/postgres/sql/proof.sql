-- What `create` and `advance` begin with: the rows that were not locked before are as they are remembered. Sessions
-- and their stamps ($1, $2), and then tasks and theirs ($3, $4), locked here in this order.
with held as materialized (
    select s.no
    from unnest($1::bigint[], $2::bigint[]) as known (no, stamp)
    join sessions s on s.no = known.no and s.stamp = known.stamp
    order by s.no
    for share of s
), locked as materialized (
    select t.no
    from unnest($3::bigint[], $4::bigint[]) as known (no, stamp)
    join tasks t on t.no = known.no and t.stamp = known.stamp
    where (select count(*) from held) = cardinality($1::bigint[])
    order by t.no
    for update of t
)
