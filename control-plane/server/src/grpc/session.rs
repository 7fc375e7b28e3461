//! A worker's session, over whatever carries its messages: reads what the worker says into inputs of the
//! committer, and writes what the committer tells the worker. Decides nothing, and knows no socket.

mod context;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use downbeat_core::{
    command::{self, Command, Reply},
    draft::{Draft, RunIf},
    effect::Assignment,
    id::{Index, LeaseAt, LeaseId, SessionNo, TaskNo, TenantNo},
    limits,
    reject::Reject,
    session::WorkerDeclaration,
    subtask::SubtaskState,
};
use downbeat_proto::v1::{
    self, result_ack::Verdict, session_request::Message as FromWorker, session_response::Message as ToWire,
};
use downbeat_store::{Leased, PlanRecord};
use futures::{Stream, StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tonic::Status;

use self::context::SharedContext;
use crate::{
    committer::{Connect, Input, ToWorker},
    engine::Engine,
    failure::Failure,
    replica::Held,
    wire,
};

/// A stream that has not said hello by then is closed.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// Requests of one worker that are decided at the same time: children to add, writes and reads of shared contexts.
const ASKED_MAX: usize = 16;
/// Messages on their way into the socket: two are enough to keep it busy.
const OUT_MAX: usize = 2;
/// Beside the briefs, which credit bounds: acks, cancels, a drain.
const LINK_SPARE: usize = 256;
/// Outputs of dependencies that travel in one brief; beyond that they are fetched.
const BRIEF_OUTPUT_BYTES: usize = 4 << 20;
/// Briefs are gathered into messages of about this size.
const ASSIGN_BYTES: usize = 1 << 20;

/// Serves the sessions of one replica.
#[derive(Clone)]
pub struct Sessions {
    engine: Engine,
}

/// A session that was taken up or opened, and whose stream is not connected yet.
pub struct Accepted<I> {
    engine: Engine,
    tenant: TenantNo,
    declaration: Arc<WorkerDeclaration>,
    opened: Opened,
    incoming: I,
}

/// What goes out to the worker; the stream ends with it.
pub type Responses = mpsc::Receiver<Result<v1::SessionResponse, Status>>;

impl Sessions {
    /// One for all streams of the replica.
    pub fn new(engine: Engine) -> Sessions {
        Sessions { engine }
    }

    /// Waits for the first message of a new stream, and takes up the session that it names or opens one. Drop
    /// it when the worker is gone.
    ///
    /// # Errors
    /// What the worker is told instead.
    pub async fn accept<I>(&self, tenant: TenantNo, mut incoming: I) -> Result<Accepted<I>, Status>
    where
        I: Stream<Item = Result<v1::SessionRequest, Status>> + Unpin,
    {
        let hello = hello(&mut incoming).await?;
        let declaration = Arc::new(wire::session::declaration(&hello).map_err(super::error::status)?);
        let opened = open(&self.engine, tenant, &declaration, hello.resume.as_ref()).await;
        let opened = opened.map_err(super::error::status)?;
        Ok(Accepted { engine: self.engine.clone(), tenant, declaration, opened, incoming })
    }
}

impl<I> Accepted<I>
where
    I: Stream<Item = Result<v1::SessionRequest, Status>> + Unpin,
{
    /// What to send to the worker, and the session itself, to be run to its end.
    pub fn start(self) -> (Responses, impl Future<Output = ()>) {
        let (out, responses) = mpsc::channel(OUT_MAX);
        (responses, self.run(out))
    }

    async fn run(self, out: mpsc::Sender<Result<v1::SessionResponse, Status>>) {
        let Accepted { engine, tenant, declaration, opened, incoming } = self;
        let Opened { session, connection, resumed, .. } = opened;
        let worker = declaration.worker.clone();
        let slots = usize::try_from(declaration.slots).unwrap_or(usize::MAX);
        let (link, told) = mpsc::channel(slots.saturating_mul(2).saturating_add(LINK_SPARE));
        // Room for the first message is there: the channel is new.
        let _ = out.try_send(Ok(message(ToWire::Welcome(welcome(&engine, &opened)))));
        let connect = Connect { session, connection, tenant, declaration, holds: opened.holds, link };
        if let Err(failure) = engine.send(Input::Connect(connect)).await {
            let _ = out.send(Err(super::error::status(failure))).await;
            return;
        }
        tracing::info!(%session, %worker, resumed, "a worker connected");
        let refused = Refused::default();
        let spawner = Spawner { engine: engine.clone(), tenant, session, out: out.clone() };
        let context = SharedContext { engine: engine.clone(), tenant, session, out: out.clone() };
        let reader = Reader { engine: engine.clone(), session, refused: refused.clone(), spawner, context };
        let writer = Writer { engine: engine.clone(), out, refused };
        // Whichever side ends first ends the stream: the committer's, the worker's, the process's. In this order,
        // so that the same messages give the same course: the writer waits for its socket soon, the reader may not.
        tokio::select! {
            biased;
            () = writer.run(told) => {}
            () = reader.run(incoming) => {}
            () = engine.stop.cancelled() => {}
        }
        let _ = engine.send(Input::Disconnect { session, connection }).await;
        tracing::info!(%session, "a worker's stream ended");
    }
}

async fn hello<I>(incoming: &mut I) -> Result<v1::Hello, Status>
where
    I: Stream<Item = Result<v1::SessionRequest, Status>> + Unpin,
{
    let first = tokio::time::timeout(HELLO_WAIT, incoming.next()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no Hello within 10 s"))?;
    match first.transpose()?.and_then(|request| request.message) {
        Some(FromWorker::Hello(hello)) => Ok(hello),
        _ => {
            Err(super::error::status(Failure::invalid("message", "the first message of a session is Hello")))
        }
    }
}

struct Opened {
    session: SessionNo,
    connection: u32,
    token: [u8; 16],
    resumed: bool,
    holds: Vec<Held>,
    lost: Vec<LeaseAt>,
}

/// Takes up the session that the worker names, or opens a new one.
async fn open(
    engine: &Engine,
    tenant: TenantNo,
    declaration: &Arc<WorkerDeclaration>,
    resume: Option<&v1::Resume>,
) -> Result<Opened, Failure> {
    let in_flight = resume.map(|resume| wire::session::leases(&resume.in_flight)).unwrap_or_default();
    if let Some(resume) = resume
        && let Ok(token) = uuid::Uuid::parse_str(&resume.token)
    {
        let (session, connection) = (SessionNo(resume.session_id), resume.connection);
        let token = token.into_bytes();
        let command = Command::ResumeSession { tenant, session, replica: engine.replica, token, connection };
        match engine.decide(command).await {
            Ok(_) => return take_up(engine, session, connection, token, &in_flight).await,
            Err(Failure::Reject(Reject::SessionUnknown)) => {}
            Err(failure) => return Err(failure),
        }
    }
    let token = uuid::Uuid::now_v7().into_bytes();
    let declaration = Arc::clone(declaration);
    let command = Command::OpenSession { tenant, replica: engine.replica, token, declaration };
    match engine.decide(command).await? {
        Reply::Session(session) => {
            Ok(Opened { session, connection: 0, token, resumed: false, holds: Vec::new(), lost: in_flight })
        }
        other => Err(Failure::Internal(format!("unexpected reply {other:?}"))),
    }
}

/// A resumed worker keeps what both sides know of. What only the rows know was never received; what only the
/// worker knows is no longer its own.
async fn take_up(
    engine: &Engine,
    session: SessionNo,
    connection: u32,
    token: [u8; 16],
    in_flight: &[LeaseAt],
) -> Result<Opened, Failure> {
    let known: BTreeSet<LeaseAt> = in_flight.iter().copied().collect();
    let (holds, unsent): (Vec<Leased>, Vec<Leased>) =
        engine.store.leases(&[session]).await?.into_iter().partition(|leased| known.contains(&leased.at));
    for Leased { at, .. } in unsent {
        engine.decide(Command::Return { at, session, connection }).await?;
    }
    let held: BTreeSet<LeaseAt> = holds.iter().map(|leased| leased.at).collect();
    let lost = in_flight.iter().filter(|at| !held.contains(at)).copied().collect();
    // Of a route that a new replica does not know, it could not tell how long the agent may be silent.
    engine.learn(&holds.iter().map(|leased| leased.route).collect()).await?;
    let holds = holds.into_iter().map(|Leased { at, route, .. }| Held { at, route }).collect();
    Ok(Opened { session, connection, token, resumed: true, holds, lost })
}

fn welcome(engine: &Engine, opened: &Opened) -> v1::Welcome {
    let ms = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    v1::Welcome {
        session_id: opened.session.0,
        resume_token: uuid::Uuid::from_bytes(opened.token).to_string(),
        resumed: opened.resumed,
        heartbeat_interval_ms: ms(engine.liveness.heartbeat_interval_ms),
        lease_ms: ms(engine.liveness.lease_ms),
        grace_ms: ms(engine.policy.grace_ms),
        assign_ack_ms: ms(engine.liveness.assign_ack_ms),
        output_bytes_max: limits::OUTPUT_BYTES as u64,
        lost: wire::session::lease_refs(&opened.lost),
    }
}

fn message(message: ToWire) -> v1::SessionResponse {
    v1::SessionResponse { message: Some(message) }
}

/// Results whose payload was not kept, and why: their acks say so.
#[derive(Clone, Default)]
struct Refused(Arc<Mutex<HashMap<LeaseId, String>>>);

impl Refused {
    fn add(&self, lease: LeaseId, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lease, message);
    }

    fn take(&self, lease: LeaseId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease)
    }
}

