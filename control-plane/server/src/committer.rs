//! The loop every change goes through: gather commands, close the batch when the inbox is empty or full,
//! decide and commit it, then act. One per replica, on a thread of its own.
//!
//! Nothing leaves this loop before its batch is durable. Whatever is sent from here may be lost.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use downbeat_core::{
    command::{Command, Reply, Verdict, WorkResult},
    effect::Assignment,
    id::{LeaseAt, RouteNo, SessionNo, TaskNo},
    nested::Nesting,
    session::WorkerDeclaration,
    subtask::Outcome,
};
use downbeat_store::{Route, Store, StoreError, Tick, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    docs::Docs,
    failure::Failure,
    replica::{
        Created, Failure as StepFailure, Held, LeaseLook, Member, Mono, Outbound, Replica, SessionLook, Step,
    },
    ticker::Hint,
    watch::Watch,
};

/// Commands decided in one batch: at this size the database's cost per command no longer falls.
const BATCH_COMMANDS_MAX: usize = 512;
/// Rows a batch may create: one plan of the largest size still fits.
const BATCH_ROWS_MAX: usize = 20_000;
/// Waiting commands; senders wait when it is full.
pub(crate) const INBOX_MAX: usize = 4_096;
/// Places read from a route's line in one scan.
const SCAN_LIMIT: u32 = 1_024;
/// Waits between tries while the database is away.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Where a command's outcome goes.
#[derive(Debug)]
pub(crate) enum Answer {
    Caller(oneshot::Sender<Result<Answered, Failure>>),
    /// To the worker that sent the result.
    Worker {
        session: SessionNo,
        at: LeaseAt,
    },
    Nobody,
}

/// What a caller is told.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// What the command created, if it submitted a new task.
    pub(crate) created: Option<Created>,
}

/// What the committer is told.
#[derive(Debug)]
pub(crate) enum Input {
    Command {
        command: Command,
        answer: Answer,
    },
    Connect(Connect),
    /// The session's stream with this number is gone.
    Disconnect {
        session: SessionNo,
        connection: u32,
    },
    Heartbeat {
        session: SessionNo,
        in_flight: Vec<LeaseAt>,
    },
    Acknowledge {
        session: SessionNo,
        leases: Vec<LeaseAt>,
    },
    Progress {
        session: SessionNo,
        at: LeaseAt,
        message: String,
    },
    Results {
        session: SessionNo,
        results: Vec<(LeaseAt, WorkResult)>,
    },
    /// The worker stopped what was revoked.
    Freed {
        session: SessionNo,
        leases: Vec<LeaseAt>,
    },
    Routes(Vec<Route>),
    Tick(Tick),
    Sessions(SessionLook),
    LookAtSessions,
    /// Another replica has somebody in line for these.
    InLine(Vec<RouteNo>),
    Leases(LeaseLook),
    /// Another replica took these from sessions that may be connected here.
    Revoked(Vec<Revoked>),
}

/// A lease that was taken from its session, and how its attempt ended.
pub(crate) type Revoked = (SessionNo, LeaseAt, Outcome);

/// A session whose stream is connected.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) session: SessionNo,
    /// Of two streams of a session, the higher came later.
    pub(crate) connection: u32,
    pub(crate) tenant: downbeat_core::id::TenantNo,
    pub(crate) declaration: Arc<WorkerDeclaration>,
    pub(crate) holds: Vec<Held>,
    pub(crate) link: mpsc::Sender<ToWorker>,
}

/// What a session's stream is to tell its worker.
#[derive(Debug)]
pub(crate) enum ToWorker {
    Assign(Vec<Assignment>),
    Acks(Vec<Ack>),
    Cancel(Vec<LeaseAt>, Outcome),
    Drain,
}

/// The answer to one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) at: LeaseAt,
    /// `Err`: refused; the text says why.
    pub(crate) verdict: Result<Verdict, String>,
}

/// Where the loop leaves what others do.
pub(crate) struct Aside {
    pub(crate) hints: mpsc::Sender<Hint>,
    pub(crate) nestings: mpsc::Sender<Nesting>,
}

