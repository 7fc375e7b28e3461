-- Graphs that grow, and what is kept of a task beside its rows.
--
-- A replica of the version before goes on beside this one for a while: it names the columns that it writes, and sends
-- rows of the types it knows. So what is added to its tables has a default, for the rows that are there and for those
-- that it still inserts (a task of its own has nothing of what is new, which is what the default says), and its types
-- stay. The migration that may count on no such replica drops both: `task_row`, `subtask_row`, and the defaults.

-- Open approvals.
alter table tasks add column asking int not null default 0;

-- Of what a subtask waits for, how many have failed and were skipped; whether people went on without it. Beside the
-- other boolean, so that no row is padded.
alter table subtasks
    add column waived boolean not null default false,
    add column failed int not null default 0,
    add column skipped int not null default 0;

-- Until here only people could skip a subtask, and its dependents took that for a success.
update subtasks set waived = true where state = 10;

-- What plans grew by: nodes (JSON) whose first one has the place `first`. Never changed either.
create table plan_parts (
    task_no bigint not null,
    first int not null,
    tenant int not null,
    nodes bytea not null,
    primary key (task_no, first)
);

-- Small JSON documents that dispatch does not look at, read and written under the task's lock.
create table notes (
    task_no bigint not null,
    place int not null,
    tenant int not null,
    kind smallint not null,
    body bytea not null,
    primary key (task_no, kind, place)
) with (fillfactor = 80, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.02);

-- What batches send from here on; the number is that of the migration.
create type task_row_2 as (
    no bigint,
    tenant int,
    id text,
    digest bytea,
    status smallint,
    mode smallint,
    priority smallint,
    total bigint,
    unfinished bigint,
    failed bigint,
    in_review bigint,
    asking bigint,
    events bigint,
    created_at bigint,
    started_at bigint,
    ended_at bigint,
    deadline bigint,
    stopped_at bigint,
    due_at bigint,
    wake_at bigint,
    reason text
);

create type subtask_row_2 as (
    task_no bigint,
    idx bigint,
    tenant int,
    state smallint,
    route bigint,
    priority smallint,
    pending bigint,
    failed bigint,
    skipped bigint,
    failures bigint,
    attempts bigint,
    losses bigint,
    held boolean,
    waived boolean,
    queued bigint,
    lease bigint,
    session_no bigint,
    outcome smallint,
    wake_at bigint,
    since bigint
);

create type plan_part_row_2 as (
    task_no bigint,
    first bigint,
    tenant int,
    nodes bytea
);

create type note_row_2 as (
    task_no bigint,
    kind smallint,
    place bigint,
    tenant int,
    body bytea
);
