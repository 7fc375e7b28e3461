//! The worker's side of a session, as a pure state machine: no IO, no clock, no threads, no randomness.
//!
//! What happens goes in through `handle_*`, with the time it happened at; what is to be done comes out of
//! `poll_*`. [`super::connection`] drives it. All rules about leases on this side live here:
//!
//! - never more handlers than slots;
//! - an attempt is acknowledged when its handler starts, not before;
//! - a result is kept, and sent again after every reconnect, until the control plane has acknowledged it; so is what
//!   an attempt adds to the graph and writes to the shared context, which goes out before its result;
//! - what the control plane says is lost is stopped, and its result is dropped;
//! - while the stream is up, the control plane alone judges deadlines; while it is down, this clock does.

mod asks;
mod contexts;
mod ending;
mod leases;
mod server;
mod spawns;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    time::{Duration, Instant, SystemTime},
};

use prost::Message as _;

use self::{
    asks::Asks,
    ending::Ending,
    leases::{Finish, Leases},
};
pub use self::{asks::Write, contexts::Shared, leases::Outcome, spawns::Spawned};
use super::Ended;
use crate::{
    CancelReason,
    proto::{
        AssignAck, Brief, CancelAck, Goodbye, Heartbeat, Hello, LeaseRef, Progress, Result as AttemptResult,
        Results, Resume, SessionResponse, session_request, session_response,
    },
};

/// A control plane that takes the stream and says nothing for so long is not well; another may be.
pub(super) const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// A control plane that asks for heartbeats more often than this, or says nothing, must not make us spin.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Each progress message becomes an event in the database: more per second is of no use to a reader.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// What a shutdown, or a handler that shall stop, is waited for at most: in effect for ever, and still a time that can
/// be added to any other.
const PATIENCE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Leases per slot that may be open: one runs, and results on their way out or not yet acknowledged are few unless the
/// control plane hands out work without ever acknowledging any.
const OPEN_PER_SLOT_MAX: usize = 4;
/// Results in one message: enough to amortise a message, and small against the control plane's batch.
const BATCH_RESULTS_MAX: usize = 256;
/// Bytes of results in one message, unless a single one is larger: far below `REQUEST_BYTES_MAX`, so that a
/// few large outputs do not hold up a small one for long.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// What the driver has to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Run the handler of the brief's agent.
    Start { brief: Box<Brief>, output_bytes_max: usize },
    /// Ask a handler to stop.
    Cancel { lease_id: i64, reason: CancelReason },
    /// Drop a handler that was asked to stop and has not.
    Abort { lease_id: i64 },
    /// Tell whoever asked for children under this number what became of it.
    Spawned { request: u64, answer: Spawned },
    /// Tell whoever asked for the shared context under this number what became of it.
    Shared { request: u64, answer: Shared },
    /// Give this stream up, and open another.
    Reconnect { problem: &'static str },
    /// Ask the control plane to send nothing more to this session.
    AskDrain { session_id: i64 },
    /// The session is over. Nothing follows.
    End(Ended),
}

/// What a worker says about itself; the same on every stream.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Without `resume`.
    pub hello: Hello,
    /// How long a handler has to stop once it was asked to.
    pub cancel_grace: Duration,
}

/// The state machine.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    link: Link,
    identity: Option<Identity>,
    /// Streams opened so far: tells the control plane which of two came later.
    connections: u32,
    limits: Limits,
    leases: Leases,
    /// Assigned while no slot was free, and when the control plane takes each back for want of an
    /// acknowledgement.
    waiting: VecDeque<(Option<Instant>, Brief)>,
    /// The newest progress of each running lease, not yet sent; at most one per lease.
    progress: BTreeMap<i64, Progress>,
    /// No progress is sent before.
    progress_from: Option<Instant>,
    asks: Asks,
    outbox: Outbox,
    ending: Option<Ending>,
    actions: VecDeque<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    Down,
    /// Hello was sent, or is about to be.
    Opening {
        until: Instant,
    },
    Up {
        heartbeat_at: Instant,
    },
    /// Goodbye was sent, or there was nobody to say it to.
    Over,
}

/// What takes the session up again.
#[derive(Debug, Clone)]
struct Identity {
    session_id: i64,
    token: String,
}

