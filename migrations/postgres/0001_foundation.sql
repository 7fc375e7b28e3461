-- Times are milliseconds since the Unix epoch. States are the numbers of the enums in downbeat-core.
-- Nothing is decided here: no triggers, no defaults, no clock. Hot tables are narrow, widest columns first.

create table tenants (
    no int not null primary key,
    name text not null constraint tenants_name unique
);

insert into tenants (no, name) values (1, 'default');

-- One number per batch, later than those of its rows: every id and every place in line comes from it.
create sequence stamps as bigint;
create sequence replica_numbers as bigint;

-- One small row per process, rewritten with every tick.
create table replicas (
    no bigint not null primary key,
    joined_at bigint not null,
    beat_at bigint not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0);

-- What subtasks need, interned. `capabilities` is a sorted JSON array; `digest` is of agent and capabilities,
-- which may be too long for an index.
create table routes (
    no bigint not null primary key,
    tenant int not null,
    agent text not null,
    capabilities text not null,
    digest bytea not null,
    constraint routes_spec unique (tenant, digest)
);

-- The hot row of a task. Locking it locks everything that belongs to the task. `stamp` is that of the batch that
-- last wrote anything of it: while it stays the same, so do the task's subtasks.
create table tasks (
    no bigint not null primary key,
    stamp bigint not null,
    events bigint not null,
    created_at bigint not null,
    started_at bigint,
    ended_at bigint,
    deadline bigint,
    stopped_at bigint,
    due_at bigint,
    wake_at bigint,
    tenant int not null,
    total int not null,
    unfinished int not null,
    failed int not null,
    in_review int not null,
    status smallint not null,
    mode smallint not null,
    priority smallint not null,
    id text collate "C" not null,
    digest bytea not null,
    reason text not null,
    constraint tasks_id unique (tenant, id)
) with (
    fillfactor = 80,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05
);

create index tasks_listed on tasks (tenant, status, (-no));
create index tasks_waking on tasks (wake_at) where wake_at is not null;

-- What never changes of a task: read once, then cached. `request` and `nodes` are JSON.
create table plans (
    task_no bigint not null primary key,
    tenant int not null,
    title text not null,
    request bytea not null,
    nodes bytea not null
);

-- What dispatch scans: only what changes while a subtask runs.
create table subtasks (
    task_no bigint not null,
    route bigint not null,
    queued bigint,
    lease bigint,
    session_no bigint,
    wake_at bigint,
    since bigint not null,
    idx int not null,
    tenant int not null,
    pending int not null,
    failures int not null,
    attempts int not null,
    losses int not null,
    state smallint not null,
    priority smallint not null,
    outcome smallint,
    held boolean not null,
    primary key (task_no, idx)
) with (
    fillfactor = 80,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05
);

create index subtasks_in_line on subtasks (route, priority desc, queued, task_no, idx) where queued is not null;
create index subtasks_leased on subtasks (session_no) where session_no is not null;
create index subtasks_waking on subtasks (wake_at) where wake_at is not null;

-- What subtasks delivered. `body` is JSON text, empty for null; `artifacts` is a JSON array.
create table outputs (
    task_no bigint not null,
    idx int not null,
    tenant int not null,
    body bytea not null,
    artifacts text not null,
    primary key (task_no, idx)
);

-- Append-only: one row per batch and task, with the events first..last as a JSON array. Partitions of a day
-- are created ahead and dropped whole; the default one catches what would have no place.
create table history (
    task_no bigint not null,
    first bigint not null,
    last bigint not null,
    at bigint not null,
    day int not null,
    tenant int not null,
    body bytea not null,
    primary key (task_no, last, day)
) partition by range (day);

create table history_default partition of history default;

-- Workers' connections. `stamp` is that of the batch that wrote the row last.
create table sessions (
    no bigint not null primary key,
    replica bigint not null,
    opened_at bigint not null,
    wake_at bigint,
    stamp bigint not null,
    connection bigint not null,
    tenant int not null,
    state smallint not null,
    token bytea not null,
    declaration text not null
) with (fillfactor = 80, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.02);

create index sessions_waking on sessions (wake_at) where wake_at is not null;

-- Agents as they were last declared.
create table agents (
    tenant int not null,
    name text collate "C" not null,
    seen_at bigint not null,
    declaration text not null,
    primary key (tenant, name)
) with (fillfactor = 80, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.02);

-- What batches send: a row of each table they write, as one value. Numbers are wide, the tables say how large they may
-- be. A type is never changed, since a replica of the version before may still send it: a migration that needs another
-- makes a new one.
create type task_row as (
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

create type plan_row as (
    task_no bigint,
    tenant int,
    title text,
    request bytea,
    nodes bytea
);

create type subtask_row as (
    task_no bigint,
    idx bigint,
    tenant int,
    state smallint,
    route bigint,
    priority smallint,
    pending bigint,
    failures bigint,
    attempts bigint,
    losses bigint,
    held boolean,
    queued bigint,
    lease bigint,
    session_no bigint,
    outcome smallint,
    wake_at bigint,
    since bigint
);

create type output_row as (
    task_no bigint,
    idx bigint,
    tenant int,
    body bytea,
    artifacts text
);

create type history_row as (
    task_no bigint,
    first bigint,
    last bigint,
    at bigint,
    day bigint,
    tenant int,
    body bytea
);

create type session_row as (
    no bigint,
    tenant int,
    replica bigint,
    token bytea,
    connection bigint,
    state smallint,
    opened_at bigint,
    wake_at bigint,
    declaration text
);

create type agent_row as (
    tenant int,
    name text,
    seen_at bigint,
    declaration text
);
