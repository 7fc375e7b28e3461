-- ?1 until when, ?2 limit
select wake_at, no from schedules where wake_at <= ?1 order by wake_at, no limit ?2
