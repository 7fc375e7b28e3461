-- What a worker declared never changes, nor its token.
update sessions
set replica = ?2, connection = ?3, state = ?4, wake_at = ?5, stamp = ?6
where no = ?1
