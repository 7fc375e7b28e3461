//! Notes: what is kept of a task beside its rows and is not looked at by dispatch. Open approvals and their votes,
//! signals that came early, snapshots, the shared context. Read and written under the task's lock, by key, each a small
//! JSON document.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    id::{Index, TaskNo},
    rows::Rows,
    time::Time,
};

/// Which note of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKey {
    /// The open or decided approval of a subtask: [`Gate`].
    Gate(Index),
    /// Signals that nobody has taken: [`Signals`].
    Signals,
    /// States to come back to: [`Snapshots`].
    Snapshots,
    /// What was written of the shared context: [`Written`](crate::context::Written).
    Context,
    /// The newest write of the worker of a subtask.
    ContextWrite(Index),
    /// A value of the shared context, by the number of its write. Never changes.
    ContextValue(u32),
}

impl NoteKey {
    /// Kinds from here on are read by key only: there may be very many, and lists of a task's notes are without them.
    pub const UNLISTED: u8 = 100;

    /// As stores keep it: a kind, and a place within it.
    pub fn numbers(self) -> (u8, Index) {
        match self {
            NoteKey::Gate(index) => (1, index),
            NoteKey::Signals => (2, 0),
            NoteKey::Snapshots => (3, 0),
            NoteKey::Context => (4, 0),
            NoteKey::ContextWrite(index) => (5, index),
            NoteKey::ContextValue(number) => (NoteKey::UNLISTED, number),
        }
    }

    pub fn from_numbers(kind: u8, place: Index) -> Option<NoteKey> {
        match kind {
            1 => Some(NoteKey::Gate(place)),
            2 => Some(NoteKey::Signals),
            3 => Some(NoteKey::Snapshots),
            4 => Some(NoteKey::Context),
            5 => Some(NoteKey::ContextWrite(place)),
            NoteKey::UNLISTED => Some(NoteKey::ContextValue(place)),
            _ => None,
        }
    }
}

/// An approval that waits for people, or was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Of what is to be approved, in hexadecimal: a decision names it.
    pub digest: String,
    /// Which level of approvers is asked, and those before it.
    pub level: usize,
    /// The newest of each person.
    #[serde(default)]
    pub votes: Vec<Vote>,
}

/// What one person chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub by: String,
    pub option: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    pub at: Time,
}

/// Signals in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    pub waiting: Vec<Signal>,
    /// The newest ids that senders gave, so that a repeat is recognised.
    #[serde(default)]
    pub seen: Vec<String>,
}

/// One signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    pub name: String,
    /// JSON text; empty: null.
    pub payload: String,
    /// Who sent it; may be empty.
    #[serde(default)]
    pub by: String,
}

/// States to come back to, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots(pub Vec<Snapshot>);

/// What the history says up to an event, under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    /// The number of the last event that belongs to it.
    pub event: u64,
    pub at: Time,
    /// Who took it; empty where the control plane did, before an approval.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// The note as it was loaded or last written; `None` where there is none.
pub(crate) fn get<T: DeserializeOwned>(rows: &Rows, task: TaskNo, key: NoteKey) -> Option<T> {
    rows.note(task, key).map(read)
}

/// As [`get`], and `None` too where it was not declared.
pub(crate) fn loaded<T: DeserializeOwned>(rows: &Rows, task: TaskNo, key: NoteKey) -> Option<T> {
    rows.loaded_note(task, key).map(read)
}

fn read<T: DeserializeOwned>(body: &Bytes) -> T {
    serde_json::from_slice(body).expect("notes are written by this module")
}

pub(crate) fn put<T: Serialize>(rows: &mut Rows, task: TaskNo, key: NoteKey, note: &T) {
    let body = serde_json::to_vec(note).expect("notes are plain data");
    rows.set_note(task, key, Bytes::from(body));
}
