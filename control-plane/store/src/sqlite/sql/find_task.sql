-- ?1 tenant, ?2 id
select no from tasks where tenant = ?1 and id = ?2
