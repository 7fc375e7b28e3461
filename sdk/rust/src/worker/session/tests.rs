//! The session, transition by transition. Time is a value here; nothing waits.

mod attempts;
mod contexts;
mod endings;
mod link;
mod losses;
mod spawns;

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::proto::{
    Assign, AttemptError, Cancel, Completed, Drain, Failed, ResultAck, ResultAcks, Suspended, Welcome,
    result::Outcome as ResultOutcome, result_ack::Verdict,
};

const HEARTBEAT: Duration = Duration::from_secs(3);
const ASSIGN_ACK: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);
const OUTPUT_BYTES_MAX: usize = 64;
const NONE: [i64; 0] = [];

/// A session, and the time it believes in.
struct Rig {
    session: Session,
    now: Instant,
    wall: SystemTime,
}

fn lease(lease_id: i64) -> LeaseRef {
    LeaseRef { lease_id, task_no: lease_id * 10, index: 1 }
}

fn leases(ids: &[i64]) -> Vec<LeaseRef> {
    ids.iter().copied().map(lease).collect()
}

fn brief(lease_id: i64) -> Brief {
    Brief { lease: Some(lease(lease_id)), agent: "echo".into(), attempt: 1, ..Default::default() }
}

fn done(text: &'static str) -> Outcome {
    Outcome::Completed(Completed { output: text.into(), artifacts: Vec::new() })
}

fn failed() -> Outcome {
    let error = AttemptError { code: "X".into(), message: "broke".into() };
    Outcome::Failed(Failed { error: Some(error), retryable: true })
}

fn result(lease_id: i64, outcome: Outcome) -> AttemptResult {
    let outcome = match outcome {
        Outcome::Completed(completed) => ResultOutcome::Completed(completed),
        Outcome::Failed(failed) => ResultOutcome::Failed(failed),
        Outcome::Suspended => ResultOutcome::Suspended(Suspended {}),
        Outcome::Stopped => panic!("not a result"),
    };
    AttemptResult { lease: Some(lease(lease_id)), outcome: Some(outcome) }
}

fn results(results: Vec<AttemptResult>) -> session_request::Message {
    session_request::Message::Results(Results { results })
}

fn ack(ids: &[i64]) -> session_request::Message {
    session_request::Message::AssignAck(AssignAck { leases: leases(ids) })
}

fn cancel_ack(ids: &[i64]) -> session_request::Message {
    session_request::Message::CancelAck(CancelAck { leases: leases(ids) })
}

fn heartbeat(ids: &[i64]) -> session_request::Message {
    session_request::Message::Heartbeat(Heartbeat { in_flight: leases(ids) })
}

fn goodbye(reason: &str) -> session_request::Message {
    session_request::Message::Goodbye(Goodbye { reason: reason.into() })
}

fn progress(lease_id: i64, message: &str) -> session_request::Message {
    let message = message.to_owned();
    session_request::Message::Progress(Progress { lease: Some(lease(lease_id)), message, fraction: 0.0 })
}

fn start(lease_id: i64) -> Action {
    Action::Start { brief: Box::new(brief(lease_id)), output_bytes_max: OUTPUT_BYTES_MAX }
}

fn cancelled(lease_id: i64, reason: CancelReason) -> Action {
    Action::Cancel { lease_id, reason }
}

impl Rig {
    fn new(slots: u32) -> Self {
        let hello = Hello { worker: "w".into(), slots, ..Default::default() };
        let session = Session::new(Settings { hello, cancel_grace: GRACE });
        Self { session, now: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) }
    }

    /// A session that is up, with nothing in flight.
    fn up(slots: u32) -> Self {
        let mut rig = Self::new(slots);
        rig.open();
        rig.welcome(false, &[]);
        rig
    }

    /// A session that is up and runs these.
    fn running(slots: u32, ids: &[i64]) -> Self {
        let mut rig = Self::up(slots);
        rig.assign(ids);
        assert_eq!(rig.actions(), ids.iter().map(|id| start(*id)).collect::<Vec<_>>());
        assert_eq!(rig.sent(), [ack(ids)]);
        rig
    }

    fn open(&mut self) -> Hello {
        self.session.handle_opening(self.now);
        let sent = self.sent();
        let [session_request::Message::Hello(hello)] = &sent[..] else {
            panic!("expected a hello: {sent:?}")
        };
        hello.clone()
    }

    fn receive(&mut self, message: session_response::Message) {
        self.session.handle_message(self.now, self.wall, SessionResponse { message: Some(message) });
    }

    fn welcome(&mut self, resumed: bool, lost: &[i64]) {
        self.receive(session_response::Message::Welcome(Welcome {
            session_id: 7,
            resume_token: "token".into(),
            resumed,
            heartbeat_interval_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap(),
            output_bytes_max: OUTPUT_BYTES_MAX as u64,
            assign_ack_ms: u32::try_from(ASSIGN_ACK.as_millis()).unwrap(),
            lost: leases(lost),
            ..Default::default()
        }));
    }

    fn assign(&mut self, ids: &[i64]) {
        let briefs = ids.iter().copied().map(brief).collect();
        self.receive(session_response::Message::Assign(Assign { briefs }));
    }

    fn cancel(&mut self, ids: &[i64]) {
        let cancel = Cancel { leases: leases(ids), reason: "why".into() };
        self.receive(session_response::Message::Cancel(cancel));
    }

    /// Comes back, and these are lost.
    fn lose(&mut self, ids: &[i64]) {
        self.close();
        self.open();
        self.welcome(true, ids);
    }

    fn ack_result(&mut self, lease_id: i64, verdict: Verdict) {
        let ack = ResultAck { lease: Some(lease(lease_id)), verdict: verdict.into(), message: String::new() };
        self.receive(session_response::Message::ResultAcks(ResultAcks { acks: vec![ack] }));
    }

    fn drain(&mut self) {
        self.receive(session_response::Message::Drain(Drain { reason: "upgrade".into() }));
    }

    fn finish(&mut self, lease_id: i64, outcome: Outcome) {
        self.session.handle_finished(self.now, self.wall, lease_id, outcome);
    }

    fn report(&mut self, lease_id: i64, message: &str) {
        self.session.handle_progress(self.now, lease_id, message.into(), 0.0);
    }

    fn close(&mut self) {
        self.session.handle_closed(self.now);
    }

    /// Goes to the next point in time that the session waits for.
    fn next_timeout(&mut self) {
        self.now = self.session.poll_timeout().expect("a timer is set").max(self.now);
        self.session.handle_timeout(self.now);
        let next = self.session.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "a timer is due again at once: a busy loop");
    }

    /// Lets `time` pass, through every timer on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.session.poll_timeout().is_some_and(|at| at <= end) {
            self.next_timeout();
        }
        self.now = end;
    }

    fn sent(&mut self) -> Vec<session_request::Message> {
        let mut sent = Vec::new();
        while self.session.wants_transmit() {
            sent.push(self.session.poll_transmit().expect("what is wanted is there"));
        }
        assert_eq!(self.session.poll_transmit(), None, "what is there is wanted");
        sent
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    fn in_flight(&self) -> Vec<i64> {
        self.session.leases.in_flight().iter().map(|lease| lease.lease_id).collect()
    }
}