/// What Welcome set.
#[derive(Debug, Clone, Copy)]
struct Limits {
    heartbeat_interval: Duration,
    /// 0: not told.
    output_bytes_max: usize,
    /// How long a brief may stay unacknowledged.
    assign_ack: Option<Duration>,
}

/// What goes out next, in this order; what [`Asks`] has goes before results.
#[derive(Debug, Default)]
struct Outbox {
    hello: bool,
    heartbeat: bool,
    /// By lease: what is said of one while nobody reads is said once.
    acks: BTreeMap<i64, LeaseRef>,
    progress: VecDeque<Progress>,
    /// Leases whose result is to be sent on this stream.
    results: VecDeque<i64>,
    cancel_acks: BTreeMap<i64, LeaseRef>,
    goodbye: bool,
}

// What goes in.
impl Session {
    /// A session that has no stream yet.
    pub fn new(settings: Settings) -> Self {
        let cancel_grace = settings.cancel_grace.min(PATIENCE_MAX);
        Self {
            settings: Settings { cancel_grace, ..settings },
            link: Link::Down,
            identity: None,
            connections: 0,
            limits: Limits {
                heartbeat_interval: HEARTBEAT_INTERVAL_MIN,
                output_bytes_max: 0,
                assign_ack: None,
            },
            leases: Leases::default(),
            waiting: VecDeque::new(),
            progress: BTreeMap::new(),
            progress_from: None,
            asks: Asks::default(),
            outbox: Outbox::default(),
            ending: None,
            actions: VecDeque::new(),
        }
    }

    /// A stream is being opened; the first message on it is Hello.
    pub fn handle_opening(&mut self, now: Instant) {
        self.link = Link::Opening { until: now + WELCOME_TIMEOUT };
        self.connections = self.connections.saturating_add(1);
        self.outbox.hello = true;
    }

    /// The stream broke, or could not be opened. Attempts run on.
    pub fn handle_closed(&mut self, now: Instant) {
        if self.link == Link::Over {
            return;
        }
        self.link = Link::Down;
        // Everything bound to the stream is void. What was acknowledged is told by the in-flight list of the next
        // Hello; what was not goes back to the queue by itself. Results, requests and cancel acks are kept.
        self.waiting.clear();
        self.asks.hold();
        let cancel_acks = mem::take(&mut self.outbox.cancel_acks);
        self.outbox = Outbox { cancel_acks, ..Outbox::default() };
        self.settle(now);
    }

    /// The control plane sent a message. `wall` is the time of day, to place deadlines.
    pub fn handle_message(&mut self, now: Instant, wall: SystemTime, message: SessionResponse) {
        use session_response::Message;
        match (self.link, message.message) {
            (Link::Opening { .. }, Some(Message::Welcome(welcome))) => self.welcome(now, welcome),
            (Link::Opening { .. }, _) => self.reconnect(now, "the first message was not a welcome"),
            (Link::Up { .. }, Some(Message::Assign(assign))) => {
                for brief in assign.briefs {
                    self.assign(now, wall, brief);
                }
            }
            (Link::Up { .. }, Some(Message::ResultAcks(acks))) => {
                for ack in acks.acks {
                    self.acked(&ack);
                }
            }
            (Link::Up { .. }, Some(Message::SpawnAck(ack))) => self.spawned(ack),
            (Link::Up { .. }, Some(Message::ContextAnswer(answer))) => self.shared(answer),
            (Link::Up { .. }, Some(Message::Cancel(cancel))) => {
                for lease in cancel.leases {
                    self.cancel(now, lease, &cancel.reason);
                }
            }
            (Link::Up { .. }, Some(Message::Drain(drain))) => self.drained(&drain.reason),
            (Link::Up { .. }, Some(Message::Welcome(_))) => self.reconnect(now, "a second welcome came"),
            // A message of a later version, or one that crossed with the end of the stream.
            (Link::Up { .. }, None) | (Link::Down | Link::Over, _) => {}
        }
        self.settle(now);
    }

