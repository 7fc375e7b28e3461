//! What an event says, in the flat form that both faces print.

use downbeat_core::{
    context::Entry,
    event::{AttemptError, What},
    id::LeaseId,
    subtask::{Outcome, SubtaskState},
    task::TaskStatus,
};

use crate::view::EventPage;

/// One event; what it does not say is `None` or empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told<'a> {
    pub(crate) attempt: Option<u16>,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) worker: &'a str,
    /// The status that the task entered.
    pub(crate) task_status: Option<TaskStatus>,
    /// The state that the subtask entered.
    pub(crate) subtask_state: Option<SubtaskState>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) error: Option<&'a AttemptError>,
    pub(crate) message: &'a str,
    /// Why, for programs.
    pub(crate) code: &'a str,
    /// Who decided it.
    pub(crate) by: &'a str,
    /// How many subtasks were added.
    pub(crate) added: Option<u32>,
    /// What was chosen at an approval.
    pub(crate) option: &'a str,
    /// The name of a signal.
    pub(crate) signal: &'a str,
    /// A key of the shared context that was written.
    pub(crate) context: Option<Change<'a>>,
}

/// A write to the shared context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a str,
    /// That it has from then on.
    pub(crate) version: u64,
    /// Of the value.
    pub(crate) bytes: u64,
    /// Of the value; empty where it was deleted, or is again what it was before.
    pub(crate) digest: &'a str,
}

impl<'a> Told<'a> {
    pub(crate) fn of(what: &'a What) -> Told<'a> {
        let none = Told::default();
        match what {
            What::Task { status, reason } => Told { task_status: Some(*status), message: reason, ..none },
            What::Subtask { state, reason, code, by, .. } => {
                Told { subtask_state: Some(*state), message: reason, code, by, ..none }
            }
            What::Grown { count, reason, by, .. } => {
                Told { added: Some(*count), message: reason, by, ..none }
            }
            What::Voted { option, by, comment, .. } => Told { option, by, message: comment, ..none },
            What::Signalled { name, by } => Told { signal: name, by, ..none },
            What::Context { lease, key, entry, digest, by, reason, .. } => {
                let Entry { version, bytes, .. } = *entry;
                let context = Some(Change { key, version, bytes, digest });
                Told { lease: *lease, context, by, message: reason, ..none }
            }
            What::Snapshot { name, by } => Told { message: name, by, ..none },
            What::Leased { attempt, lease, worker, .. } => Told {
                attempt: Some(*attempt),
                lease: Some(*lease),
                worker,
                subtask_state: Some(SubtaskState::Leased),
                ..none
            },
            What::Returned { lease, .. } => {
                Told { lease: Some(*lease), subtask_state: Some(SubtaskState::Ready), ..none }
            }
            What::Ended { state, lease, attempt, outcome, error, reason, .. } => Told {
                attempt: Some(*attempt),
                lease: Some(*lease),
                subtask_state: Some(*state),
                outcome: Some(*outcome),
                error: error.as_ref(),
                message: reason,
                ..none
            },
            What::Progress { lease, message, .. } => Told { lease: Some(*lease), message, ..none },
        }
    }
}

/// The number to ask on from; `None` when there is no further page now.
pub(crate) fn next_after(found: &EventPage, limit: u32) -> Option<u64> {
    let full = found.events.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    found.events.last().filter(|_| full && !found.end).map(|last| last.event.number)
}
