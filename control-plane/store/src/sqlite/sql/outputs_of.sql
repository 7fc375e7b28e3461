-- ?1 task
select task_no, idx, tenant, body, artifacts from outputs where task_no = ?1 order by idx
