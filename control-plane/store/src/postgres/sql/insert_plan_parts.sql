insert into plan_parts (task_no, first, tenant, nodes)
select * from unnest($1::plan_part_row_2[])
