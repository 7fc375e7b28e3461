//! How a session ends: it takes nothing new, finishes what it has, says goodbye. A shutdown of our own has a time
//! limit; a drain by the control plane has none, since the deadlines of the attempts bound it.

use std::time::{Duration, Instant};

use super::{Action, Link, Session};
use crate::{CancelReason, Ended};

/// A handler is gone at once when it is dropped, unless it blocks its thread; nobody waits for that longer.
const ABORT_WAIT: Duration = Duration::from_secs(1);
/// A stream that takes no goodbye for so long takes none.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Ending {
    /// Our own shutdown, and not the control plane's drain.
    local: bool,
    phase: Phase,
    /// The control plane knows, and hands out nothing more.
    known: bool,
    /// Attempts that were given up.
    unfinished: usize,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// What runs may finish.
    Finishing { until: Option<Instant> },
    /// What still runs was asked to stop.
    Abandoning { until: Instant },
    /// Goodbye goes out as soon as the stream takes it.
    Leaving { until: Instant },
}

impl Ending {
    pub(super) fn local(until: Instant) -> Self {
        Self { local: true, phase: Phase::Finishing { until: Some(until) }, known: false, unfinished: 0 }
    }

    pub(super) fn by_server() -> Self {
        Self { local: false, phase: Phase::Finishing { until: None }, known: true, unfinished: 0 }
    }

    /// What was handed out before the control plane knew is taken: unacknowledged, it would only lie there until the
    /// control plane loses patience, with it and with the stream.
    pub(super) fn takes_work(&self) -> bool {
        !self.known && matches!(self.phase, Phase::Finishing { .. })
    }

    /// The control plane knows, or will never.
    pub(super) fn set_known(&mut self) {
        self.known = true;
    }

    /// Ends by our own will, and not later than `by`.
    pub(super) fn hasten(&mut self, by: Instant) {
        self.local = true;
        if let Phase::Finishing { until } = &mut self.phase {
            *until = Some(until.map_or(by, |until| until.min(by)));
        }
    }

    pub(super) fn is_local(&self) -> bool {
        self.local
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Finishing { until } => until,
            Phase::Abandoning { until } | Phase::Leaving { until } => Some(until),
        }
    }

    pub(super) fn count_unfinished(&mut self) {
        self.unfinished += 1;
    }

    pub(super) fn reason(&self) -> &'static str {
        if self.local { "shutdown" } else { "drained" }
    }
}

impl Session {
    /// Takes the ending as far as it can go now. Called after everything that may have changed something.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(ending) = &mut self.ending else { return };
        if let Phase::Finishing { until: Some(until) } = ending.phase
            && now >= until
        {
            let grace = self.settings.cancel_grace;
            ending.phase = Phase::Abandoning { until: now + grace + ABORT_WAIT };
            self.waiting.clear();
            for lease_id in self.leases.abandon() {
                self.stop(now, lease_id, CancelReason::Shutdown);
            }
        }
        let open = self.leases.open();
        let Some(ending) = &mut self.ending else { return };
        let leaves = match ending.phase {
            Phase::Finishing { .. } => open == 0,
            Phase::Abandoning { until } => open == 0 || now >= until,
            Phase::Leaving { .. } => true,
        };
        if !leaves {
            return;
        }
        match (self.link, ending.phase) {
            (Link::Over, _) => {}
            // Nobody to say goodbye to, and nothing to say: the session lapses with its grace time.
            (Link::Down, _) => self.end(),
            (Link::Opening { .. } | Link::Up { .. }, Phase::Leaving { until }) if now >= until => self.end(),
            (Link::Opening { .. } | Link::Up { .. }, Phase::Leaving { .. }) => self.outbox.goodbye = true,
            (Link::Opening { .. } | Link::Up { .. }, Phase::Finishing { .. } | Phase::Abandoning { .. }) => {
                ending.phase = Phase::Leaving { until: now + GOODBYE_WAIT };
                self.outbox.goodbye = true;
            }
        }
    }

    /// The session is over.
    pub(super) fn end(&mut self) {
        self.link = Link::Over;
        let Some(Ending { local, unfinished, .. }) = &self.ending else { return };
        let ended = match (unfinished + self.leases.open(), local) {
            (0, true) => Ended::Shutdown,
            (0, false) => Ended::Drained,
            (unfinished, _) => Ended::TimedOut { unfinished },
        };
        self.actions.push_back(Action::End(ended));
    }
}
