//! What each message of the control plane does to the session.

use std::{
    mem,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Action, HEARTBEAT_INTERVAL_MIN, Identity, Limits, Link, OPEN_PER_SLOT_MAX, Session,
    ending::Ending,
    leases::{Cancelled, Loss},
};
use crate::{
    CancelReason,
    proto::{Brief, LeaseRef, ResultAck, Welcome, result_ack::Verdict},
};

impl Session {
    pub(super) fn welcome(&mut self, now: Instant, welcome: Welcome) {
        let resumed = welcome.resumed && self.identity.is_some();
        if resumed {
            for lease in &welcome.lost {
                self.lose(now, lease.lease_id);
            }
        } else {
            for lease_id in self.leases.ids() {
                self.lose(now, lease_id);
            }
            self.outbox.cancel_acks.clear();
        }
        let heartbeat_interval = Duration::from_millis(welcome.heartbeat_interval_ms.into());
        self.limits = Limits {
            heartbeat_interval: heartbeat_interval.max(HEARTBEAT_INTERVAL_MIN),
            output_bytes_max: usize::try_from(welcome.output_bytes_max).unwrap_or(usize::MAX),
            assign_ack: Some(Duration::from_millis(welcome.assign_ack_ms.into()))
                .filter(|time| !time.is_zero()),
        };
        let Welcome { session_id, resume_token: token, .. } = welcome;
        self.identity = Some(Identity { session_id, token });
        self.link = Link::Up { heartbeat_at: now + self.limits.heartbeat_interval };
        self.outbox.progress.extend(mem::take(&mut self.progress).into_values());
        self.asks.repeat();
        self.outbox.results = self.leases.unacked().into();
        self.ask_drain();
        tracing::debug!(session_id, resumed, lost = welcome.lost.len(), "session open");
    }

    pub(super) fn assign(&mut self, now: Instant, wall: SystemTime, brief: Brief) {
        let Some(lease) = brief.lease else {
            tracing::warn!(task_id = brief.task_id, "dropped a brief without a lease");
            return;
        };
        let is_waiting =
            |(_, waits): &(_, Brief)| waits.lease.is_some_and(|it| it.lease_id == lease.lease_id);
        if self.leases.contains(lease.lease_id) {
            // Sent twice: the first acknowledgement may have been lost, or is still on its way out.
            self.outbox
                .acks
                .extend(self.leases.reporting(lease.lease_id).map(|lease| (lease.lease_id, lease)));
        } else if self.waiting.iter().any(is_waiting) {
            tracing::debug!(lease_id = lease.lease_id, "dropped a brief that waits already");
        } else if self.ending.as_ref().is_some_and(|ending| !ending.takes_work()) {
            tracing::debug!(lease_id = lease.lease_id, "took no new work: the worker is ending");
        } else if self.waiting.len() < self.slots() && self.leases.open() < OPEN_PER_SLOT_MAX * self.slots() {
            self.waiting.push_back((self.limits.assign_ack.map(|assign_ack| now + assign_ack), brief));
            self.start_waiting(now, wall);
        } else {
            tracing::warn!(lease_id = lease.lease_id, slots = self.slots(), "dropped a brief: no free slot");
        }
    }

    /// Starts what waits, as far as slots are free.
    pub(super) fn start_waiting(&mut self, now: Instant, wall: SystemTime) {
        while self.leases.running() < self.slots() {
            let Some((until, brief)) = self.waiting.pop_front() else { return };
            let Some(lease) = brief.lease.filter(|_| until.is_none_or(|until| now < until)) else { continue };
            self.outbox.acks.insert(lease.lease_id, lease);
            // Of a cancel that came before: what starts now runs.
            self.outbox.cancel_acks.remove(&lease.lease_id);
            self.leases.start(lease, deadline_of(&brief, wall).map(|left| now + left));
            let output_bytes_max = self.limits.output_bytes_max;
            self.actions.push_back(Action::Start { brief: Box::new(brief), output_bytes_max });
        }
    }

    pub(super) fn acked(&mut self, ack: &ResultAck) {
        let lease_id = ack.lease.map_or(0, |lease| lease.lease_id);
        if !self.leases.acked(lease_id) {
            tracing::debug!(lease_id, "ignored the ack of a result that is not waited for");
            return;
        }
        self.outbox.results.retain(|id| *id != lease_id);
        self.end_asks(lease_id);
        let message = &ack.message;
        match ack.verdict() {
            Verdict::Accepted | Verdict::Duplicate => tracing::debug!(lease_id, "result accepted"),
            Verdict::Stale => {
                tracing::warn!(lease_id, message, "result dropped: the lease was no longer current")
            }
            Verdict::Refused => tracing::error!(lease_id, message, "result refused"),
            Verdict::Unspecified => {
                tracing::warn!(lease_id, message, "result acknowledged without a verdict")
            }
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, lease: LeaseRef, reason: &str) {
        let lease_id = lease.lease_id;
        self.waiting.retain(|(_, brief)| brief.lease.is_none_or(|lease| lease.lease_id != lease_id));
        self.progress.remove(&lease_id);
        self.end_asks(lease_id);
        match self.leases.cancel(lease_id) {
            Cancelled::Stop => self.stop(now, lease_id, CancelReason::Cancelled(reason.to_owned())),
            Cancelled::Stopping => {}
            Cancelled::Idle => self.ack_cancel(lease),
        }
    }

    pub(super) fn lose(&mut self, now: Instant, lease_id: i64) {
        self.waiting.retain(|(_, brief)| brief.lease.is_none_or(|lease| lease.lease_id != lease_id));
        self.outbox.results.retain(|id| *id != lease_id);
        self.progress.remove(&lease_id);
        self.end_asks(lease_id);
        match self.leases.lose(lease_id) {
            Loss::Running => {
                tracing::warn!(lease_id, "lease lost: stopping the attempt");
                self.stop(now, lease_id, CancelReason::LeaseLost);
            }
            // It may be durable, with only the acknowledgement lost; either way it is settled.
            Loss::Result => tracing::info!(lease_id, "lease over: dropped its unacknowledged result"),
            Loss::Stopping | Loss::Unknown => {}
        }
    }

    pub(super) fn drained(&mut self, reason: &str) {
        match &mut self.ending {
            // The answer to our own wish.
            Some(ending) => ending.set_known(),
            None => {
                tracing::info!(
                    reason,
                    in_flight = self.leases.open(),
                    "the control plane drains this worker"
                );
                self.ending = Some(Ending::by_server());
            }
        }
    }
}

/// How far away the deadline of a brief is; `None` when it has none. One that has passed already only tells that
/// the clocks differ.
fn deadline_of(brief: &Brief, wall: SystemTime) -> Option<Duration> {
    let millis = u64::try_from(brief.deadline_ms).ok().filter(|millis| *millis > 0)?;
    let deadline = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))?;
    deadline.duration_since(wall).ok()
}