    /// A handler has ended, one way or another.
    pub fn handle_finished(&mut self, now: Instant, wall: SystemTime, lease_id: i64, outcome: Outcome) {
        match self.leases.finish(lease_id, outcome, self.limits.output_bytes_max) {
            Finish::SendResult if self.is_up() => {
                // The last words of a handler come before its result.
                self.outbox.progress.extend(self.progress.remove(&lease_id));
                self.outbox.results.push_back(lease_id);
            }
            // The next welcome brings it up.
            Finish::SendResult => {}
            Finish::AckCancel(lease) => self.ack_cancel(lease),
            // Requests of what was cancelled or lost have been told of it then.
            Finish::Unfinished => {
                self.end_asks(lease_id);
                self.progress.remove(&lease_id);
                self.ending.iter_mut().for_each(Ending::count_unfinished);
            }
            Finish::Nothing => {}
        }
        self.start_waiting(now, wall);
        self.settle(now);
    }

    /// A handler has reported progress.
    pub fn handle_progress(&mut self, now: Instant, lease_id: i64, message: String, fraction: f64) {
        if let Some(lease) = self.leases.reporting(lease_id) {
            self.progress.insert(lease_id, Progress { lease: Some(lease), message, fraction });
            self.flush_progress(now);
        }
    }

    /// The worker shall end: take nothing new, and give what runs so long to finish. Called again, the shorter
    /// time counts.
    pub fn handle_shutdown(&mut self, now: Instant, drain_timeout: Duration) {
        let until = now + drain_timeout.min(PATIENCE_MAX);
        match &mut self.ending {
            Some(ending) => ending.hasten(until),
            None => self.ending = Some(Ending::local(until)),
        }
        self.ask_drain();
        self.handle_timeout(now);
    }

    /// The control plane does not take the wish to drain: no Drain will come, and nothing new is taken all the same.
    pub fn handle_drain_refused(&mut self) {
        self.ending.iter_mut().for_each(Ending::set_known);
    }

    /// The time that `poll_timeout` named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.link {
            Link::Opening { until } if now >= until => self.reconnect(now, "no welcome came"),
            Link::Up { heartbeat_at } if now >= heartbeat_at => {
                self.outbox.heartbeat = true;
                self.link = Link::Up { heartbeat_at: now + self.limits.heartbeat_interval };
            }
            Link::Opening { .. } | Link::Up { .. } | Link::Down | Link::Over => {}
        }
        self.flush_progress(now);
        while let Some(lease_id) = self.leases.pop_abort(now) {
            self.actions.push_back(Action::Abort { lease_id });
        }
        if !self.is_up() {
            while let Some(lease_id) = self.leases.pop_overdue(now) {
                self.stop(now, lease_id, CancelReason::Overdue);
            }
        }
        self.settle(now);
    }
}

// What comes out.
impl Session {
    /// The next message for the stream; call it only when the stream has room.
    pub fn poll_transmit(&mut self) -> Option<session_request::Message> {
        use session_request::Message;
        match self.link {
            Link::Down | Link::Over => return None,
            Link::Opening { .. } => {
                return mem::take(&mut self.outbox.hello).then(|| Message::Hello(self.hello()));
            }
            Link::Up { .. } => {}
        }
        // First, so that no amount of results can hold it up.
        if mem::take(&mut self.outbox.heartbeat) {
            return Some(Message::Heartbeat(Heartbeat { in_flight: self.leases.in_flight() }));
        }
        if !self.outbox.acks.is_empty() {
            let leases = mem::take(&mut self.outbox.acks).into_values().collect();
            return Some(Message::AssignAck(AssignAck { leases }));
        }
        if let Some(progress) = self.outbox.progress.pop_front() {
            return Some(Message::Progress(progress));
        }
        if let Some(ask) = self.asks.next() {
            return Some(ask);
        }
        let results = self.next_results();
        if !results.is_empty() {
            return Some(Message::Results(Results { results }));
        }
        if !self.outbox.cancel_acks.is_empty() {
            let leases = mem::take(&mut self.outbox.cancel_acks).into_values().collect();
            return Some(Message::CancelAck(CancelAck { leases }));
        }
        if let Some(ending) = self.ending.as_ref().filter(|_| self.outbox.goodbye) {
            let reason = ending.reason().to_owned();
            self.end();
            return Some(Message::Goodbye(Goodbye { reason }));
        }
        None
    }

