//! Stored workflows as rows: which version of a name is the newest, and the versions themselves. What a definition
//! says is not looked at here.

use bytes::Bytes;
use downbeat_core::{id::TenantNo, time::Time};

/// Where a name stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkflowHead {
    /// Of the newest version; 0: there never was one.
    pub version: u32,
    /// Nothing is started from it any more. Its versions stay.
    pub deleted: bool,
}

/// One version. Written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowVersion {
    pub name: String,
    /// From 1, without gaps.
    pub version: u32,
    /// The older version whose content this is, where somebody went back to it.
    pub restores: Option<u32>,
    pub created_at: Time,
    /// Who created it; empty: not said.
    pub created_by: String,
    /// One line in every list.
    pub description: String,
    /// Of its content: two versions that say the same have the same.
    pub digest: [u8; 32],
    /// JSON. Empty in lists.
    pub definition: Bytes,
}

/// A version, and where its name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowRecord {
    pub head: WorkflowHead,
    pub version: WorkflowVersion,
}

/// A step of one name: written if it still stands where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowChange {
    pub tenant: TenantNo,
    pub name: String,
    pub was: WorkflowHead,
    pub becomes: WorkflowHead,
    /// The version that `becomes` names, where it is new.
    pub added: Option<WorkflowVersion>,
}
