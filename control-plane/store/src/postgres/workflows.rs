//! Stored workflows. They are few and change rarely: on the pool, beside the batches.

use downbeat_core::id::TenantNo;
use tokio_postgres::types::ToSql;

use super::{PostgresStore, link::answer, rows::int};
use crate::{
    Result, StoreError, WorkflowChange, WorkflowRecord, WorkflowVersion,
    rows::{workflow_record, workflow_version},
};

impl PostgresStore {
    pub(super) async fn read_workflow(
        &self,
        tenant: TenantNo,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowRecord>> {
        let version = int(version.unwrap_or(0))?;
        let params: [&(dyn ToSql + Sync); 3] = [&tenant.0, &name, &version];
        let found = self.query(include_str!("sql/workflow.sql"), &params, |cells| workflow_record(cells));
        Ok(found.await?.into_iter().next())
    }

    pub(super) async fn read_workflows(
        &self,
        tenant: TenantNo,
        after: &str,
        limit: u32,
    ) -> Result<Vec<WorkflowVersion>> {
        let params: [&(dyn ToSql + Sync); 3] = [&tenant.0, &after, &i64::from(limit)];
        self.query(include_str!("sql/workflows.sql"), &params, |cells| workflow_version(cells)).await
    }

    pub(super) async fn read_workflow_versions(
        &self,
        tenant: TenantNo,
        name: &str,
        before: u32,
        limit: u32,
    ) -> Result<Vec<WorkflowVersion>> {
        let before = i32::try_from(before).unwrap_or(i32::MAX);
        let params: [&(dyn ToSql + Sync); 4] = [&tenant.0, &name, &before, &i64::from(limit)];
        self.query(include_str!("sql/workflow_versions.sql"), &params, |cells| workflow_version(cells)).await
    }

    pub(super) async fn write_workflow(&self, change: &WorkflowChange) -> Result<()> {
        let WorkflowChange { tenant, name, was, becomes, added } = change;
        let (version, seen) = (int(becomes.version)?, int(was.version)?);
        let mut client = self.pool.get().await?;
        let written = answer(async {
            let transaction = client.transaction().await?;
            let upsert = transaction.prepare_cached(include_str!("sql/upsert_workflows.sql")).await?;
            let params: [&(dyn ToSql + Sync); 6] =
                [&tenant.0, name, &version, &becomes.deleted, &seen, &was.deleted];
            if transaction.query(&upsert, &params).await?.is_empty() {
                return Err(StoreError::Conflict(format!("workflow {name} has changed")));
            }
            if let Some(added) = added {
                let (number, restores) = (int(added.version)?, added.restores.map(int).transpose()?);
                let insert = transaction.prepare_cached(include_str!("sql/insert_workflow_versions.sql"));
                let params: [&(dyn ToSql + Sync); 9] = [
                    &tenant.0,
                    name,
                    &number,
                    &restores,
                    &added.created_at.0,
                    &added.created_by,
                    &added.description,
                    &added.digest.as_slice(),
                    &added.definition.as_ref(),
                ];
                transaction.execute(&insert.await?, &params).await?;
            }
            Ok(transaction.commit().await?)
        });
        let written = written.await;
        self.settle(written, client)
    }
}
