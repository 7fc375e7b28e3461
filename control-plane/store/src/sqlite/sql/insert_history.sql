insert into history (task_no, first, last, at, day, tenant, body) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
