//! Stored workflows.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use downbeat_core::id::TenantNo;
use downbeat_store::{Result, StoreError, WorkflowChange, WorkflowHead, WorkflowRecord, WorkflowVersion};

type Name = (TenantNo, String);

/// Where each name stands, and its versions by their numbers.
#[derive(Default)]
pub(super) struct Workflows(BTreeMap<Name, (WorkflowHead, BTreeMap<u32, WorkflowVersion>)>);

impl Workflows {
    pub(super) fn find(&self, tenant: TenantNo, name: &str, version: Option<u32>) -> Option<WorkflowRecord> {
        let (head, versions) = self.0.get(&(tenant, name.to_owned()))?;
        let version = versions.get(&version.unwrap_or(head.version))?.clone();
        Some(WorkflowRecord { head: *head, version })
    }

    pub(super) fn list(&self, tenant: TenantNo, after: &str, limit: usize) -> Vec<WorkflowVersion> {
        let from = Bound::Excluded((tenant, after.to_owned()));
        let mine = self.0.range((from, Bound::Unbounded)).take_while(|((of, _), _)| *of == tenant);
        let newest = |(head, versions): &(WorkflowHead, BTreeMap<u32, WorkflowVersion>)| {
            if head.deleted { None } else { versions.get(&head.version).map(listed) }
        };
        mine.filter_map(|(_, kept)| newest(kept)).take(limit).collect()
    }

    pub(super) fn versions(
        &self,
        tenant: TenantNo,
        name: &str,
        before: u32,
        limit: usize,
    ) -> Vec<WorkflowVersion> {
        let Some((_, versions)) = self.0.get(&(tenant, name.to_owned())) else { return Vec::new() };
        versions.range(..before).rev().map(|(_, version)| listed(version)).take(limit).collect()
    }

    pub(super) fn change(&mut self, change: &WorkflowChange) -> Result<()> {
        let WorkflowChange { tenant, name, was, becomes, added } = change;
        let at = (*tenant, name.clone());
        if self.0.get(&at).is_some_and(|(head, _)| head != was) {
            return Err(StoreError::Conflict(format!("workflow {name} has changed")));
        }
        let (head, versions) = self.0.entry(at).or_default();
        *head = *becomes;
        versions.extend(added.clone().map(|added| (added.version, added)));
        Ok(())
    }
}

fn listed(version: &WorkflowVersion) -> WorkflowVersion {
    WorkflowVersion { definition: Bytes::new(), ..version.clone() }
}
