-- ?1 now, ?2 limit. Kinds: 0 task, 1 subtask, 2 session.
select wake_at, 0 as kind, no, 0 as idx from tasks where wake_at <= ?1
union all
select wake_at, 1, task_no, idx from subtasks where wake_at <= ?1
union all
select wake_at, 2, no, 0 from sessions where wake_at <= ?1
order by 1, 2, 3, 4
limit ?2
