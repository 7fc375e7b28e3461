//! What attempts ask of the control plane and wait for: children, and the shared context. A request is kept, and sent
//! again on every new stream, until the control plane has answered it or the lease it was made under is over. Sent twice
//! it is done once: children are found by their keys, writes by their number.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Action, Session, contexts::Shared, spawns::Spawned};
use crate::proto::{ContextRead, ContextWrite, LeaseRef, PlannedSubtask, Spawn, session_request::Message};

/// One request.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Spawn(Vec<PlannedSubtask>),
    Write(Write),
    /// Empty: all keys.
    Read(String),
}

/// A write to the shared context.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub key: String,
    /// JSON text; `None`: the key is deleted.
    pub value: Option<Bytes>,
    pub expected_version: Option<u64>,
}

/// The requests that are not answered.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// The number of the newest.
    newest: u64,
    open: BTreeMap<u64, (LeaseRef, Ask)>,
    /// To be sent on this stream. Each is open.
    outbox: VecDeque<u64>,
}

impl Asks {
    pub(super) fn next(&mut self) -> Option<Message> {
        let request = self.outbox.pop_front()?;
        let (lease, ask) = self.open.get(&request)?.clone();
        let lease = Some(lease);
        Some(match ask {
            Ask::Spawn(children) => Message::Spawn(Spawn { lease, request, children }),
            Ask::Write(Write { key, value, expected_version }) => {
                Message::ContextWrite(ContextWrite { lease, request, key, value, expected_version })
            }
            Ask::Read(key) => Message::ContextRead(ContextRead { lease, request, key }),
        })
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

    /// Takes the request out, if it is open.
    pub(super) fn close(&mut self, request: u64) -> Option<Ask> {
        self.outbox.retain(|waits| *waits != request);
        self.open.remove(&request).map(|(_, ask)| ask)
    }
}

impl Session {
    /// Gives the number under which it will be answered; `None`: its lease is over already.
    pub(super) fn ask(&mut self, lease_id: i64, ask: Ask) -> Option<u64> {
        let lease = self.leases.reporting(lease_id)?;
        self.asks.newest += 1;
        let request = self.asks.newest;
        self.asks.open.insert(request, (lease, ask));
        // While the stream is down, the next welcome brings it up.
        if self.is_up() {
            self.asks.outbox.push_back(request);
        }
        Some(request)
    }

    /// The lease is over: whoever waits under it waits in vain.
    pub(super) fn end_asks(&mut self, lease_id: i64) {
        let of_it = self.asks.open.iter().filter(|(_, (lease, _))| lease.lease_id == lease_id);
        let requests: Vec<u64> = of_it.map(|(request, _)| *request).collect();
        for request in requests {
            let action = match self.asks.close(request) {
                Some(Ask::Spawn(_)) => Action::Spawned { request, answer: Spawned::LeaseLost },
                Some(Ask::Write(_) | Ask::Read(_)) => Action::Shared { request, answer: Shared::LeaseLost },
                None => continue,
            };
            self.actions.push_back(action);
        }
    }
}