/// What the loop works with.
pub(crate) struct Committer {
    pub(crate) replica: Replica,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) docs: Arc<Docs>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) aside: Aside,
    /// Ends the loop, also while the database is away.
    pub(crate) stop: CancellationToken,
    links: HashMap<SessionNo, Link>,
    /// No other replica is alive: nobody needs to be told of what happens here.
    alone: bool,
    /// The last batch gave out leases and there is room for more: go on without waiting.
    more_to_place: bool,
    clock: Clock,
}

struct Link {
    connection: u32,
    sender: mpsc::Sender<ToWorker>,
}

/// A batch being gathered: commands, and where each outcome goes.
#[derive(Default)]
struct Pending {
    commands: Vec<Command>,
    answers: Vec<Answer>,
}

impl Pending {
    fn push(&mut self, command: Command, answer: Answer) {
        self.commands.push(command);
        self.answers.push(answer);
    }

    /// Commands whose outcome nobody waits for.
    fn extend(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|command| self.push(command, Answer::Nobody));
    }

    fn drop_abandoned(&mut self) {
        let kept = std::mem::take(self);
        for (command, answer) in kept.commands.into_iter().zip(kept.answers) {
            if !matches!(&answer, Answer::Caller(caller) if caller.is_closed()) {
                self.push(command, answer);
            }
        }
    }
}

impl Committer {
    pub(crate) fn new(
        replica: Replica,
        store: Arc<dyn Store>,
        docs: Arc<Docs>,
        watch: Arc<Watch>,
        aside: Aside,
        stop: CancellationToken,
        clock: Clock,
    ) -> Committer {
        let links = HashMap::new();
        Committer {
            replica,
            store,
            docs,
            watch,
            aside,
            stop,
            links,
            alone: true,
            more_to_place: false,
            clock,
        }
    }

