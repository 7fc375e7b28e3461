-- What starts tasks by time. A row is written only by who has seen its newest version; `wake_at` is when something is
-- to be done about it. `spec`, `state` and `starts` are JSON; `starts` stays where only the state changes, so that it
-- is not written anew with each firing. Numbers are never used again: a name may be.
create table schedules (
    no bigint generated always as identity primary key,
    version bigint not null,
    wake_at bigint,
    tenant int not null,
    name text collate "C" not null,
    spec bytea not null,
    state bytea not null,
    starts bytea not null,
    constraint schedules_name unique (tenant, name)
) with (fillfactor = 80, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.02);

create index schedules_waking on schedules (wake_at) where wake_at is not null;