struct Reader {
    engine: Engine,
    session: SessionNo,
    refused: Refused,
    spawner: Spawner,
    context: SharedContext,
}

/// What a worker waits for an answer to.
enum Asked {
    Spawn(v1::Spawn),
    Write(v1::ContextWrite),
    Read(v1::ContextRead),
}

impl Reader {
    /// Until the worker's side ends, in whatever way.
    async fn run(self, mut incoming: impl Stream<Item = Result<v1::SessionRequest, Status>> + Unpin) {
        // Decided beside what else comes, so that no heartbeat waits for a commit.
        let mut asking = FuturesUnordered::new();
        loop {
            let request = tokio::select! {
                biased;
                Some(()) = asking.next(), if !asking.is_empty() => continue,
                request = incoming.next(), if asking.len() < ASKED_MAX => request,
            };
            let Some(Ok(request)) = request else { return };
            let Some(message) = request.message else { continue };
            match message {
                FromWorker::Spawn(spawn) => asking.push(self.ask(Asked::Spawn(spawn))),
                FromWorker::ContextWrite(write) => asking.push(self.ask(Asked::Write(write))),
                FromWorker::ContextRead(read) => asking.push(self.ask(Asked::Read(read))),
                FromWorker::Goodbye(goodbye) => {
                    tracing::info!(session = %self.session, reason = %goodbye.reason, "a worker says goodbye");
                    let command = Command::ExpireSession { session: self.session, overdue: false };
                    if self.engine.decide(command).await.is_ok() {
                        let _ = self.engine.send(Input::LookAtSessions).await;
                    }
                    return;
                }
                message => {
                    if let Some(input) = self.input(message)
                        && self.keep(input).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    }

    async fn ask(&self, asked: Asked) {
        match asked {
            Asked::Spawn(spawn) => self.spawner.spawn(spawn).await,
            Asked::Write(write) => self.context.write(write).await,
            Asked::Read(read) => self.context.read(read).await,
        }
    }

    /// Waits as long as it takes: the worker's results are not dropped because the database is away.
    async fn keep(&self, input: Input) -> Result<(), ()> {
        self.engine.inbox.send(input).await.map_err(drop)
    }

    fn input(&self, message: FromWorker) -> Option<Input> {
        let session = self.session;
        match message {
            FromWorker::Heartbeat(beat) => {
                Some(Input::Heartbeat { session, in_flight: wire::session::leases(&beat.in_flight) })
            }
            FromWorker::AssignAck(ack) => {
                Some(Input::Acknowledge { session, leases: wire::session::leases(&ack.leases) })
            }
            FromWorker::Progress(progress) => {
                let at = wire::session::lease(progress.lease.as_ref()?);
                Some(Input::Progress { session, at, message: wire::session::progress(&progress) })
            }
            FromWorker::Results(results) => {
                let mut taken = Vec::with_capacity(results.results.len());
                for result in results.results {
                    // One without a lease has nobody to be answered to.
                    let Some((at, result, refused)) = wire::session::result(result) else { continue };
                    if let Some(message) = refused {
                        self.refused.add(at.lease, message);
                    }
                    taken.push((at, result));
                }
                Some(Input::Results { session, results: taken })
            }
            FromWorker::CancelAck(ack) => {
                Some(Input::Freed { session, leases: wire::session::leases(&ack.leases) })
            }
            FromWorker::Hello(_)
            | FromWorker::Goodbye(_)
            | FromWorker::Spawn(_)
            | FromWorker::ContextWrite(_)
            | FromWorker::ContextRead(_) => None,
        }
    }
}

/// Adds children to what the worker has, and tells it so.
struct Spawner {
    engine: Engine,
    tenant: TenantNo,
    session: SessionNo,
    out: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

impl Spawner {
    /// However long the database is away: the worker waits for the answer, and does not ask again on this stream.
    async fn spawn(&self, spawn: v1::Spawn) {
        let v1::Spawn { lease, request, children } = spawn;
        let Some(lease) = lease else { return };
        let at = wire::session::lease(&lease);
        let (verdict, message, subtask_ids) = match wire::request::children(children) {
            Ok(drafts) => self.decided(at, &drafts).await,
            Err(failure) => (Verdict::Refused, told(&failure), Vec::new()),
        };
        let lease = Some(lease);
        let ack = v1::SpawnAck { lease, request, verdict: verdict.into(), message, subtask_ids };
        // A stream that has ended has nobody to be told.
        let _ = self.out.send(Ok(self::message(ToWire::SpawnAck(ack)))).await;
    }

    async fn decided(&self, at: LeaseAt, drafts: &[Draft]) -> (Verdict, String, Vec<String>) {
        loop {
            match self.engine.spawn(self.tenant, self.session, at, drafts).await {
                Ok((command::Verdict::Accepted, ids)) => return (Verdict::Accepted, String::new(), ids),
                Ok((command::Verdict::Duplicate | command::Verdict::Stale, _)) => {
                    return (Verdict::Stale, "the lease is no longer current".into(), Vec::new());
                }
                Err(Failure::Unavailable { retry_after_ms, .. }) => {
                    tokio::time::sleep(Duration::from_millis(retry_after_ms)).await;
                }
                Err(failure) => return (Verdict::Refused, told(&failure), Vec::new()),
            }
        }
    }
}

/// Why something was refused, for the worker's author.
fn told(failure: &Failure) -> String {
    match failure {
        Failure::Invalid(violations) => wire::problems::summary(violations),
        other => wire::session::cut(&other.to_string()),
    }
}

struct Writer {
    engine: Engine,
    out: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    refused: Refused,
}

impl Writer {
    /// Until the committer drops its end, or the worker does not read.
    async fn run(self, mut told: mpsc::Receiver<ToWorker>) {
        while let Some(what) = told.recv().await {
            let sent = match what {
                ToWorker::Assign(assignments) => self.assign(assignments).await,
                ToWorker::Acks(acks) => {
                    let acks = acks
                        .into_iter()
                        .map(|ack| {
                            let refused = self.refused.take(ack.at.lease);
                            wire::session::result_ack(ack, refused)
                        })
                        .collect();
                    self.send(ToWire::ResultAcks(v1::ResultAcks { acks })).await
                }
                ToWorker::Cancel(leases, outcome) => {
                    let leases = wire::session::lease_refs(&leases);
                    let reason = wire::session::cancel_reason(outcome).into();
                    self.send(ToWire::Cancel(v1::Cancel { leases, reason })).await
                }
                ToWorker::Drain => {
                    self.send(ToWire::Drain(v1::Drain { reason: "asked by an operator".into() })).await
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn send(&self, what: ToWire) -> Result<(), ()> {
        self.out.send(Ok(message(what))).await.map_err(drop)
    }

    /// Composes the briefs and sends them, several to a message. A brief that cannot be composed is left
    /// out: without its ack it goes to the next worker.
    async fn assign(&self, assignments: Vec<Assignment>) -> Result<(), ()> {
        let mut briefs = Vec::with_capacity(assignments.len());
        let mut bytes = 0;
        for assignment in assignments {
            let brief = match brief(&self.engine, &assignment).await {
                Ok(brief) => brief,
                Err(failure) => {
                    tracing::warn!(lease_id = %assignment.at.lease, %failure, "cannot compose a brief");
                    continue;
                }
            };
            bytes += prost::Message::encoded_len(&brief);
            briefs.push(brief);
            if bytes >= ASSIGN_BYTES {
                bytes = 0;
                self.send(ToWire::Assign(v1::Assign { briefs: std::mem::take(&mut briefs) })).await?;
            }
        }
        if briefs.is_empty() { Ok(()) } else { self.send(ToWire::Assign(v1::Assign { briefs })).await }
    }
}

async fn brief(engine: &Engine, assignment: &Assignment) -> Result<v1::Brief, Failure> {
    let at = assignment.at;
    let record = engine.docs.record_of(&*engine.store, at.task, at.index + 1).await?;
    let record = record.ok_or_else(|| Failure::Internal(format!("task {} has no plan", at.task)))?;
    let node = record.plan.node(at.index);
    let node =
        node.ok_or_else(|| Failure::Internal(format!("task {} has no subtask {}", at.task, at.index)))?;
    let (plan, mut room) = (&record.plan, BRIEF_OUTPUT_BYTES);
    let of: Vec<(Index, &str)> =
        node.depends_on.iter().map(|&on| (on, plan.name_for(at.index, on))).collect();
    let succeeded = node.run_if == RunIf::AllSucceeded;
    let dependencies = handed(engine, &record, at.task, &of, succeeded, &mut room).await?;
    let of: Vec<(Index, &str)> =
        plan.children(at.index).map(|child| (child, plan.local_key(child))).collect();
    let children = handed(engine, &record, at.task, &of, false, &mut room).await?;
    let handed = engine.handed_context(at.task, plan, &node.context).await?;
    let (context, context_versions) = match handed {
        Some(entries) => wire::context::handed(&entries),
        None => (wire::session::context(plan), HashMap::new()),
    };
    Ok(v1::Brief {
        lease: Some(wire::session::lease_ref(at)),
        task_id: record.id.clone(),
        subtask_id: node.id.clone(),
        key: node.key.clone(),
        agent: assignment.agent.to_string(),
        attempt: u32::from(assignment.attempt),
        input: plan.input(at.index).map(text).unwrap_or_default(),
        dependencies,
        context,
        deadline_ms: assignment.deadline.map_or(0, |at| at.0),
        priority: wire::priority(node.priority).into(),
        title: record.request.title.clone(),
        description: record.request.description.clone(),
        item: plan.item(at.index).map(text).unwrap_or_default(),
        nth: plan.nth(at.index),
        children,
        context_versions,
    })
}

/// What others delivered, each under the name that the reader has for it, as far as there is room. `succeeded`: none of
/// them can have failed.
async fn handed(
    engine: &Engine,
    record: &PlanRecord,
    task: TaskNo,
    of: &[(Index, &str)],
    succeeded: bool,
    room: &mut usize,
) -> Result<Vec<v1::Dependency>, Failure> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let indexes: Vec<Index> = of.iter().map(|(index, _)| *index).collect();
    let delivered = engine.docs.outputs(&*engine.store, task, &indexes).await?;
    let known = succeeded && delivered.iter().all(Option::is_some);
    let states = if known { BTreeMap::new() } else { states(engine, task, &indexes).await? };
    let mut handed = Vec::with_capacity(of.len());
    for ((index, name), output) in of.iter().zip(delivered) {
        let Some(node) = record.plan.node(*index) else { continue };
        let state = states.get(index).copied().unwrap_or(SubtaskState::Completed);
        // What delivered and then failed with its children has no output.
        let output = output.filter(|_| state == SubtaskState::Completed).unwrap_or_default();
        let bytes = output.body.len();
        let omitted = bytes > *room;
        *room -= if omitted { 0 } else { bytes };
        handed.push(v1::Dependency {
            key: (*name).to_owned(),
            subtask_id: node.id.clone(),
            state: wire::subtask_state(state).into(),
            output: if omitted { Bytes::new() } else { output.body },
            artifacts: output.artifacts.into_iter().map(wire::artifact).collect(),
            omitted,
            output_bytes: bytes as u64,
        });
    }
    Ok(handed)
}

fn text(json: &serde_json::value::RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

/// How they ended. Only those whose success is certain need not be asked about.
async fn states(
    engine: &Engine,
    task: TaskNo,
    indexes: &[Index],
) -> Result<BTreeMap<Index, SubtaskState>, Failure> {
    let Some(record) = engine.store.task(task).await? else { return Ok(BTreeMap::new()) };
    let state = |&index: &Index| Some((index, record.subtasks.get(index as usize)?.state));
    Ok(indexes.iter().filter_map(state).collect())
}
