-- ?1 task, ?2 index
select task_no, idx, tenant, body, artifacts from outputs where task_no = ?1 and idx = ?2