    /// Whether `poll_transmit` has something.
    pub fn wants_transmit(&self) -> bool {
        let out = &self.outbox;
        match self.link {
            Link::Down | Link::Over => false,
            Link::Opening { .. } => out.hello,
            Link::Up { .. } => {
                out.heartbeat
                    || out.goodbye
                    || self.asks.wants_transmit()
                    || !(out.acks.is_empty()
                        && out.progress.is_empty()
                        && out.results.is_empty()
                        && out.cancel_acks.is_empty())
            }
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether `poll_action` has something.
    pub fn wants_action(&self) -> bool {
        !self.actions.is_empty()
    }

    /// When to call `handle_timeout`, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (link, progress, deadline) = match self.link {
            Link::Over => return None,
            Link::Down => (None, None, self.leases.next_deadline()),
            Link::Opening { until } => (Some(until), None, self.leases.next_deadline()),
            Link::Up { heartbeat_at } => {
                let waits = !self.progress.is_empty() && self.outbox.progress.is_empty();
                (Some(heartbeat_at), self.progress_from.filter(|_| waits), None)
            }
        };
        let ending = self.ending.as_ref().and_then(Ending::timeout);
        [link, progress, deadline, ending, self.leases.next_abort()].into_iter().flatten().min()
    }

    /// Whether the control plane has welcomed this worker on the present stream.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// The id of the session, once there is one.
    pub fn session_id(&self) -> Option<i64> {
        self.identity.as_ref().map(|identity| identity.session_id)
    }
}

// Shared by several of the above.
impl Session {
    fn slots(&self) -> usize {
        self.settings.hello.slots as usize
    }

    fn hello(&self) -> Hello {
        let resume = self.identity.clone().map(|Identity { session_id, token }| Resume {
            session_id,
            token,
            in_flight: self.leases.in_flight(),
            connection: self.connections,
        });
        Hello { resume, ..self.settings.hello.clone() }
    }

    /// Gives the stream up; the driver closes it and opens another.
    fn reconnect(&mut self, now: Instant, problem: &'static str) {
        self.actions.push_back(Action::Reconnect { problem });
        self.handle_closed(now);
    }

    fn stop(&mut self, now: Instant, lease_id: i64, reason: CancelReason) {
        self.actions.push_back(Action::Cancel { lease_id, reason });
        self.leases.abort_at(lease_id, now + self.settings.cancel_grace);
    }

    /// While nobody reads, no more than could have been handed out. One that is left out costs little: the control
    /// plane sees in the heartbeats that the lease is not held.
    fn ack_cancel(&mut self, lease: LeaseRef) {
        self.outbox.acks.remove(&lease.lease_id);
        if self.outbox.cancel_acks.len() < OPEN_PER_SLOT_MAX * self.slots() {
            self.outbox.cancel_acks.insert(lease.lease_id, lease);
        }
    }

    /// Only a shutdown of our own has to be told; the contract has no word for it but a drain.
    fn ask_drain(&mut self) {
        if let (Link::Up { .. }, Some(identity)) = (self.link, &self.identity)
            && self.ending.as_ref().is_some_and(Ending::is_local)
            && self.leases.open() > 0
        {
            self.actions.push_back(Action::AskDrain { session_id: identity.session_id });
        }
    }

    fn flush_progress(&mut self, now: Instant) {
        let due = self.progress_from.is_none_or(|from| now >= from);
        if due && self.is_up() && !self.progress.is_empty() && self.outbox.progress.is_empty() {
            self.outbox.progress.extend(mem::take(&mut self.progress).into_values());
            self.progress_from = Some(now + PROGRESS_INTERVAL);
        }
    }

    fn next_results(&mut self) -> Vec<AttemptResult> {
        let mut results = Vec::new();
        let mut bytes = 0;
        while results.len() < BATCH_RESULTS_MAX {
            let Some(lease_id) = self.outbox.results.front() else { break };
            let Some(result) = self.leases.result(*lease_id) else {
                self.outbox.results.pop_front();
                continue;
            };
            bytes += result.encoded_len();
            if !results.is_empty() && bytes > BATCH_BYTES_MAX {
                break;
            }
            results.push(result.clone());
            self.outbox.results.pop_front();
        }
        results
    }
}
