-- Graphs that grow, and what is kept of a task beside its rows.
--
-- The defaults are for the rows that are there. SQLite cannot drop them without writing the tables anew; no statement
-- counts on them.

-- Open approvals.
alter table tasks add column asking integer not null default 0;

-- Of what a subtask waits for, how many have failed and were skipped; whether people went on without it.
alter table subtasks add column failed integer not null default 0;
alter table subtasks add column skipped integer not null default 0;
alter table subtasks add column waived integer not null default 0;

-- Until here only people could skip a subtask, and its dependents took that for a success.
update subtasks set waived = 1 where state = 10;

-- What plans grew by: nodes (JSON) whose first one has the place `first`. Never changed either.
create table plan_parts (
    task_no integer not null,
    first integer not null,
    tenant integer not null,
    nodes blob not null,
    primary key (task_no, first)
) strict;

-- Small JSON documents that dispatch does not look at.
create table notes (
    task_no integer not null,
    kind integer not null,
    place integer not null,
    tenant integer not null,
    body blob not null,
    primary key (task_no, kind, place)
) strict;
