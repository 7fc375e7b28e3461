//! Models `committer.rs`: gathers commands, closes the batch when the inbox is empty or full, has the real
//! `Replica` decide and commit it, then acts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use downbeat_core::{
    command::{Command, Reply, Verdict, WorkResult},
    effect::Assignment,
    id::{LeaseAt, RouteNo, SessionNo, TenantNo},
    reject::Reject,
    session::WorkerDeclaration,
};
use downbeat_server::{
    docs::Docs,
    replica::{Failure, Held, LeaseLook, Member, Mono, Outbound, Replica, SessionLook, Step},
};
use downbeat_store::{Route, Store, StoreError, Tick, Writer};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::ticker::Hint;
use crate::sim::{Plant, World, plant};

const BATCH_COMMANDS_MAX: usize = 512;
const SCAN_LIMIT: u32 = 1_024;
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Where a command's outcome goes.
#[derive(Debug)]
pub(super) enum Answer {
    Caller(oneshot::Sender<Result<Reply, Reject>>),
    Worker { session: SessionNo, at: LeaseAt },
    Nobody,
}

/// What the committer is told.
pub(super) enum Input {
    Command { command: Command, answer: Answer },
    Connect(Connect),
    Disconnect { session: SessionNo, generation: u64 },
    Heartbeat { session: SessionNo, in_flight: Vec<LeaseAt> },
    Acknowledge { session: SessionNo, leases: Vec<LeaseAt> },
    Progress { session: SessionNo, at: LeaseAt, message: String },
    Results { session: SessionNo, results: Vec<(LeaseAt, WorkResult)> },
    Freed { session: SessionNo, leases: Vec<LeaseAt> },
    Routes(Vec<Route>),
    Tick(Tick),
    Sessions(SessionLook),
    LookAtSessions,
    InLine(Vec<RouteNo>),
    Leases(LeaseLook),
}

/// A session whose stream is connected.
pub(super) struct Connect {
    pub(super) session: SessionNo,
    pub(super) generation: u64,
    pub(super) tenant: TenantNo,
    pub(super) declaration: Arc<WorkerDeclaration>,
    pub(super) holds: Vec<Held>,
    pub(super) link: mpsc::Sender<ToWorker>,
}

/// What a session's stream is to tell its worker.
#[derive(Debug)]
pub(super) enum ToWorker {
    Assign(Vec<Assignment>),
    Acks(Vec<(LeaseAt, Verdict)>),
    Cancel(Vec<LeaseAt>),
    Drain,
}

pub(super) struct Committer {
    world: Arc<World>,
    replica: Replica,
    store: Arc<dyn Store>,
    docs: Arc<Docs>,
    hints: mpsc::Sender<Hint>,
    links: BTreeMap<SessionNo, Link>,
    more_to_place: bool,
    start: Instant,
}

