//! How attempts add to the graph.

use super::{Action, Session, asks::Ask};
use crate::proto::{PlannedSubtask, SpawnAck, result_ack::Verdict};

/// What became of a request to add children.
#[derive(Debug, Clone, PartialEq)]
pub enum Spawned {
    /// They are there, under these ids, in their order.
    Added(Vec<String>),
    /// The lease is over. Whether they were added, nobody may know.
    LeaseLost,
    /// The control plane does not add them, and says why.
    Refused(String),
}

impl Session {
    /// A handler wants children added. Gives the number under which an [`Action::Spawned`] will answer; `None`: its lease
    /// is over already.
    ///
    /// The driver sees to it that no attempt has more than one request open.
    pub fn handle_spawn(&mut self, lease_id: i64, children: Vec<PlannedSubtask>) -> Option<u64> {
        self.ask(lease_id, Ask::Spawn(children))
    }

    pub(super) fn spawned(&mut self, ack: SpawnAck) {
        let SpawnAck { request, message, subtask_ids, .. } = ack;
        let verdict = ack.verdict.try_into().unwrap_or(Verdict::Unspecified);
        if self.asks.close(request).is_none() {
            tracing::debug!(request, "ignored the ack of children that are not waited for");
            return;
        }
        let answer = match verdict {
            Verdict::Accepted | Verdict::Duplicate => Spawned::Added(subtask_ids),
            Verdict::Stale => Spawned::LeaseLost,
            Verdict::Refused => Spawned::Refused(message),
            Verdict::Unspecified => Spawned::Refused("it was answered without a verdict".to_owned()),
        };
        self.actions.push_back(Action::Spawned { request, answer });
    }
}
