//! The worker's side of a session, the SDK's pure machine: whatever the control plane may send, and whatever
//! handlers, timers and the network may do, in any order.
//!
//! What must hold is written down from the outside: handlers and slots, what each result may say, what is over, and
//! how much is kept while nobody reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use arbitrary::{Arbitrary, Unstructured};
use downbeat_proto::v1::{
    Assign, AttemptError, Brief, Cancel, Completed, Drain, Failed, Hello, LeaseRef, Result as AttemptResult,
    ResultAck, ResultAcks, SessionResponse, Welcome, result, session_request::Message as Sent,
    session_response::Message as Told,
};
use downbeat_sdk::session::{Action, Outcome, Session, Settings};
use prost::Message as _;

const STEPS_MAX: usize = 400;
/// Leases per slot that may be open, as the machine has it; and what may wait beside them.
const OPEN_PER_SLOT_MAX: usize = 4;
/// Timers that may be due at the same time, one because of the other.
const TURNS_MAX: usize = 4;
/// The time of day at the beginning.
const WALL_MS: u64 = 1_800_000_000_000;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Open,
    Close,
    Welcome {
        resumed: bool,
        lost: Vec<u8>,
        heartbeat_ms: u16,
        assign_ack_ms: u16,
        output_bytes_max: u8,
    },
    Assign(Vec<(u8, Option<i64>)>),
    Acks(Vec<(u8, u8)>),
    Cancel(Vec<u8>),
    Drain,
    /// Any message at all.
    Raw(&'a [u8]),
    Finish {
        which: u8,
        how: u8,
        bytes: u8,
    },
    Progress {
        lease: u8,
        text: &'a str,
        fraction: f64,
    },
    Shutdown(Option<u32>),
    DrainRefused,
    /// To the next point in time that the machine waits for.
    Timer,
    Pass(u32),
    /// So many messages find room in the stream.
    Transmit(u8),
}

/// The target.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((slots, grace)) = u.arbitrary::<(u8, Option<u16>)>() else { return };
    let mut rig = Rig::new(usize::from(slots % 4) + 1, grace);
    for _ in 0..STEPS_MAX {
        let Ok(step) = u.arbitrary::<Step<'_>>() else { break };
        rig.take(step);
        rig.act();
        rig.check();
        // As the driver: nothing goes in any more.
        if rig.ended {
            return;
        }
    }
    rig.transmit(usize::MAX);
    if !rig.ended {
        rig.end();
    }
}

/// A handler that runs.
#[derive(Clone, Copy, Debug, Default)]
struct Handler {
    cancelled: bool,
    aborted: bool,
}

struct Rig {
    session: Session,
    slots: usize,
    now: Instant,
    wall: SystemTime,
    is_open: bool,
    ended: bool,
    handlers: BTreeMap<i64, Handler>,
    /// Leases as they were assigned when their handlers started.
    started: BTreeMap<i64, LeaseRef>,
    /// Leases whose newest handler came back with an output, and with which.
    outputs: BTreeMap<i64, Vec<u8>>,
    /// Acks of cancels that the control plane asked for.
    cancels: BTreeSet<i64>,
}

impl Rig {
    fn new(slots: usize, grace: Option<u16>) -> Rig {
        let hello = Hello { slots: u32::try_from(slots).expect("few"), ..Hello::default() };
        let cancel_grace = grace.map_or(Duration::MAX, |ms| Duration::from_millis(ms.into()));
        Rig {
            session: Session::new(Settings { hello, cancel_grace }),
            slots,
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_millis(WALL_MS),
            is_open: false,
            ended: false,
            handlers: BTreeMap::new(),
            started: BTreeMap::new(),
            outputs: BTreeMap::new(),
            cancels: BTreeSet::new(),
        }
    }

