insert into plans (task_no, tenant, title, request, nodes) values (?1, ?2, ?3, ?4, ?5)
