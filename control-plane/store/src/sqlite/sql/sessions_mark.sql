select coalesce(sum(stamp), 0), count(*) from sessions
