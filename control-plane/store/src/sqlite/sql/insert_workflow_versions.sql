insert into workflow_versions
    (tenant, name, version, restores, created_at, created_by, description, digest, definition)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
