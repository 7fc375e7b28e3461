-- ?1 tenant, ?2 digest
select no from routes where tenant = ?1 and digest = ?2
