//! The history of a task: what happened, numbered without gaps from 1. The source of every stream.

use serde::{Deserialize, Serialize};

use crate::{
    context::{Entry, Held},
    id::{Index, LeaseId},
    subtask::{Outcome, SubtaskState},
    task::TaskStatus,
    time::Time,
};

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptError {
    /// Stable, UPPER_SNAKE_CASE.
    pub code: String,
    pub message: String,
}

/// A named output kept by reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub name: String,
    pub uri: String,
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    pub size_bytes: u64,
    #[serde(default)]
    pub digest: String,
}

/// One entry. Field names are short in storage because there are two or more for every subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "n")]
    pub number: u64,
    #[serde(rename = "t")]
    pub at: Time,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k")]
pub enum What {
    /// The task entered a status.
    #[serde(rename = "task")]
    Task {
        #[serde(rename = "s")]
        status: TaskStatus,
        #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A subtask entered a state.
    #[serde(rename = "sub")]
    Subtask {
        #[serde(rename = "i")]
        index: Index,
        #[serde(rename = "s")]
        state: SubtaskState,
        #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Stable, UPPER_SNAKE_CASE: why, where programs may want to know. Empty otherwise.
        #[serde(rename = "c", default, skip_serializing_if = "String::is_empty")]
        code: String,
        /// Who decided it; empty where nobody did.
        #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
    /// Nodes were added to the plan, for this subtask; `None`: something runs again.
    #[serde(rename = "grow")]
    Grown {
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        index: Option<Index>,
        /// The place of the first, and how many.
        #[serde(rename = "f")]
        first: Index,
        #[serde(rename = "c")]
        count: u32,
        #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
        reason: String,
        #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
    /// Somebody chose something at an approval, which may not be enough to decide it.
    #[serde(rename = "vote")]
    Voted {
        #[serde(rename = "i")]
        index: Index,
        #[serde(rename = "o")]
        option: String,
        #[serde(rename = "b")]
        by: String,
        #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
        comment: String,
    },
    /// A signal came.
    #[serde(rename = "signal")]
    Signalled {
        #[serde(rename = "g")]
        name: String,
        #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
    /// Somebody named the state before this event.
    #[serde(rename = "snap")]
    Snapshot {
        #[serde(rename = "g")]
        name: String,
        #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
    /// A key of the shared context was written.
    #[serde(rename = "ctx")]
    Context {
        /// The subtask whose worker wrote it, and under which lease.
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        index: Option<Index>,
        #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
        lease: Option<LeaseId>,
        #[serde(rename = "g")]
        key: String,
        #[serde(flatten)]
        entry: Entry,
        /// Of the value's JSON text, in hexadecimal; empty where it was deleted, or is again what it was before.
        #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
        digest: String,
        #[serde(rename = "by", default, skip_serializing_if = "String::is_empty")]
        by: String,
        #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An attempt began: the subtask is `leased`.
    #[serde(rename = "lease")]
    Leased {
        #[serde(rename = "i")]
        index: Index,
        #[serde(rename = "a")]
        attempt: u16,
        #[serde(rename = "l")]
        lease: LeaseId,
        #[serde(rename = "w")]
        worker: String,
    },
    /// The worker took it back unused: not an attempt.
    #[serde(rename = "return")]
    Returned {
        #[serde(rename = "i")]
        index: Index,
        #[serde(rename = "l")]
        lease: LeaseId,
    },
    /// An attempt ended, and the subtask entered a state.
    #[serde(rename = "end")]
    Ended {
        #[serde(rename = "i")]
        index: Index,
        #[serde(rename = "s")]
        state: SubtaskState,
        #[serde(rename = "l")]
        lease: LeaseId,
        #[serde(rename = "a")]
        attempt: u16,
        #[serde(rename = "o")]
        outcome: Outcome,
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        error: Option<AttemptError>,
        #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The worker reported progress.
    #[serde(rename = "progress")]
    Progress {
        #[serde(rename = "i")]
        index: Index,
        #[serde(rename = "l")]
        lease: LeaseId,
        #[serde(rename = "m")]
        message: String,
    },
}

impl What {
    /// The event's name on every face: `task.running`, `subtask.completed`, `subtask.progress`.
    pub fn kind(&self) -> String {
        match self {
            What::Task { status, .. } => format!("task.{}", status.word()),
            What::Subtask { state, .. } | What::Ended { state, .. } => format!("subtask.{}", state.word()),
            What::Leased { .. } => "subtask.leased".into(),
            What::Returned { .. } => "subtask.returned".into(),
            What::Progress { .. } => "subtask.progress".into(),
            What::Grown { .. } => "task.grown".into(),
            What::Voted { .. } => "subtask.voted".into(),
            What::Signalled { .. } => "task.signalled".into(),
            What::Snapshot { .. } => "task.snapshot".into(),
            What::Context { entry: Entry { held: Held::Deleted, .. }, .. } => "context.deleted".into(),
            What::Context { .. } => "context.put".into(),
        }
    }

    /// The subtask it is about.
    pub fn index(&self) -> Option<Index> {
        match self {
            What::Task { .. } | What::Signalled { .. } | What::Snapshot { .. } => None,
            What::Grown { index, .. } | What::Context { index, .. } => *index,
            What::Subtask { index, .. }
            | What::Leased { index, .. }
            | What::Returned { index, .. }
            | What::Ended { index, .. }
            | What::Voted { index, .. }
            | What::Progress { index, .. } => Some(*index),
        }
    }
}
