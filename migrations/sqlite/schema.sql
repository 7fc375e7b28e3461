CREATE TABLE agents (
    tenant integer not null,
    name text not null,
    seen_at integer not null,
    declaration text not null,
    primary key (tenant, name)
) strict, without rowid;

CREATE TABLE counters (
    name text primary key,
    value integer not null
) strict, without rowid;

CREATE TABLE history (
    task_no integer not null,
    first integer not null,
    last integer not null,
    at integer not null,
    day integer not null,
    tenant integer not null,
    body blob not null,
    primary key (task_no, last)
) strict;

CREATE TABLE notes (
    task_no integer not null,
    kind integer not null,
    place integer not null,
    tenant integer not null,
    body blob not null,
    primary key (task_no, kind, place)
) strict;

CREATE TABLE outputs (
    task_no integer not null,
    idx integer not null,
    tenant integer not null,
    body blob not null,
    artifacts text not null,
    primary key (task_no, idx)
) strict;

CREATE TABLE plan_parts (
    task_no integer not null,
    first integer not null,
    tenant integer not null,
    nodes blob not null,
    primary key (task_no, first)
) strict;

CREATE TABLE plans (
    task_no integer primary key,
    tenant integer not null,
    title text not null,
    request blob not null,
    nodes blob not null
) strict;

CREATE TABLE replicas (
    no integer primary key,
    joined_at integer not null,
    beat_at integer not null
) strict;

CREATE TABLE routes (
    no integer primary key,
    tenant integer not null,
    agent text not null,
    capabilities text not null,
    digest blob not null,
    constraint routes_spec unique (tenant, digest)
) strict;

CREATE TABLE schedules (
    no integer primary key autoincrement,
    version integer not null,
    wake_at integer,
    tenant integer not null,
    name text not null,
    spec blob not null,
    state blob not null,
    starts blob not null,
    constraint schedules_name unique (tenant, name)
) strict;

CREATE INDEX schedules_waking on schedules (wake_at) where wake_at is not null;

CREATE TABLE schema_migrations (
    number integer primary key,
    name text not null,
    digest text not null
) strict
;

CREATE TABLE sessions (
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

CREATE INDEX sessions_waking on sessions (wake_at) where wake_at is not null;

CREATE TABLE sqlite_sequence(name,seq);

CREATE TABLE subtasks (
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
    since integer not null, failed integer not null default 0, skipped integer not null default 0, waived integer not null default 0,
    primary key (task_no, idx)
) strict, without rowid;

CREATE INDEX subtasks_in_line on subtasks (route, priority desc, queued, task_no, idx) where queued is not null;

CREATE INDEX subtasks_leased on subtasks (session_no) where session_no is not null;

CREATE INDEX subtasks_waking on subtasks (wake_at) where wake_at is not null;

CREATE TABLE tasks (
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
    reason text not null, asking integer not null default 0,
    constraint tasks_id unique (tenant, id)
) strict;

CREATE INDEX tasks_listed on tasks (tenant, status, no desc);

CREATE INDEX tasks_waking on tasks (wake_at) where wake_at is not null;

CREATE TABLE tenants (
    no integer primary key,
    name text not null unique
) strict;

CREATE TABLE workflow_versions (
    tenant integer not null,
    name text not null,
    version integer not null,
    restores integer,
    created_at integer not null,
    created_by text not null,
    description text not null,
    digest blob not null,
    definition blob not null,
    primary key (tenant, name, version)
) strict;

CREATE TABLE workflows (
    tenant integer not null,
    name text not null,
    version integer not null,
    deleted integer not null,
    primary key (tenant, name)
) strict, without rowid;
