//! The account of streams: which of a worker's is the newest, what was said when it came back, and who closed one.

use std::collections::BTreeSet;

use downbeat_core::id::{LeaseId, ReplicaNo, SessionNo};

use super::Auditor;

/// A worker's stream; numbered as they come to their replicas.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub number: u64,
    pub replica: ReplicaNo,
}

/// A worker's first words on a stream.
pub(super) struct Hello {
    pub(super) session: SessionNo,
    connection: u32,
    pub(super) in_flight: BTreeSet<LeaseId>,
}

impl Auditor {
    /// A replica closed a stream that its worker still stood at. True if the session is the replica's own; then it
    /// must have had a reason.
    pub fn closed(&mut self, stream: Stream, session: SessionNo, since_ms: u64, now_ms: u64) -> bool {
        let Stream { number, replica } = stream;
        let own = self.sessions.belongs(session, replica);
        // The worker has come back meanwhile, as far as the replica can tell.
        let replaced = self.newest.get(&(session, replica)).is_some_and(|newest| *newest > number);
        let silent = self.sessions.may_close(session, now_ms);
        if own && !replaced && !silent && !self.acknowledges_late(session, since_ms) {
            let ms = now_ms - since_ms;
            self.found.push(format!(
                "replica {replica} closed the stream of its session {session} after {ms} ms, for no reason"
            ));
        }
        own
    }

    /// Whether the worker did not take up in time what it was given on the stream. A replica begins to wait when it
    /// begins to write the lease down, and may be busy for a part of the lease time until that is done.
    fn acknowledges_late(&self, session: SessionNo, since_ms: u64) -> bool {
        let busy_ms = self.liveness.lease_ms / 4;
        let wait_ms = self.liveness.assign_ack_ms.saturating_sub(busy_ms);
        self.given.iter().filter(|(_, (to, at_ms))| *to == session && *at_ms >= since_ms).any(
            |(lease, (_, at_ms))| self.heard_of.get(lease).is_none_or(|heard| heard.ms >= at_ms + wait_ms),
        )
    }

    /// A replica took in whose worker comes back on a new stream, and what it works on.
    pub fn hello(
        &mut self,
        stream: Stream,
        session: SessionNo,
        connection: u32,
        in_flight: BTreeSet<LeaseId>,
    ) {
        let newest = self.newest.entry((session, stream.replica)).or_insert(stream.number);
        *newest = stream.number.max(*newest);
        if self.taken.get(&session).is_none_or(|taken| *taken < connection) {
            self.hellos.insert(stream.number, Hello { session, connection, in_flight });
        }
    }

    /// A replica answers: but for the lost ones, both sides know what the worker works on.
    pub fn welcome(&mut self, stream: Stream, resumed: bool, lost: &BTreeSet<LeaseId>, moment: u64, ms: u64) {
        if let Some(hello) = self.answer(stream)
            && resumed
        {
            let Hello { session, connection, .. } = hello;
            self.taken.insert(session, connection);
            self.hellos.retain(|_, other| other.session != session || other.connection > connection);
            self.heard_of(hello.in_flight.difference(lost).copied(), moment, ms);
        }
    }

    /// The stream has ended. Its Hello may have been answered or not.
    pub fn stream_over(&mut self, stream: Stream) {
        self.answer(stream);
    }

    fn answer(&mut self, stream: Stream) -> Option<Hello> {
        let hello = self.hellos.remove(&stream.number)?;
        let current = self.current_leases().into_iter().filter(|(session, _)| *session == hello.session);
        let unnamed = current.map(|(_, at)| at.lease).filter(|lease| !hello.in_flight.contains(lease));
        self.disowned.extend(unnamed);
        Some(hello)
    }
}
