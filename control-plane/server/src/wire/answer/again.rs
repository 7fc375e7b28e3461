//! What comes of signals, of doing it again, and of looking at a plan.

use downbeat_core::note;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Moment, TaskStatusWord, error::Problem};
use crate::{
    view::Findings,
    wire::problems::{LISTED_MAX, listed},
};

/// A signal that was taken by a subtask, or is kept for one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Signalled<'a> {
    pub(crate) task_id: &'a str,
    /// A subtask waited for it; otherwise it is kept.
    pub(crate) taken: bool,
}

/// What runs again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rerun<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) status: TaskStatusWord,
    /// Their new ids.
    pub(crate) subtasks: Vec<String>,
}

/// A state to come back to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Snapshot<'a> {
    name: &'a str,
    /// The number of the last event that belongs to it.
    event: u64,
    at: Moment,
    /// Empty: the control plane, before an approval.
    by: &'a str,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(snapshot: &'a note::Snapshot) -> Snapshot<'a> {
        let note::Snapshot { name, event, at, by } = snapshot;
        Snapshot { name, event: *event, at: Moment(*at), by }
    }
}

/// A task's snapshots, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Snapshots<'a> {
    snapshots: Vec<Snapshot<'a>>,
}

impl<'a> Snapshots<'a> {
    pub(crate) fn new(kept: &'a [note::Snapshot]) -> Snapshots<'a> {
        Snapshots { snapshots: kept.iter().map(Snapshot::new).collect() }
    }
}

/// What is wrong with a plan, and what looks like a mistake.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Linted {
    /// Why it would be refused.
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Linted {
    pub(crate) fn new(found: &Findings) -> Linted {
        let problems = |found| listed(found, LISTED_MAX).into_iter().map(Problem::from).collect();
        Linted { errors: problems(&found.errors), warnings: problems(&found.warnings) }
    }
}
