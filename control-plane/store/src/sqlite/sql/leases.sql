-- ?1 session
select session_no, task_no, idx, lease, route from subtasks where session_no = ?1 order by task_no, idx
