-- Stored workflows: which version of each name is the newest, and every version that there ever was.

create table workflows (
    tenant integer not null,
    name text not null,
    version integer not null,
    deleted integer not null,
    primary key (tenant, name)
) strict, without rowid;

-- Written once, never changed. `definition` is JSON; `restores` is the version that it went back to.
create table workflow_versions (
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