struct Link {
    generation: u64,
    sender: mpsc::Sender<ToWorker>,
}

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
    pub(super) fn new(
        world: Arc<World>,
        replica: Replica,
        store: Arc<dyn Store>,
        docs: Arc<Docs>,
        hints: mpsc::Sender<Hint>,
        start: Instant,
    ) -> Committer {
        Committer { world, replica, store, docs, hints, links: BTreeMap::new(), more_to_place: false, start }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut writer: Option<Box<dyn Writer>> = None;
        let mut batch = Pending::default();
        while let Some(first) = self.next(&mut inbox).await {
            self.world.turn("a committer");
            let mut input = first;
            while let Some(given) = input.take() {
                self.take(given, &mut batch).await;
                if batch.commands.len() >= BATCH_COMMANDS_MAX {
                    break;
                }
                input = inbox.try_recv().ok();
            }
            let room = BATCH_COMMANDS_MAX.saturating_sub(batch.commands.len()).max(1);
            let (due, sick) = self.replica.due(self.now(), room);
            self.decided(&due);
            batch.extend(due);
            for session in sick {
                self.world.note(|| format!("replica {}: session {session} is sick", self.replica.no));
                self.evict(session);
            }
            self.commit(&mut writer, &mut batch).await;
        }
    }

    async fn next(&mut self, inbox: &mut mpsc::Receiver<Input>) -> Option<Option<Input>> {
        if let Ok(input) = inbox.try_recv() {
            return Some(Some(input));
        }
        if self.more_to_place {
            return Some(None);
        }
        let now = self.now();
        let timer = self.replica.next_due().into_iter().chain(self.replica.next_look(now)).min();
        let Some(at) = timer else { return inbox.recv().await.map(Some) };
        let wait = Duration::from_millis(at.since_ms(now) + 1);
        match timeout(wait, inbox.recv()).await {
            Ok(input) => input.map(Some),
            Err(_) => Some(None),
        }
    }

    async fn take(&mut self, input: Input, batch: &mut Pending) {
        let now = self.now();
        let mut commands: Vec<Command> = Vec::new();
        match input {
            Input::Command { command, answer } => batch.push(command, answer),
            Input::Connect(connect) => commands = self.connect(connect, now),
            Input::Disconnect { session, generation } => {
                if self.links.get(&session).is_some_and(|link| link.generation == generation) {
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
                    self.finish(session, at, result, batch).await;
                }
            }
            Input::Freed { session, leases } => self.replica.free(session, &leases, now),
            Input::Routes(routes) => self.replica.learn_routes(routes),
            Input::Tick(tick) => commands = self.replica.tick(&tick, now),
            Input::Sessions(look) => {
                let (asked, out) = self.replica.reconcile(&look);
                commands = asked;
                self.act(out);
            }
            Input::LookAtSessions => self.hint(Hint::LookAtSessions),
            Input::InLine(routes) => self.replica.look_again(routes),
            Input::Leases(look) => {
                let (asked, out) = self.replica.reconcile_leases(&look, now);
                commands = asked;
                if !self.world.has(Plant::NoLeaseLost) {
                    self.act(out);
                }
            }
        }
        self.decided(&commands);
        batch.extend(commands);
    }

    /// What is right when it is decided may be overtaken before it is durable.
    fn decided(&self, commands: &[Command]) {
        for command in commands {
            if let Command::Return { at } = command {
                self.world.audit(|auditor| auditor.returning(*at));
            }
        }
    }

    async fn finish(&mut self, session: SessionNo, at: LeaseAt, result: WorkResult, batch: &mut Pending) {
        if self.world.has(Plant::SpeakThenSave) {
            self.tell(session, ToWorker::Acks(vec![(at, Verdict::Accepted)]));
        }
        let (as_at, as_session) = plant::fence(&self.world, &self.store, at, session).await;
        let command = Command::Finish { at: as_at, session: as_session, result };
        batch.push(command, Answer::Worker { session, at });
    }

    fn connect(&mut self, connect: Connect, now: Mono) -> Vec<Command> {
        let Connect { session, generation, tenant, declaration, holds, link } = connect;
        if self.links.get(&session).is_some_and(|link| link.generation > generation) {
            return Vec::new();
        }
        self.links.insert(session, Link { generation, sender: link });
        self.replica.connect(session, Member::new(tenant, declaration, &holds, now), now)
    }

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
                    self.answer(std::mem::take(batch), step.replies);
                    self.act(step.out);
                    break;
                }
                Err(error) => {
                    away = true;
                    if let StoreError::Unavailable { commit_unknown: true, .. } = error {
                        self.hint(Hint::LookAtLeases);
                    }
                    if !error.is_transient() {
                        self.world.fail(format!("replica {}: {error}", self.replica.no));
                        batch.commands.clear();
                        batch.answers.clear();
                        break;
                    }
                    batch.drop_abandoned();
                    sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
        if away {
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
        for (route, from) in self.replica.wants(now) {
            let found = self.store.ready(route, from, SCAN_LIMIT).await?;
            self.replica.scanned(route, from, SCAN_LIMIT as usize, found);
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

    fn answer(&mut self, batch: Pending, replies: Vec<Result<Reply, Failure>>) {
        let mut acks: BTreeMap<SessionNo, Vec<(LeaseAt, Verdict)>> = BTreeMap::new();
        let commands = batch.commands.iter();
        for ((answer, reply), command) in batch.answers.into_iter().zip(replies).zip(commands) {
            if let Err(Failure::Poison(message)) = &reply {
                self.world.fail(format!("poison: {message}, by {command:?}"));
            }
            match (answer, reply) {
                (Answer::Caller(caller), Ok(reply)) => drop(caller.send(Ok(reply))),
                (Answer::Caller(caller), Err(Failure::Reject(reject))) => drop(caller.send(Err(reject))),
                (Answer::Worker { session, at }, Ok(Reply::Verdict(verdict))) => {
                    acks.entry(session).or_default().push((at, verdict));
                }
                (Answer::Worker { .. }, other) => self.world.fail(format!("a result got {other:?}")),
                (Answer::Caller(_), Err(Failure::Poison(_))) | (Answer::Nobody, _) => {}
            }
        }
        for (session, acks) in acks {
            self.tell(session, ToWorker::Acks(acks));
        }
    }

    fn act(&mut self, out: Vec<Outbound>) {
        let mut assigns: BTreeMap<SessionNo, Vec<Assignment>> = BTreeMap::new();
        let mut cancels: BTreeMap<SessionNo, Vec<LeaseAt>> = BTreeMap::new();
        let mut unplaced = Vec::new();
        for outbound in out {
            match outbound {
                Outbound::Assign(assignment) => {
                    assigns.entry(assignment.session).or_default().push(assignment);
                }
                Outbound::Revoke { session, at, .. } => cancels.entry(session).or_default().push(at),
                Outbound::Drain { session } => self.tell(session, ToWorker::Drain),
                Outbound::Evict { session } => {
                    if self.world.audit(|auditor| auditor.belongs(session, self.replica.no)) {
                        self.world.count(|tally| tally.evicted += 1);
                    }
                    self.evict(session);
                }
                // Watchers are not simulated.
                Outbound::Changed { .. } => {}
                Outbound::Unplaced { route } => unplaced.push(route),
            }
        }
        for (session, assignments) in assigns {
            self.tell(session, ToWorker::Assign(assignments));
        }
        for (session, leases) in cancels {
            self.tell(session, ToWorker::Cancel(leases));
        }
        unplaced.dedup();
        if !unplaced.is_empty() {
            self.hint(Hint::Others { routes: unplaced });
        }
    }

    fn tell(&mut self, session: SessionNo, message: ToWorker) {
        if let Some(link) = self.links.get(&session)
            && link.sender.try_send(message).is_err()
        {
            self.evict(session);
        }
    }

    fn evict(&mut self, session: SessionNo) {
        self.world.note(|| format!("replica {}: evicts session {session}", self.replica.no));
        if self.links.remove(&session).is_some()
            && let Some(command) = self.replica.disconnect(session)
        {
            self.hint(Hint::Command(command));
        }
    }

    fn hint(&self, hint: Hint) {
        // A full channel means that a look is on its way anyway.
        let _ = self.hints.try_send(hint);
    }

    fn now(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
