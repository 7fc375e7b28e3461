-- Times are milliseconds since the Unix epoch. States are the numbers of the enums in downbeat-core.
-- Nothing is decided here: no triggers, no defaults, no clock. One connection writes.

create table tenants (
    no integer primary key,
    name text not null unique
) strict;

insert into tenants (no, name) values (1, 'default');

-- Numbers that only ever grow: SQLite has no sequences.
create table counters (
    name text primary key,
    value integer not null
) strict, without rowid;

insert into counters (name, value) values ('stamp', 0), ('replica', 0);

create table replicas (
    no integer primary key,
    joined_at integer not null,
    beat_at integer not null
) strict;

-- What subtasks need, interned. `capabilities` is a sorted JSON array; `digest` is of agent and capabilities.
create table routes (
    no integer primary key,
    tenant integer not null,
    agent text not null,
    capabilities text not null,
    digest blob not null,
    constraint routes_spec unique (tenant, digest)
) strict;

-- The hot row of a task.
create table tasks (
    no integer primary key,
    tenant integer not null,
    id text not null,
    digest blob not null,
    status integer not null,
    mode integer not null,
    priority integer not null,
    total integer not null,
    unfinished integer not null,
    failed integer not null,
    in_review integer not null,
    events integer not null,
    created_at integer not null,
    started_at integer,
    ended_at integer,
    deadline integer,
    stopped_at integer,
    due_at integer,
    wake_at integer,
    reason text not null,
    constraint tasks_id unique (tenant, id)
) strict;

create index tasks_listed on tasks (tenant, status, no desc);
create index tasks_waking on tasks (wake_at) where wake_at is not null;

-- What never changes of a task: read once, then cached. `request` and `nodes` are JSON.
create table plans (
    task_no integer primary key,
    tenant integer not null,
    title text not null,
    request blob not null,
    nodes blob not null
) strict;

-- What dispatch scans: only what changes while a subtask runs.
create table subtasks (
    task_no integer not null,
    idx integer not null,
    tenant integer not null,
    state integer not null,
    route integer not null,
    priority integer not null,
    pending integer not null,
    failures integer not null,
    attempts integer not null,
    losses integer not null,
    held integer not null,
    queued integer,
    lease integer,
    session_no integer,
    outcome integer,
    wake_at integer,
    since integer not null,
    primary key (task_no, idx)
) strict, without rowid;

create index subtasks_in_line on subtasks (route, priority desc, queued, task_no, idx) where queued is not null;
create index subtasks_leased on subtasks (session_no) where session_no is not null;
create index subtasks_waking on subtasks (wake_at) where wake_at is not null;

-- What subtasks delivered. `body` is JSON text, empty for null; `artifacts` is a JSON array.
create table outputs (
    task_no integer not null,
    idx integer not null,
    tenant integer not null,
    body blob not null,
    artifacts text not null,
    primary key (task_no, idx)
) strict;

-- Append-only: one row per batch and task, with the events first..last as a JSON array.
create table history (
    task_no integer not null,
    first integer not null,
    last integer not null,
    at integer not null,
    day integer not null,
    tenant integer not null,
    body blob not null,
    primary key (task_no, last)
) strict;

-- Workers' connections. `stamp` is that of the batch that wrote the row last.
create table sessions (
    no integer primary key,
    tenant integer not null,
    replica integer not null,
    token blob not null,
    connection integer not null,
    state integer not null,
    opened_at integer not null,
    wake_at integer,
    stamp integer not null,
    declaration text not null
) strict;

create index sessions_waking on sessions (wake_at) where wake_at is not null;

-- Agents as they were last declared.
create table agents (
    tenant integer not null,
    name text not null,
    seen_at integer not null,
    declaration text not null,
    primary key (tenant, name)
) strict, without rowid;
