-- What `create` and `advance` end with: what happened ($10), and the answer: whether they wrote, the remembered rows
-- that are as they were if not, and the time and the stamp for the next batch.
, happened as (
    insert into history (task_no, first, last, at, day, tenant, body)
    select c.*
    from unnest($10::history_row[]) as c
    where (select proven.all from proven)
)
select
    proven.all,
    case when not proven.all then array(select no from held) end,
    case when not proven.all then array(select no from locked) end,
    (extract(epoch from clock_timestamp()) * 1000)::bigint,
    nextval('stamps')
from proven
