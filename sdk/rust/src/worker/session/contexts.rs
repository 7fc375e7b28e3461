//! How attempts read and write the shared context of their task.

use super::{
    Action, Session,
    asks::{Ask, Write},
};
use crate::proto::{ContextAnswer, ContextEntry, context_answer::Verdict};

/// What became of a read or a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Shared {
    /// The version that a written key has now, or what was read.
    Done { version: u64, entries: Vec<ContextEntry> },
    /// The lease is over. Whether a key was written, nobody may know.
    LeaseLost,
    /// The key has this version, and another one was expected.
    Conflict { version: u64, message: String },
    /// The control plane does not do it, and says why.
    Refused(String),
}

impl Session {
    /// A handler writes a key. Gives the number under which an [`Action::Shared`] will answer; `None`: its lease is over
    /// already.
    ///
    /// The driver sees to it that no attempt has more than one request to the shared context open.
    pub fn handle_write(&mut self, lease_id: i64, write: Write) -> Option<u64> {
        self.ask(lease_id, Ask::Write(write))
    }

    /// A handler reads a key, or (empty) all of them; as [`handle_write`](Session::handle_write).
    pub fn handle_read(&mut self, lease_id: i64, key: String) -> Option<u64> {
        self.ask(lease_id, Ask::Read(key))
    }

    pub(super) fn shared(&mut self, answer: ContextAnswer) {
        let verdict = answer.verdict();
        let ContextAnswer { request, message, version, entries, .. } = answer;
        if self.asks.close(request).is_none() {
            tracing::debug!(request, "ignored an answer of the shared context that is not waited for");
            return;
        }
        let answer = match verdict {
            Verdict::Done => Shared::Done { version, entries },
            Verdict::Stale => Shared::LeaseLost,
            Verdict::Conflict => Shared::Conflict { version, message },
            Verdict::Refused => Shared::Refused(message),
            Verdict::Unspecified => Shared::Refused("it was answered without a verdict".to_owned()),
        };
        self.actions.push_back(Action::Shared { request, answer });
    }
}
