-- Stored workflows: which version of each name is the newest, and every version that there ever was.

create table workflows (
    tenant int not null,
    version int not null,
    deleted boolean not null,
    name text collate "C" not null,
    primary key (tenant, name)
);

-- Written once, never changed. `definition` is JSON; `restores` is the version that it went back to.
create table workflow_versions (
    created_at bigint not null,
    tenant int not null,
    version int not null,
    restores int,
    name text collate "C" not null,
    description text not null,
    created_by text not null,
    digest bytea not null,
    definition bytea not null,
    primary key (tenant, name, version)
);
