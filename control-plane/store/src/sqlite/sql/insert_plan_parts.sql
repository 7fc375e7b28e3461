insert into plan_parts (task_no, first, tenant, nodes) values (?1, ?2, ?3, ?4)