    fn take(&mut self, step: Step<'_>) {
        match step {
            Step::Open if !self.is_open && !self.ended => {
                self.is_open = true;
                self.session.handle_opening(self.now);
                let hello = self.session.poll_transmit();
                assert!(matches!(&hello, Some(Sent::Hello(_))), "{hello:?} opens a stream");
                self.sent(hello.expect("a hello"));
            }
            Step::Close if self.is_open => self.close(),
            Step::Open | Step::Close => {}
            Step::Welcome { resumed, lost, heartbeat_ms, assign_ack_ms, output_bytes_max } => {
                self.told(Told::Welcome(Welcome {
                    session_id: 7,
                    resumed,
                    lost: lost.iter().map(|n| lease(*n)).collect(),
                    heartbeat_interval_ms: heartbeat_ms.into(),
                    assign_ack_ms: assign_ack_ms.into(),
                    output_bytes_max: output_bytes_max.into(),
                    ..Welcome::default()
                }));
            }
            Step::Assign(briefs) => {
                let brief = |(n, deadline): &(u8, Option<i64>)| Brief {
                    lease: (*n > 0).then(|| lease(*n)),
                    deadline_ms: deadline.map_or(0, |ms| ms % 1_000_000 + WALL_MS as i64),
                    ..Brief::default()
                };
                self.told(Told::Assign(Assign { briefs: briefs.iter().map(brief).collect() }));
            }
            Step::Acks(acks) => {
                let ack = |(n, verdict): &(u8, u8)| ResultAck {
                    lease: Some(lease(*n)),
                    verdict: i32::from(verdict % 6),
                    message: String::new(),
                };
                self.told(Told::ResultAcks(ResultAcks { acks: acks.iter().map(ack).collect() }));
            }
            Step::Cancel(leases) => {
                let leases = leases.iter().map(|n| lease(*n)).collect();
                self.told(Told::Cancel(Cancel { leases, reason: "why".into() }));
            }
            Step::Drain => self.told(Told::Drain(Drain::default())),
            Step::Raw(bytes) => {
                if let Ok(SessionResponse { message: Some(message) }) = SessionResponse::decode(bytes) {
                    self.told(message);
                }
            }
            Step::Finish { which, how, bytes } => self.finish(which, how, bytes.into()),
            Step::Progress { lease, text, fraction } => {
                self.session.handle_progress(self.now, lease.into(), text.to_owned(), fraction);
            }
            Step::Shutdown(ms) => {
                let timeout = ms.map_or(Duration::MAX, |ms| Duration::from_millis(ms.into()));
                self.session.handle_shutdown(self.now, timeout);
            }
            Step::DrainRefused => self.session.handle_drain_refused(),
            Step::Timer => self.timer(),
            Step::Pass(ms) => {
                let end = self.now + Duration::from_millis(u64::from(ms % 100_000));
                // Each timer on the way, but no more than a patient reader would look at.
                for _ in 0..100 {
                    if self.session.poll_timeout().is_none_or(|at| at > end) {
                        break;
                    }
                    self.timer();
                    self.act();
                }
                self.at(end);
                // A timer that comes for nothing does no harm.
                if !self.ended {
                    self.session.handle_timeout(self.now);
                }
            }
            Step::Transmit(count) => self.transmit(count.into()),
        }
    }

    fn told(&mut self, message: Told) {
        if let Told::Cancel(cancel) = &message {
            self.cancels.extend(cancel.leases.iter().map(|lease| lease.lease_id));
        }
        let message = SessionResponse { message: Some(message) };
        self.session.handle_message(self.now, self.wall, message);
    }

    fn close(&mut self) {
        self.is_open = false;
        self.session.handle_closed(self.now);
        assert!(!self.session.wants_transmit(), "nothing goes out without a stream");
    }

    fn at(&mut self, time: Instant) {
        let passed = time.saturating_duration_since(self.now);
        self.now += passed;
        self.wall += passed;
    }

    fn timer(&mut self) {
        let Some(at) = self.session.poll_timeout() else { return };
        self.at(at);
        // A time of nothing is over at once, and what follows from that too; but it comes to an end.
        for _ in 0..TURNS_MAX {
            self.session.handle_timeout(self.now);
            if self.session.poll_timeout().is_none_or(|next| next > self.now) {
                return;
            }
        }
        panic!("due again and again: a busy loop");
    }

    fn finish(&mut self, which: u8, how: u8, bytes: usize) {
        let running: Vec<i64> = self.handlers.keys().copied().collect();
        let Some(lease_id) = super::pick(&running, which) else { return };
        self.handlers.remove(&lease_id);
        self.outputs.remove(&lease_id);
        let outcome = match how % 3 {
            0 => {
                self.outputs.insert(lease_id, vec![b'1'; bytes]);
                Outcome::Completed(Completed { output: vec![b'1'; bytes].into(), artifacts: Vec::new() })
            }
            1 => Outcome::Failed(Failed { error: Some(AttemptError::default()), retryable: true }),
            _ => Outcome::Stopped,
        };
        self.session.handle_finished(self.now, self.wall, lease_id, outcome);
    }

