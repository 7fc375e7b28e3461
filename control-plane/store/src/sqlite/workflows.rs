//! Stored workflows. They are few and change rarely: written by themselves, beside the batches.

use downbeat_core::id::TenantNo;
use rusqlite::{Connection, Transaction, params};

use super::rows::{all, one, run};
use crate::{
    Result, StoreError, WorkflowChange, WorkflowRecord, WorkflowVersion,
    rows::{workflow_record, workflow_version},
};

pub(super) fn workflow(
    conn: &Connection,
    tenant: TenantNo,
    name: &str,
    version: Option<u32>,
) -> Result<Option<WorkflowRecord>> {
    let params = params![tenant.0, name, version.unwrap_or(0)];
    one(conn, include_str!("sql/workflow.sql"), params, workflow_record)
}

pub(super) fn workflows(
    conn: &Connection,
    tenant: TenantNo,
    after: &str,
    limit: u32,
) -> Result<Vec<WorkflowVersion>> {
    all(conn, include_str!("sql/workflows.sql"), params![tenant.0, after, limit], workflow_version)
}

pub(super) fn versions(
    conn: &Connection,
    tenant: TenantNo,
    name: &str,
    before: u32,
    limit: u32,
) -> Result<Vec<WorkflowVersion>> {
    let params = params![tenant.0, name, before, limit];
    all(conn, include_str!("sql/workflow_versions.sql"), params, workflow_version)
}

pub(super) fn change(transaction: &Transaction<'_>, change: &WorkflowChange) -> Result<()> {
    let WorkflowChange { tenant, name, was, becomes, added } = change;
    let params = params![tenant.0, name, becomes.version, becomes.deleted, was.version, was.deleted];
    let written = one(transaction, include_str!("sql/upsert_workflows.sql"), params, |cells| cells.long())?;
    if written.is_none() {
        return Err(StoreError::Conflict(format!("workflow {name} has changed")));
    }
    let Some(added) = added else { return Ok(()) };
    let params = params![
        tenant.0,
        name,
        added.version,
        added.restores,
        added.created_at.0,
        added.created_by,
        added.description,
        added.digest,
        added.definition.as_ref(),
    ];
    run(transaction, include_str!("sql/insert_workflow_versions.sql"), params)
}
