//! The control plane's side of sessions, and the rules behind it: two replicas over one database of maps, and
//! whatever workers, clients, timers and the network may say, in any order.
//!
//! What the committer does between its inbox and the step is done here in the plainest way. After every step the
//! rows keep the invariants, no command broke one, no worker holds more than its slots, leases went only to open
//! sessions of the replica that gave them, and a result counted exactly if its lease was current.

mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arbitrary::Unstructured;
use bytes::Bytes;
use downbeat_core::{
    check::check,
    command::{Action, Command, Reply, Request, Submit, Verdict, WorkResult},
    draft::Draft,
    event::AttemptError,
    id::{Index, LeaseAt, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    invariant,
    plan::Plan,
    policy::Policy,
    session::{AgentDeclaration, SessionState, WorkerDeclaration},
    task::{Mode, Priority},
    time::Time,
};
use downbeat_server::{
    docs::Docs,
    replica::{
        Failure, Held, LeaseLook, Liveness, Member, Mono, Outbound, Replica, SessionLook, Step as Decided,
    },
};
use downbeat_store::{Leased, Store, Writer};
use futures::FutureExt as _;

use self::step::{Lease, Outcome, Pick, Say, Step};
use super::pick;
use crate::sim::database::Database;

const TENANT: TenantNo = TenantNo::DEFAULT;
/// Who is asked for, one of whom nobody serves.
const AGENTS: [&str; 3] = ["coder", "painter", "nobody"];
const STEPS_MAX: usize = 250;
const TASKS_MAX: usize = 4;
const SESSIONS_MAX: usize = 6;
const SCAN_LIMIT: usize = 8;
const EPOCH_MS: i64 = 1_000_000;

/// The target.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        let Ok((step, commit)) = u.arbitrary::<(Step<'_>, bool)>() else { break };
        world.take(&step);
        if commit {
            world.commit(world.here);
        }
    }
    for here in 0..world.replicas.len() {
        world.commit(here);
    }
}

struct Place {
    replica: Replica,
    writer: Box<dyn Writer>,
    docs: Docs,
    batch: Vec<Command>,
}

/// What a connection began with.
#[derive(Clone, Copy)]
struct Stream {
    slots: usize,
    brought: usize,
}

struct World {
    store: Database,
    ms: Arc<AtomicU64>,
    replicas: Vec<Place>,
    here: usize,
    tasks: Vec<TaskNo>,
    submitted: u8,
    tokens: BTreeMap<SessionNo, [u8; 16]>,
    streams: BTreeMap<(usize, SessionNo), Stream>,
    /// Every lease that was ever sent to a session.
    given: BTreeSet<(SessionNo, LeaseAt)>,
    accepted: BTreeSet<LeaseAt>,
}

/// The database of maps never makes anybody wait who is alone.
fn now<T>(what: impl Future<Output = downbeat_store::Result<T>>) -> T {
    what.now_or_never().expect("nobody waits").expect("nothing fails")
}

