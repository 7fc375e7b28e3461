//! A worker without manners: it speaks the session stream with the generated client, and does exactly what the
//! test says, in time or not.

use std::collections::VecDeque;

use downbeat_proto::v1::{
    AgentDeclaration, AssignAck, AttemptError, Brief, CancelAck, Completed, ContextAnswer, Failed, Goodbye,
    Heartbeat, Hello, LeaseRef, Progress, Result as AttemptResult, ResultAck, Results, Resume,
    SessionRequest, SessionResponse, Welcome, result::Outcome, result_ack::Verdict,
    session_request::Message as Said, session_response::Message as Heard,
    worker_service_client::WorkerServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{control_plane::channel, soon};

/// One open session stream.
#[derive(Debug)]
pub struct RawWorker {
    pub welcome: Welcome,
    say: mpsc::Sender<SessionRequest>,
    hear: Streaming<SessionResponse>,
    // Heard, and not yet asked for.
    briefs: VecDeque<Brief>,
    acks: VecDeque<ResultAck>,
    cancels: VecDeque<Vec<LeaseRef>>,
    answers: VecDeque<ContextAnswer>,
}

impl RawWorker {
    /// A worker for these agents that was welcomed.
    pub async fn start(url: &str, agents: &[&str], slots: u32) -> RawWorker {
        RawWorker::open(url, hello(agents, slots)).await.expect("a welcome")
    }

    /// Takes up a session again, for the first time.
    pub async fn resume(url: &str, hello: Hello, welcome: &Welcome, in_flight: &[LeaseRef]) -> RawWorker {
        let resume = Resume {
            session_id: welcome.session_id,
            token: welcome.resume_token.clone(),
            in_flight: in_flight.to_vec(),
            connection: 1,
        };
        RawWorker::open(url, Hello { resume: Some(resume), ..hello }).await.expect("a welcome")
    }

    /// # Errors
    /// What the control plane says instead of a welcome.
    pub async fn open(url: &str, hello: Hello) -> Result<RawWorker, Status> {
        RawWorker::open_with(url, Said::Hello(hello)).await
    }

    /// With any first message.
    ///
    /// # Errors
    /// What the control plane says instead of a welcome.
    pub async fn open_with(url: &str, first: Said) -> Result<RawWorker, Status> {
        let (say, said) = mpsc::channel(1_024);
        say.send(SessionRequest { message: Some(first) }).await.expect("an open channel");
        let mut client = WorkerServiceClient::new(channel(url)).max_decoding_message_size(64 << 20);
        let opened = soon("the session opens", client.session(ReceiverStream::new(said))).await?;
        let mut hear = opened.into_inner();
        let first = soon("the first message", hear.message()).await?;
        match first.and_then(|response| response.message) {
            Some(Heard::Welcome(welcome)) => Ok(RawWorker {
                welcome,
                say,
                hear,
                briefs: VecDeque::new(),
                acks: VecDeque::new(),
                cancels: VecDeque::new(),
                answers: VecDeque::new(),
            }),
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    /// Sends a message; whether somebody takes it is another matter.
    pub async fn say(&self, message: Said) {
        let _ = soon("room on the stream", self.say.send(SessionRequest { message: Some(message) })).await;
    }

    pub async fn acknowledge(&self, leases: &[LeaseRef]) {
        self.say(Said::AssignAck(AssignAck { leases: leases.to_vec() })).await;
    }

    pub async fn heartbeat(&self, in_flight: &[LeaseRef]) {
        self.say(Said::Heartbeat(Heartbeat { in_flight: in_flight.to_vec() })).await;
    }

    pub async fn progress(&self, lease: LeaseRef, message: &str) {
        self.say(Said::Progress(Progress { lease: Some(lease), message: message.into(), fraction: 0.0 }))
            .await;
    }

    pub async fn results(&self, results: Vec<AttemptResult>) {
        self.say(Said::Results(Results { results })).await;
    }

    pub async fn complete(&self, lease: LeaseRef, output: &str) {
        self.results(vec![completed(lease, output)]).await;
    }

    /// Completes an attempt with an output that names its lease, as [`history`](super::history) expects.
    pub async fn deliver(&self, brief: &Brief) {
        let lease = lease_of(brief);
        self.complete(lease, &format!("{{\"lease\":{}}}", lease.lease_id)).await;
    }

    pub async fn fail(&self, lease: LeaseRef, code: &str, retryable: bool) {
        self.results(vec![failed(lease, code, retryable)]).await;
    }

    pub async fn free(&self, leases: &[LeaseRef]) {
        self.say(Said::CancelAck(CancelAck { leases: leases.to_vec() })).await;
    }

    pub async fn goodbye(&self) {
        self.say(Said::Goodbye(Goodbye { reason: "the test is done with it".into() })).await;
    }

    /// The next message; `None` when the stream has ended, in whatever way.
    pub async fn hear(&mut self) -> Option<Heard> {
        soon("a message from the control plane", self.hear.message()).await.ok().flatten()?.message
    }

    /// The next brief, not acknowledged.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn brief(&mut self) -> Brief {
        while self.briefs.is_empty() {
            self.take_in("a brief").await;
        }
        self.briefs.pop_front().expect("waited for it")
    }

    /// The next brief, acknowledged.
    pub async fn begin(&mut self) -> Brief {
        let brief = self.brief().await;
        self.acknowledge(&[lease_of(&brief)]).await;
        brief
    }

    /// The answers to so many results, in the order they come.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn acks(&mut self, count: usize) -> Vec<ResultAck> {
        while self.acks.len() < count {
            self.take_in("the answer to a result").await;
        }
        self.acks.drain(..count).collect()
    }

    /// The verdicts on so many results.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn verdicts(&mut self, count: usize) -> Vec<Verdict> {
        self.acks(count).await.iter().map(ResultAck::verdict).collect()
    }

    /// Leases that it is told to stop.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn cancelled(&mut self) -> Vec<LeaseRef> {
        while self.cancels.is_empty() {
            self.take_in("a cancel").await;
        }
        self.cancels.pop_front().expect("waited for it")
    }

    /// The next answer about the shared context.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn answered(&mut self) -> ContextAnswer {
        while self.answers.is_empty() {
            self.take_in("an answer").await;
        }
        self.answers.pop_front().expect("waited for it")
    }

    /// Whether a brief has come that nobody asked for yet.
    pub fn has_brief(&self) -> bool {
        !self.briefs.is_empty()
    }

    async fn take_in(&mut self, waits_for: &str) {
        match self.hear().await {
            Some(Heard::Assign(assign)) => self.briefs.extend(assign.briefs),
            Some(Heard::ResultAcks(acks)) => self.acks.extend(acks.acks),
            Some(Heard::Cancel(cancel)) => self.cancels.push_back(cancel.leases),
            Some(Heard::ContextAnswer(answer)) => self.answers.push_back(answer),
            Some(Heard::Welcome(_) | Heard::Drain(_) | Heard::SpawnAck(_)) => {}
            None => panic!("the stream ended before {waits_for}"),
        }
    }

    /// Reads until the stream ends.
    pub async fn end(&mut self) {
        while self.hear().await.is_some() {}
    }
}

/// What a well-behaved worker would say first.
pub fn hello(agents: &[&str], slots: u32) -> Hello {
    let agents = agents.iter().map(|name| AgentDeclaration { name: (*name).into(), ..Default::default() });
    Hello { worker: "raw".into(), agents: agents.collect(), slots, ..Default::default() }
}

/// # Panics
/// When the brief has none.
pub fn lease_of(brief: &Brief) -> LeaseRef {
    brief.lease.expect("a lease on every brief")
}

pub fn completed(lease: LeaseRef, output: &str) -> AttemptResult {
    let completed = Completed { output: output.to_owned().into(), artifacts: Vec::new() };
    AttemptResult { lease: Some(lease), outcome: Some(Outcome::Completed(completed)) }
}

pub fn failed(lease: LeaseRef, code: &str, retryable: bool) -> AttemptResult {
    let error = AttemptError { code: code.into(), message: "as the test wants it".into() };
    AttemptResult {
        lease: Some(lease),
        outcome: Some(Outcome::Failed(Failed { error: Some(error), retryable })),
    }
}