    /// Does what the machine wants done.
    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(!self.ended, "{action:?} after the end");
            match action {
                Action::Start { brief, .. } => {
                    let reference = brief.lease.expect("what starts has a lease");
                    let before = self.handlers.insert(reference.lease_id, Handler::default());
                    assert!(before.is_none(), "two handlers under {reference:?}");
                    assert!(self.handlers.len() <= self.slots, "more handlers than slots");
                    self.started.insert(reference.lease_id, reference);
                    self.outputs.remove(&reference.lease_id);
                }
                Action::Cancel { lease_id, reason } => {
                    let handler = self.handlers.get_mut(&lease_id).expect("what is cancelled runs");
                    assert!(!handler.cancelled, "{lease_id} is cancelled again: {reason:?}");
                    handler.cancelled = true;
                }
                Action::Abort { lease_id } => {
                    let handler = self.handlers.get_mut(&lease_id).expect("what is dropped runs");
                    assert!(handler.cancelled && !handler.aborted, "{lease_id} is dropped unasked, or again");
                    handler.aborted = true;
                }
                Action::Reconnect { problem } => {
                    assert!(!problem.is_empty());
                    // The machine has closed it already.
                    self.is_open = false;
                }
                Action::Spawned { .. } => panic!("no handler has asked for children"),
                Action::Shared { .. } => panic!("no handler has asked for the context"),
                Action::AskDrain { session_id } => assert_eq!(Some(session_id), self.session.session_id()),
                Action::End(_) => self.ended = true,
            }
        }
    }

    fn check(&mut self) {
        assert!(!self.session.wants_action());
        if self.ended {
            assert_eq!(self.session.poll_timeout(), None, "nothing is waited for after the end");
            assert_eq!(self.session.poll_transmit(), None, "nothing is said after the end");
        }
        if !self.is_open {
            assert!(!self.session.wants_transmit() && !self.session.is_up());
        }
    }

    fn transmit(&mut self, count: usize) {
        for _ in 0..count {
            if !self.session.wants_transmit() {
                assert_eq!(self.session.poll_transmit(), None, "what is there is wanted");
                break;
            }
            let Some(message) = self.session.poll_transmit() else {
                // Results that were settled while they waited.
                assert!(!self.session.wants_transmit(), "what is wanted is there");
                break;
            };
            self.sent(message);
            self.act();
        }
    }

    fn sent(&mut self, message: Sent) {
        let open_max = OPEN_PER_SLOT_MAX * self.slots + self.slots;
        match message {
            Sent::Hello(hello) => {
                if let Some(resume) = hello.resume {
                    self.known(&resume.in_flight, open_max);
                }
            }
            Sent::Heartbeat(beat) => self.known(&beat.in_flight, open_max),
            Sent::AssignAck(ack) => self.known(&ack.leases, open_max),
            Sent::Progress(progress) => {
                let lease = progress.lease.expect("progress is under a lease");
                assert_eq!(self.started.get(&lease.lease_id), Some(&lease));
            }
            Sent::Results(results) => {
                assert!(!results.results.is_empty());
                results.results.iter().for_each(|result| self.result(result));
            }
            Sent::CancelAck(ack) => {
                let ids: BTreeSet<i64> = ack.leases.iter().map(|lease| lease.lease_id).collect();
                assert!(ids.is_subset(&self.cancels), "acknowledged, and never cancelled");
                assert!(ack.leases.len() <= ids.len(), "a cancel is acknowledged once: {ack:?}");
                assert!(ids.len() <= open_max, "{} cancels, and {} slots", ids.len(), self.slots);
                let stops = |id: &i64| !self.handlers.contains_key(id) || self.handlers[id].cancelled;
                assert!(ids.iter().all(stops), "acknowledged, and runs on");
            }
            Sent::Spawn(_) => panic!("no handler has asked for children"),
            Sent::ContextWrite(_) | Sent::ContextRead(_) => panic!("no handler has asked for the context"),
            Sent::Goodbye(_) => {}
        }
    }

    /// Leases that started here, each once, and not too many of them.
    fn known(&self, leases: &[LeaseRef], max: usize) {
        let ids: BTreeSet<i64> = leases.iter().map(|lease| lease.lease_id).collect();
        assert_eq!(ids.len(), leases.len(), "each once: {leases:?}");
        assert!(leases.len() <= max, "{} leases, and {} slots", leases.len(), self.slots);
        for lease in leases {
            assert_eq!(self.started.get(&lease.lease_id), Some(lease));
        }
    }

    /// What is sent is what the handler said, and nobody works on it any more.
    fn result(&self, result: &AttemptResult) {
        let lease = result.lease.expect("a result is under a lease");
        assert_eq!(self.started.get(&lease.lease_id), Some(&lease));
        assert!(!self.handlers.contains_key(&lease.lease_id), "a result of what still runs: {result:?}");
        match result.outcome.as_ref().expect("a result has an outcome") {
            result::Outcome::Completed(completed) => {
                let output = self.outputs.get(&lease.lease_id);
                assert_eq!(
                    output.map(Vec::as_slice),
                    Some(&completed.output[..]),
                    "nobody said so: {result:?}"
                );
            }
            result::Outcome::Failed(_) | result::Outcome::Suspended(_) => {}
        }
    }

    /// A shutdown without patience ends whatever state the machine is in, once handlers stop and results are
    /// acknowledged.
    fn end(&mut self) {
        self.session.handle_shutdown(self.now, Duration::ZERO);
        self.act();
        for _ in 0..1_000 {
            if self.ended {
                return self.check();
            }
            while !self.handlers.is_empty() && !self.ended {
                self.finish(0, 2, 0);
                self.act();
            }
            self.transmit(usize::MAX);
            let ack = |lease: &LeaseRef| ResultAck { lease: Some(*lease), ..ResultAck::default() };
            let acks = self.started.values().map(ack).collect();
            if self.ended {
                return self.check();
            }
            self.told(Told::ResultAcks(ResultAcks { acks }));
            self.timer();
            self.act();
        }
        assert!(self.ended, "a shutdown without patience comes to an end");
    }
}

fn lease(n: u8) -> LeaseRef {
    LeaseRef { lease_id: n.into(), task_no: i64::from(n) * 10, index: 1 }
}