impl World {
    fn new() -> World {
        let ms = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&ms);
        let time = move || Time(EPOCH_MS + i64::try_from(clock.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        let store = Database::new(Arc::new(time));
        let specs = AGENTS.map(|agent| downbeat_core::plan::RouteSpec::new(agent, &[]));
        now(store.intern_routes(TENANT, &specs));
        let policy = Policy { losses_max: 2, ..Policy::default() };
        let place = |_| {
            let mut replica = Replica::new(now(store.join()), policy.clone(), Liveness::default());
            replica.learn_routes(now(store.routes_after(RouteNo(0))));
            Place { replica, writer: now(store.writer()), docs: Docs::default(), batch: Vec::new() }
        };
        let replicas = (0..2).map(place).collect();
        World {
            store,
            ms,
            replicas,
            here: 0,
            tasks: Vec::new(),
            submitted: 0,
            tokens: BTreeMap::new(),
            streams: BTreeMap::new(),
            given: BTreeSet::new(),
            accepted: BTreeSet::new(),
        }
    }

    fn mono(&self) -> Mono {
        Mono(self.ms.load(Ordering::Relaxed))
    }

    fn ask(&mut self, command: Command) {
        self.replicas[self.here].batch.push(command);
    }

    fn replica(&mut self) -> &mut Replica {
        &mut self.replicas[self.here].replica
    }

    fn task(&self, n: Pick) -> TaskNo {
        pick(&self.tasks, n).unwrap_or(TaskNo(i64::from(n)))
    }

    fn session(&self, n: Pick) -> SessionNo {
        let all: Vec<SessionNo> = self.tokens.keys().copied().collect();
        pick(&all, n).unwrap_or(SessionNo(i64::from(n)))
    }

    /// By the rows.
    fn current(&self) -> Vec<(SessionNo, LeaseAt)> {
        let sessions: Vec<SessionNo> = self.tokens.keys().copied().collect();
        now(self.store.leases(&sessions)).into_iter().map(|leased| (leased.session, leased.at)).collect()
    }

    fn lease(&self, lease: Lease) -> LeaseAt {
        let invented = |n: Pick| LeaseAt { task: self.task(n), index: n.into(), lease: LeaseId(n.into()) };
        match lease {
            Lease::Current(n) => pick(&self.current(), n).map_or_else(|| invented(n), |(_, at)| at),
            Lease::Given(n) => {
                let all: Vec<LeaseAt> = self.given.iter().map(|(_, at)| *at).collect();
                pick(&all, n).unwrap_or_else(|| invented(n))
            }
            Lease::Invented(task, index, lease) => {
                LeaseAt { task: TaskNo(task), index, lease: LeaseId(lease) }
            }
        }
    }

    /// Of what was ever sent to the session, what the mask says.
    fn named(&self, session: SessionNo, mask: u8, also: Option<Lease>) -> Vec<LeaseAt> {
        let sent = self.given.iter().filter(|(to, _)| *to == session).map(|(_, at)| *at);
        let kept = sent.enumerate().filter(|(i, _)| mask >> (i % 8) & 1 == 1).map(|(_, at)| at);
        kept.chain(also.map(|lease| self.lease(lease))).collect()
    }

    fn take(&mut self, step: &Step<'_>) {
        let mono = self.mono();
        match *step {
            Step::Submit { masks, count, agents, attempts, deadline_s, execute } => {
                self.submit(&masks[..usize::from(count) % 5 + 1], agents, attempts, deadline_s, execute);
            }
            Step::Execute { task, manual, checkpoints, served } => {
                let mode = if manual { Mode::Manual } else { Mode::Auto };
                let checkpoints = (0..8).filter(|i| checkpoints >> i & 1 == 1).collect();
                self.ask(Command::Execute {
                    task: self.task(task),
                    mode,
                    checkpoints,
                    served: routes(served),
                });
            }
            Step::Pause(task) => self.ask(Command::Pause { task: self.task(task) }),
            Step::Cancel(task, reason) => {
                let compensate = reason.is_empty();
                let task = self.task(task);
                self.ask(Command::Cancel { task, reason: reason.to_owned(), compensate });
            }
            Step::Review { task, index, ref say } => {
                let reason = "by hand".to_owned();
                let action = match say {
                    Say::Retry => Action::Retry,
                    Say::Skip => Action::Skip { reason },
                    Say::Fail => Action::Fail { reason },
                    Say::Complete => Action::Complete { output: Bytes::from_static(b"1") },
                    Say::Release => Action::Release,
                };
                self.ask(Command::Review {
                    task: self.task(task),
                    index: index.into(),
                    action,
                    by: String::new(),
                });
            }
            Step::Route { task, index, route } => {
                let route = RouteNo(i64::from(route) % 3 + 1);
                self.ask(Command::Route { task: self.task(task), index: index.into(), route });
            }
            Step::Open { slots, agents, silence_s } => self.open(slots, agents, silence_s),
            Step::Resume { session, genuine, keeps, also, slots } => {
                self.resume(self.session(session), genuine, keeps, also, slots);
            }
            Step::Break(session) => self.cut(self.here, self.session(session)),
            Step::Goodbye(session) => {
                let session = self.session(session);
                self.ask(Command::ExpireSession { session, overdue: false });
                self.cut(self.here, session);
            }
            Step::Drain(session) => self.ask(Command::DrainSession { session: self.session(session) }),
            Step::Heartbeat(session, mask, also) => {
                let session = self.session(session);
                let in_flight = self.named(session, mask, also);
                let commands = self.replica().heartbeat(session, &in_flight, mono);
                commands.into_iter().for_each(|command| self.ask(command));
            }
            Step::Acknowledge(session, lease) => {
                let (session, at) = (self.session(session), self.lease(lease));
                self.replica().acknowledge(session, &[at], mono);
            }
            Step::Progress(session, lease, text) => {
                let (session, at) = (self.session(session), self.lease(lease));
                self.replica().progress(session, at, text.to_owned(), mono);
            }
            Step::Results(session, lease, ref outcome, other) => {
                let session = self.session(session);
                for lease in [Some(lease), other].into_iter().flatten() {
                    let at = self.lease(lease);
                    self.replica().free(session, &[at], mono);
                    self.ask(Command::Finish { at, session, result: result(outcome) });
                }
            }
            Step::Freed(session, lease) => {
                let (session, at) = (self.session(session), self.lease(lease));
                self.replica().free(session, &[at], mono);
            }
            Step::Return(lease) => self.hand_back(self.lease(lease)),
            Step::Lose(lease) => self.ask(Command::Lose { at: self.lease(lease) }),
            Step::Silence(lease) => self.ask(Command::Silence { at: self.lease(lease) }),
            Step::Wake(task, index) => {
                self.ask(Command::Wake { task: self.task(task), index: index.map(Index::from) });
            }
            Step::Block(task, index) => {
                self.ask(Command::Block { task: self.task(task), index: index.into() })
            }
            Step::Unblock(task, index) => {
                self.ask(Command::Unblock { task: self.task(task), index: index.into() });
            }
            Step::Expire(session, overdue) => {
                self.ask(Command::ExpireSession { session: self.session(session), overdue });
            }
            Step::Forget(session) => self.forget(self.session(session)),
            Step::Tick => {
                let no = self.replica().no;
                let tick = now(self.store.tick(no, 30_000, 100, true));
                let commands = self.replica().tick(&tick, mono);
                commands.into_iter().for_each(|command| self.ask(command));
            }
            Step::LookAtSessions => self.look_at_sessions(),
            Step::LookAtLeases => self.look_at_leases(),
            Step::Pass(ms) => {
                self.ms.fetch_add(ms.into(), Ordering::Relaxed);
            }
            Step::Elsewhere => self.here = 1 - self.here,
            Step::Commit => {
                self.commit(self.here);
            }
        }
    }

    fn submit(&mut self, masks: &[u8], agents: u8, attempts: u8, deadline_s: u8, execute: bool) {
        if self.tasks.len() >= TASKS_MAX {
            return;
        }
        let draft = |(i, mask): (usize, &u8)| Draft {
            key: format!("n{i}"),
            agent: pick(&AGENTS, agents >> (i % 4 * 2) & 3).unwrap_or_default().to_owned(),
            depends_on: (0..i).filter(|j| mask >> j & 1 == 1).map(|j| format!("n{j}")).collect(),
            sla_seconds: (mask & 64 > 0).then_some(10),
            max_attempts: Some(u16::from(attempts % 3) + 1),
            priority: Priority::from_number(mask >> 5),
            ..Draft::default()
        };
        let drafts: Vec<Draft> = masks.iter().enumerate().map(draft).collect();
        assert_eq!(check(&drafts), Ok(()));
        let route = |agent: &str| {
            let at = AGENTS.iter().position(|name| *name == agent).expect("an agent of ours");
            RouteNo(i64::try_from(at).expect("few agents") + 1)
        };
        // Now and then the same name again.
        let id = format!("t{}", self.submitted);
        self.submitted += u8::from(attempts < 200);
        let plan = Plan::build(&id, Priority::Normal, 3, &drafts, |spec| route(&spec.agent));
        let no = self.replica().no;
        let at = now(self.store.tick(no, 30_000, 0, false)).now;
        self.ask(Command::Submit(Arc::new(Submit {
            tenant: TENANT,
            id,
            digest: [agents; 32],
            priority: Priority::Normal,
            deadline: (deadline_s > 127).then(|| at.plus_ms(u64::from(deadline_s) * 500)),
            due_at: None,
            request: Request { metadata: Bytes::from_static(b"{}"), ..Request::default() },
            plan: Arc::new(plan),
            served: execute.then(|| routes(agents)),
            done: BTreeMap::new(),
            context: BTreeMap::new(),
        })));
    }

    fn open(&mut self, slots: u8, agents: u8, silence_s: u8) {
        if self.tokens.len() >= SESSIONS_MAX {
            return;
        }
        let token = [u8::try_from(self.tokens.len()).expect("few sessions"); 16];
        let declaration = declaration(slots, agents, silence_s);
        let replica = self.replica().no;
        let command =
            Command::OpenSession { tenant: TENANT, replica, token, declaration: Arc::clone(&declaration) };
        if let Some(Ok(Reply::Session(session))) = self.alone(command) {
            self.tokens.insert(session, token);
            self.connect(session, declaration, 0, &[]);
        }
    }

    /// As `grpc/session.rs` takes a session up.
    fn resume(&mut self, session: SessionNo, genuine: bool, keeps: u8, also: Option<Lease>, slots: u8) {
        let token = self.tokens.get(&session).copied().filter(|_| genuine).unwrap_or([255; 16]);
        let replica = self.replica().no;
        let before = now(self.store.sessions()).into_iter().find(|row| row.no == session);
        let connection = before.as_ref().map_or(1, |row| row.connection + 1);
        let command = Command::ResumeSession { tenant: TENANT, session, replica, token, connection };
        let reply = self.alone(command);
        let Some(Ok(_)) = reply else { return };
        let row = before.expect("what is resumed was there");
        assert!(genuine && row.state != SessionState::Expired, "{row:?} is taken up with token {token:?}");
        let in_flight: BTreeSet<LeaseAt> = self.named(session, keeps, also).into_iter().collect();
        let mut holds = Vec::new();
        for Leased { at, route, .. } in now(self.store.leases(&[session])) {
            if in_flight.contains(&at) {
                holds.push(Held { at, route });
            } else {
                self.alone(Command::Return { at, session, connection });
            }
        }
        let declared = Arc::clone(&row.declaration);
        let declaration = WorkerDeclaration { slots: u32::from(slots % 5), ..(*declared).clone() };
        self.connect(session, Arc::new(declaration), connection, &holds);
    }

    /// As the replica that its session is connected to takes a lease back.
    fn hand_back(&mut self, at: LeaseAt) {
        let holder = self.current().into_iter().find(|(_, held)| *held == at).map(|(session, _)| session);
        let row = now(self.store.sessions()).into_iter().find(|row| Some(row.no) == holder);
        if let Some(row) = row {
            self.ask(Command::Return { at, session: row.no, connection: row.connection });
        }
    }

    fn connect(
        &mut self,
        session: SessionNo,
        declaration: Arc<WorkerDeclaration>,
        connection: u32,
        holds: &[Held],
    ) {
        let mono = self.mono();
        let slots = declaration.slots as usize;
        self.streams.insert((self.here, session), Stream { slots, brought: holds.len() });
        let member = Member::new(TENANT, declaration, connection, holds, mono);
        let commands = self.replica().connect(session, member, mono);
        commands.into_iter().for_each(|command| self.ask(command));
    }

    fn cut(&mut self, at: usize, session: SessionNo) {
        let place = &mut self.replicas[at];
        place.batch.extend(place.replica.disconnect(session));
    }

    /// As the ticker sweeps: only once no lease is left.
    fn forget(&mut self, session: SessionNo) {
        let leases = now(self.store.leases(&[session]));
        if leases.is_empty() {
            self.ask(Command::ForgetSession { session });
        }
        let expired = now(self.store.sessions())
            .iter()
            .any(|row| row.no == session && row.state == SessionState::Expired);
        for Leased { at, .. } in leases.into_iter().filter(|_| expired) {
            self.ask(Command::Lose { at });
        }
    }

    fn look_at_sessions(&mut self) {
        let read = self.mono();
        let sessions = now(self.store.sessions());
        let live: Vec<ReplicaNo> = self.replicas.iter().map(|place| place.replica.no).collect();
        let (commands, out) = self.replica().reconcile(&SessionLook { sessions, live, read });
        commands.into_iter().for_each(|command| self.ask(command));
        self.act(self.here, out);
    }

    fn look_at_leases(&mut self) {
        let read = self.mono();
        let no = self.replica().no;
        let of: Vec<SessionNo> =
            now(self.store.sessions()).iter().filter(|row| row.replica == no).map(|row| row.no).collect();
        let leases = now(self.store.leases(&of));
        let (commands, out) = self.replica().reconcile_leases(&LeaseLook { of, leases, read }, read);
        commands.into_iter().for_each(|command| self.ask(command));
        self.act(self.here, out);
    }

    /// Decides one command by itself, and says what became of it.
    fn alone(&mut self, command: Command) -> Option<Result<Reply, Failure>> {
        let gathered = std::mem::replace(&mut self.replicas[self.here].batch, vec![command]);
        let mut replies = self.commit(self.here);
        let place = &mut self.replicas[self.here];
        place.batch.splice(0..0, gathered);
        (!replies.is_empty()).then(|| replies.swap_remove(0))
    }

    fn commit(&mut self, here: usize) -> Vec<Result<Reply, Failure>> {
        let mono = self.mono();
        let before: BTreeSet<(SessionNo, LeaseAt)> = self.current().into_iter().collect();
        let place = &mut self.replicas[here];
        let mut commands = std::mem::take(&mut place.batch);
        let (due, sick) = place.replica.due(mono, 100);
        commands.extend(due);
        for session in sick {
            place.batch.extend(place.replica.disconnect(session));
        }
        for scan in place.replica.wants(mono) {
            let found = now(self.store.ready(scan.route, scan.from, SCAN_LIMIT as u32));
            place.replica.scanned(scan, SCAN_LIMIT, found, mono, mono);
        }
        let Place { replica, writer, docs, .. } = place;
        let Decided { replies, out, .. } =
            now(replica.step(&self.store, &mut **writer, docs, &commands, mono));
        assert_eq!(replies.len(), commands.len(), "each command has its reply");
        for (command, reply) in commands.iter().zip(&replies) {
            self.judge(command, reply, &before);
        }
        self.act(here, out);
        self.check();
        replies
    }

    /// A result counts exactly once, and only under a lease that its sender held.
    fn judge(
        &mut self,
        command: &Command,
        reply: &Result<Reply, Failure>,
        before: &BTreeSet<(SessionNo, LeaseAt)>,
    ) {
        if let Err(Failure::Poison(message)) = reply {
            panic!("{command:?} broke an invariant: {message}");
        }
        if let (Command::Submit(_), Ok(Reply::Submitted { task, .. })) = (command, reply)
            && !self.tasks.contains(task)
        {
            self.tasks.push(*task);
        }
        if let (Command::Finish { at, session, .. }, Ok(reply)) = (command, reply) {
            let Reply::Verdict(verdict) = reply else { panic!("{command:?} is answered with {reply:?}") };
            match verdict {
                Verdict::Accepted => {
                    assert!(
                        before.contains(&(*session, *at)),
                        "{command:?} counts, and its lease was not current"
                    );
                    assert!(self.accepted.insert(*at), "{command:?} counts twice");
                }
                Verdict::Duplicate => {
                    assert!(self.accepted.contains(at), "{command:?} never counted");
                }
                Verdict::Stale => {}
            }
        }
    }

    fn act(&mut self, here: usize, out: Vec<Outbound>) {
        let rows: BTreeMap<SessionNo, _> =
            now(self.store.sessions()).into_iter().map(|row| (row.no, row)).collect();
        for outbound in out {
            match outbound {
                Outbound::Assign(assignment) => {
                    let row = &rows[&assignment.session];
                    let mine = self.replicas[here].replica.no;
                    assert_eq!(
                        (row.state, row.replica),
                        (SessionState::Open, mine),
                        "{assignment:?} to {row:?}"
                    );
                    assert!(self.given.insert((assignment.session, assignment.at)), "{assignment:?} again");
                }
                Outbound::Revoke { session, at, outcome } => {
                    let other = &mut self.replicas[1 - here].replica;
                    if other.has(session) {
                        other.revoke(session, at, outcome);
                    }
                }
                Outbound::Evict { session } => self.cut(here, session),
                Outbound::Unplaced { route } => self.replicas[1 - here].replica.look_again([route]),
                Outbound::Drain { .. } | Outbound::Nest(_) => {}
            }
        }
    }

    fn check(&self) {
        for &task in &self.tasks {
            let record = now(self.store.task(task)).expect("a submitted task is there");
            let plan = now(self.store.plans(&[task])).pop().expect("with its plan").plan;
            let events = now(self.store.events(task, 0, u32::MAX));
            let broken = invariant::broken(&record.task, &plan, &record.subtasks, &events);
            assert!(broken.is_empty(), "{broken:#?}\n{record:?}");
        }
        for (&(at, session), stream) in &self.streams {
            let replica = &self.replicas[at].replica;
            let held =
                self.given.iter().filter(|(to, at)| *to == session && replica.holds(session, at.lease));
            assert!(
                held.count() <= stream.slots.max(stream.brought),
                "session {session} holds more than its slots"
            );
        }
    }
}

fn declaration(slots: u8, agents: u8, silence_s: u8) -> Arc<WorkerDeclaration> {
    let agent = |name: &&str| AgentDeclaration {
        name: (*name).to_owned(),
        sla_ms: (agents & 128 > 0).then_some(7_000),
        progress_timeout_ms: (silence_s > 127).then(|| u32::from(silence_s) * 100),
        ..AgentDeclaration::default()
    };
    let served = AGENTS.iter().enumerate().filter(|(i, _)| agents >> i & 1 == 1).map(|(_, name)| agent(name));
    Arc::new(WorkerDeclaration {
        worker: "w".into(),
        agents: served.collect(),
        slots: u32::from(slots % 5),
        ..WorkerDeclaration::default()
    })
}

fn routes(mask: u8) -> BTreeSet<RouteNo> {
    (1..=3).filter(|no| mask >> no & 1 == 1).map(RouteNo).collect()
}

fn result(outcome: &Outcome<'_>) -> WorkResult {
    match outcome {
        Outcome::Completed(output) => {
            WorkResult::Completed { output: Bytes::copy_from_slice(output), artifacts: Vec::new() }
        }
        Outcome::Failed(message, retryable) => {
            let error = AttemptError { code: "X".into(), message: (*message).to_owned() };
            WorkResult::Failed { error, retryable: *retryable }
        }
    }
}
