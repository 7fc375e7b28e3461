-- ?1 now.
select wake_at from tasks where wake_at > ?1
union all
select wake_at from subtasks where wake_at > ?1
union all
select wake_at from sessions where wake_at > ?1
order by 1
limit 1
