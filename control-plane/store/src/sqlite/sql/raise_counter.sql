-- ?1 name, ?2 the least it must be
update counters set value = max(value, ?2) where name = ?1
