insert into outputs (task_no, idx, tenant, body, artifacts) values (?1, ?2, ?3, ?4, ?5)
