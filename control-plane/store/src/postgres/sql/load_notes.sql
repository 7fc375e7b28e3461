-- $1, $2 and $3 tasks, kinds and places, note by note
select n.task_no, n.kind, n.place, n.body
from unnest($1::bigint[], $2::smallint[], $3::int[]) as wanted (task_no, kind, place)
join notes n on n.task_no = wanted.task_no and n.kind = wanted.kind and n.place = wanted.place
