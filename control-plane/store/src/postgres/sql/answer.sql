-- What `create` and `advance` answer: whether they wrote, the remembered rows that are as they were if not, and the
-- time and the stamp for the next batch.
select
    proven.all,
    case when not proven.all then array(select no from held) end,
    case when not proven.all then array(select no from locked) end,
    (extract(epoch from clock_timestamp()) * 1000)::bigint,
    nextval('stamps')
from proven
