-- What starts tasks by time. Numbers are never used again: a name may be.
create table schedules (
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

create index schedules_waking on schedules (wake_at) where wake_at is not null;
