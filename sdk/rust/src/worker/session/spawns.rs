//! What attempts add to the graph. A request is kept, and sent again on every new stream, until the control plane has
//! answered it or the lease it was made under is over. Sent twice it is done once: children are found by their keys.

use std::collections::{BTreeMap, VecDeque};

use super::{Action, Session};
use crate::proto::{LeaseRef, PlannedSubtask, Spawn, SpawnAck, result_ack::Verdict};

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

/// The requests that are not answered.
#[derive(Debug, Default)]
pub(super) struct Spawns {
    /// The number of the newest.
    newest: u64,
    open: BTreeMap<u64, (LeaseRef, Vec<PlannedSubtask>)>,
    /// To be sent on this stream. Each is open.
    outbox: VecDeque<u64>,
}

impl Spawns {
    pub(super) fn next(&mut self) -> Option<Spawn> {
        let request = self.outbox.pop_front()?;
        let (lease, children) = self.open.get(&request)?.clone();
        Some(Spawn { lease: Some(lease), request, children })
    }

    pub(super) fn wants_transmit(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The stream is gone.
    pub(super) fn hold(&mut self) {
        self.outbox.clear();
    }

    /// A new stream is up.
    pub(super) fn repeat(&mut self) {
        self.outbox = self.open.keys().copied().collect();
    }

    fn add(&mut self, lease: LeaseRef, children: Vec<PlannedSubtask>) -> u64 {
        self.newest += 1;
        self.open.insert(self.newest, (lease, children));
        self.newest
    }

    /// False when nothing of this number is open.
    fn close(&mut self, request: u64) -> bool {
        self.outbox.retain(|waits| *waits != request);
        self.open.remove(&request).is_some()
    }

    fn of_lease(&self, lease_id: i64) -> Vec<u64> {
        let of_it = self.open.iter().filter(|(_, (lease, _))| lease.lease_id == lease_id);
        of_it.map(|(request, _)| *request).collect()
    }
}

impl Session {
    /// A handler wants children added. Gives the number under which an [`Action::Spawned`] will answer; `None`: its lease
    /// is over already.
    ///
    /// The driver sees to it that no attempt has more than one request open.
    pub fn handle_spawn(&mut self, lease_id: i64, children: Vec<PlannedSubtask>) -> Option<u64> {
        let lease = self.leases.reporting(lease_id)?;
        let request = self.spawns.add(lease, children);
        // While the stream is down, the next welcome brings it up.
        if self.is_up() {
            self.spawns.outbox.push_back(request);
        }
        Some(request)
    }

    pub(super) fn spawned(&mut self, ack: SpawnAck) {
        let SpawnAck { request, message, subtask_ids, .. } = ack;
        let verdict = ack.verdict.try_into().unwrap_or(Verdict::Unspecified);
        if !self.spawns.close(request) {
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

    /// The lease is over: whoever waits under it waits in vain.
    pub(super) fn end_spawns(&mut self, lease_id: i64) {
        for request in self.spawns.of_lease(lease_id) {
            self.spawns.close(request);
            self.actions.push_back(Action::Spawned { request, answer: Spawned::LeaseLost });
        }
    }
}
