-- ?1 tenant
select tenant, declaration, seen_at from agents where tenant = ?1 order by name