    /// Runs until `Stop`, or until every sender is gone.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut writer: Option<Box<dyn Writer>> = None;
        let mut batch = Pending::default();
        let stop = self.stop.clone();
        while let Some(Some(first)) = stop.run_until_cancelled(self.next(&mut inbox)).await {
            let mut rows = 0;
            let mut input = first;
            while let Some(given) = input.take() {
                rows += self.take(given, &mut batch);
                if batch.commands.len() >= BATCH_COMMANDS_MAX || rows >= BATCH_ROWS_MAX {
                    break;
                }
                input = inbox.try_recv().ok();
            }
            let room = BATCH_COMMANDS_MAX.saturating_sub(batch.commands.len()).max(1);
            let (due, sick) = self.replica.due(self.now(), room);
            batch.extend(due);
            for session in sick {
                tracing::warn!(%session, "a worker is silent, or does not acknowledge what it is sent; closing its stream");
                self.evict(session);
            }
            self.commit(&mut writer, &mut batch).await;
        }
    }

    /// The next input; `Some(None)` when it is time for something that nobody has to say.
    async fn next(&mut self, inbox: &mut mpsc::Receiver<Input>) -> Option<Option<Input>> {
        if let Ok(input) = inbox.try_recv() {
            return Some(Some(input));
        }
        if self.more_to_place || self.replica.is_prompted() {
            return Some(None);
        }
        let now = self.now();
        let timer = self.replica.next_due().into_iter().chain(self.replica.next_look(now)).min();
        let Some(at) = timer else { return inbox.recv().await.map(Some) };
        // One millisecond more, so that the database's clock has passed the time too.
        let wait = Duration::from_millis(at.since_ms(now) + 1);
        match tokio::time::timeout(wait, inbox.recv()).await {
            Ok(input) => input.map(Some),
            Err(_) => Some(None),
        }
    }

    /// Takes up one input; gives the rows it may create.
    fn take(&mut self, input: Input, batch: &mut Pending) -> usize {
        let now = self.now();
        let mut commands: Vec<Command> = Vec::new();
        match input {
            Input::Command { command, answer } => {
                let rows = match &command {
                    Command::Submit(submit) => submit.plan.nodes().len(),
                    _ => 0,
                };
                batch.push(command, answer);
                return rows;
            }
            Input::Connect(connect) => commands = self.connect(connect, now),
            Input::Disconnect { session, connection } => {
                if self.links.get(&session).is_some_and(|link| link.connection == connection) {
                    self.links.remove(&session);
                    commands.extend(self.replica.disconnect(session));
                }
            }
            Input::Heartbeat { session, in_flight } => {
                commands = self.replica.heartbeat(session, &in_flight, now);
            }
            Input::Acknowledge { session, leases } => self.replica.acknowledge(session, &leases, now),
            Input::Progress { session, at, message } => self.replica.progress(session, at, message, now),
            Input::Results { session, results } => {
                let leases: Vec<LeaseAt> = results.iter().map(|(at, _)| *at).collect();
                self.replica.free(session, &leases, now);
                for (at, result) in results {
                    let command = Command::Finish { at, session, result };
                    batch.push(command, Answer::Worker { session, at });
                }
            }
            Input::Freed { session, leases } => self.replica.free(session, &leases, now),
            Input::Routes(routes) => self.replica.learn_routes(routes),
            Input::Tick(tick) => {
                self.alone = tick.replicas.len() <= 1;
                commands = self.replica.tick(&tick, now);
            }
            Input::Sessions(look) => {
                let (asked, out) = self.replica.reconcile(&look);
                commands = asked;
                self.act(out, Vec::new());
            }
            Input::LookAtSessions => self.hint(Hint::LookAtSessions),
            Input::InLine(routes) => self.replica.look_again(routes),
            Input::Leases(look) => {
                let (asked, out) = self.replica.reconcile_leases(&look, now);
                commands = asked;
                self.act(out, Vec::new());
            }
            Input::Revoked(revoked) => {
                let here = |(session, at, outcome): Revoked| {
                    self.replica.has(session).then(|| self.replica.revoke(session, at, outcome)).flatten()
                };
                let out = revoked.into_iter().filter_map(here).collect();
                self.act(out, Vec::new());
            }
        }
        batch.extend(commands);
        0
    }

    fn connect(&mut self, connect: Connect, now: Mono) -> Vec<Command> {
        let Connect { session, connection, tenant, declaration, holds, link } = connect;
        if self.links.get(&session).is_some_and(|newer| newer.connection >= connection) {
            return Vec::new();
        }
        self.links.insert(session, Link { connection, sender: link });
        self.replica.connect(session, Member::new(tenant, declaration, connection, &holds, now), now)
    }

    /// Decides the batch, however long the database is away, and acts on it.
    async fn commit(&mut self, writer: &mut Option<Box<dyn Writer>>, batch: &mut Pending) {
        let mut wait = RETRY_MIN;
        let mut away = false;
        loop {
            match self.step(writer, batch).await {
                Ok(None) => {
                    self.more_to_place = false;
                    break;
                }
                Ok(Some(step)) => {
                    let placed = step.out.iter().any(|out| matches!(out, Outbound::Assign(_)));
                    self.more_to_place = placed && self.replica.has_placeable();
                    let changed = step.history.iter().map(|more| more.task).collect();
                    // What somebody waits for to begin goes first.
                    self.act(step.out, changed);
                    self.answer(std::mem::take(batch), step.replies, step.created);
                    self.watch.committed(step.history);
                    break;
                }
                Err(error) => {
                    if !away {
                        tracing::warn!(%error, commands = batch.commands.len(), "the database is away; trying again");
                    }
                    away = true;
                    if let StoreError::Unavailable { commit_unknown: true, .. } = error {
                        self.hint(Hint::LookAtLeases);
                    }
                    if !error.is_transient() {
                        let failure = Failure::from(error);
                        let poison = || Err(StepFailure::Poison(failure.to_string()));
                        let replies = batch.commands.iter().map(|_| poison()).collect();
                        self.answer(std::mem::take(batch), replies, BTreeMap::new());
                        break;
                    }
                    // Who stopped waiting was told to come back; what nobody waits for goes on.
                    batch.drop_abandoned();
                    if self.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return;
                    }
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
        if away {
            tracing::info!("the database is back");
            self.replica.excuse(self.now());
        }
        if self.replica.has_doubts() {
            self.hint(Hint::LookAtSessions);
        }
    }

    async fn step(
        &mut self,
        writer: &mut Option<Box<dyn Writer>>,
        batch: &Pending,
    ) -> Result<Option<Step>, StoreError> {
        let now = self.now();
        for scan in self.replica.wants(now) {
            let began = self.now();
            let found = self.store.ready(scan.route, scan.from, SCAN_LIMIT).await?;
            self.replica.scanned(scan, SCAN_LIMIT as usize, found, began, self.now());
        }
        if batch.commands.is_empty() && !self.replica.has_placeable() {
            return Ok(None);
        }
        let writer = match writer {
            Some(writer) => writer,
            none => none.insert(self.store.writer().await?),
        };
        let step = self.replica.step(&*self.store, writer.as_mut(), &self.docs, &batch.commands, now).await?;
        Ok(Some(step))
    }

    fn answer(
        &mut self,
        batch: Pending,
        replies: Vec<Result<Reply, StepFailure>>,
        mut created: BTreeMap<TaskNo, Created>,
    ) {
        let mut acks: BTreeMap<SessionNo, Vec<Ack>> = BTreeMap::new();
        for (answer, reply) in batch.answers.into_iter().zip(replies) {
            match answer {
                Answer::Caller(caller) => {
                    // A caller that went away is no failure.
                    let _ = caller.send(match reply {
                        Ok(reply) => {
                            let created = match &reply {
                                Reply::Submitted { task, existed: false, .. } => created.remove(task),
                                _ => None,
                            };
                            Ok(Answered { reply, created })
                        }
                        Err(StepFailure::Reject(reject)) => Err(Failure::Reject(reject)),
                        Err(StepFailure::Poison(message)) => Err(Failure::Internal(message)),
                    });
                }
                Answer::Worker { session, at } => {
                    let verdict = match reply {
                        Ok(Reply::Verdict(verdict)) => Ok(verdict),
                        Ok(other) => Err(format!("unexpected reply {other:?}")),
                        Err(StepFailure::Reject(reject)) => Err(reject.to_string()),
                        Err(StepFailure::Poison(message)) => Err(message),
                    };
                    acks.entry(session).or_default().push(Ack { at, verdict });
                }
                Answer::Nobody => {}
            }
        }
        for (session, acks) in acks {
            self.tell(session, ToWorker::Acks(acks));
        }
    }

    /// Sends what follows from a batch; the tasks it changed are told to the other replicas.
    fn act(&mut self, out: Vec<Outbound>, changed: Vec<TaskNo>) {
        let mut assigns: BTreeMap<SessionNo, Vec<Assignment>> = BTreeMap::new();
        let mut cancels: BTreeMap<(SessionNo, Outcome), Vec<LeaseAt>> = BTreeMap::new();
        let (mut unplaced, mut elsewhere) = (Vec::new(), Vec::new());
        for outbound in out {
            match outbound {
                Outbound::Assign(assignment) => {
                    assigns.entry(assignment.session).or_default().push(assignment);
                }
                Outbound::Revoke { session, at, outcome } if self.links.contains_key(&session) => {
                    cancels.entry((session, outcome)).or_default().push(at);
                }
                Outbound::Revoke { session, at, outcome } => elsewhere.push((session, at, outcome)),
                Outbound::Drain { session } => self.tell(session, ToWorker::Drain),
                Outbound::Evict { session } => self.evict(session),
                // What finds no room is asked for again.
                Outbound::Nest(nesting) => drop(self.aside.nestings.try_send(nesting)),
                Outbound::Unplaced { route } => unplaced.push(route),
            }
        }
        for (session, assignments) in assigns {
            self.tell(session, ToWorker::Assign(assignments));
        }
        for ((session, outcome), leases) in cancels {
            self.tell(session, ToWorker::Cancel(leases, outcome));
        }
        unplaced.dedup();
        if !(self.alone || changed.is_empty() && unplaced.is_empty() && elsewhere.is_empty()) {
            self.hint(Hint::Others { routes: unplaced, tasks: changed, revoked: elsewhere });
        }
    }

    /// A stream that does not take its messages is sick: it is closed, and the worker comes back.
    fn tell(&mut self, session: SessionNo, message: ToWorker) {
        if let Some(link) = self.links.get(&session)
            && link.sender.try_send(message).is_err()
        {
            tracing::warn!(%session, "a worker does not read its stream; closing it");
            self.evict(session);
        }
    }

    /// Closes the stream. Its end comes back as a `Disconnect`, unless the seat is empty by then.
    fn evict(&mut self, session: SessionNo) {
        if self.links.remove(&session).is_some()
            && let Some(command) = self.replica.disconnect(session)
        {
            self.hint(Hint::Command(command));
        }
    }

    fn hint(&self, hint: Hint) {
        // A full channel means that a look is on its way anyway.
        let _ = self.aside.hints.try_send(hint);
    }

    fn now(&self) -> Mono {
        self.clock.now()
    }
}
