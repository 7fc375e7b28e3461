//! A simulated worker: the rules of the SDK's session machine over a simulated stream, with agents that fail,
//! hang, forget and lie. Its memory dies with its process.

mod attempt;
mod write;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use downbeat_core::{
    command::Verdict,
    id::{LeaseAt, LeaseId, SessionNo, TaskNo},
    session::WorkerDeclaration,
};
use downbeat_proto::v1::{
    self, result::Outcome, session_request::Message as FromWorker, session_response::Message as ToWorker,
};
use tokio::time::{Instant, sleep_until, timeout};

use self::attempt::{Attempt, Stage};
use super::{
    World,
    audit::Offer,
    cluster::Cluster,
    wire::{Cable, Inlet, Outlet, Side, direction},
};

const WELCOME_WAIT: Duration = Duration::from_secs(10);
/// A stream that takes nothing for so long is given up.
const SEND_WAIT: Duration = Duration::from_secs(15);
/// Once it is calm, a worker that works under a dead lease must have been told within this time.
const ZOMBIE_MS: u64 = 90_000;

/// A worker process.
pub(super) struct Worker {
    world: Arc<World>,
    cluster: Arc<Cluster>,
    place: usize,
    declaration: Arc<WorkerDeclaration>,
    /// The session, and the token to resume it with.
    identity: Option<(SessionNo, String)>,
    /// Streams opened so far.
    connections: u32,
    attempts: BTreeMap<LeaseId, Attempt>,
    /// Assigned while no slot was free.
    waiting: VecDeque<(LeaseAt, v1::Brief)>,
    cancel_acks: Vec<LeaseAt>,
    /// Results under leases of others, sent to be refused.
    lies: BTreeMap<LeaseId, Offer>,
    draining: bool,
    deaf_until: Option<Instant>,
    heartbeat_at: Instant,
}

/// How a stream ended.
enum End {
    Broken,
    Left,
}

impl Worker {
    pub(super) fn new(cluster: Arc<Cluster>, place: usize, declaration: Arc<WorkerDeclaration>) -> Worker {
        Worker {
            world: Arc::clone(&cluster.world),
            cluster,
            place,
            declaration,
            identity: None,
            connections: 0,
            attempts: BTreeMap::new(),
            waiting: VecDeque::new(),
            cancel_acks: Vec::new(),
            lies: BTreeMap::new(),
            draining: false,
            deaf_until: None,
            heartbeat_at: Instant::now(),
        }
    }

    /// Connects, and connects again, until the process dies.
    pub(super) async fn run(mut self) {
        loop {
            self.world.pause(10, 1_500).await;
            let Some(server) = self.cluster.pick() else { continue };
            let cable = Cable::default();
            let (mut to, from_worker) = direction(&self.world, &cable, Side::Worker);
            let (to_worker, mut from) = direction(&self.world, &cable, Side::Server);
            self.cluster.plug(self.place, &server, &cable);
            let process = Arc::clone(&server.process);
            process.spawn(server.serve(from_worker, to_worker));
            if let End::Left = self.converse(&mut to, &mut from).await {
                self.identity = None;
                self.draining = false;
            }
            // What was bound to the stream is void.
            self.waiting.clear();
            self.lies.clear();
            self.deaf_until = None;
        }
    }

    async fn converse(
        &mut self,
        to: &mut Outlet<v1::SessionRequest>,
        from: &mut Inlet<v1::SessionResponse>,
    ) -> End {
        let in_flight = self.in_flight();
        self.world.note(|| format!("worker {} says hello, in flight {in_flight:?}", self.place));
        self.connections += 1;
        let resume = self.identity.as_ref().map(|(session, token)| v1::Resume {
            session_id: session.0,
            token: token.clone(),
            in_flight,
            connection: self.connections,
        });
        if !to.send(request(FromWorker::Hello(hello(&self.declaration, resume)))).await {
            return End::Broken;
        }
        let first = timeout(WELCOME_WAIT, from.next()).await.ok().flatten();
        let Some(ToWorker::Welcome(welcome)) = first.and_then(|response| response.message) else {
            return End::Broken;
        };
        self.welcome(&welcome);
        loop {
            let now = Instant::now();
            self.advance(now);
            if !self.transmit(to, now).await {
                return End::Broken;
            }
            if self.draining && self.attempts.is_empty() && self.waiting.is_empty() {
                to.send(request(FromWorker::Goodbye(v1::Goodbye::default()))).await;
                return End::Left;
            }
            let wake = self.next_timer();
            tokio::select! {
                biased;
                message = from.next(), if self.deaf_until.is_none() => match message {
                    Some(response) => self.take(response),
                    None => return End::Broken,
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn welcome(&mut self, welcome: &v1::Welcome) {
        if welcome.resumed {
            welcome.lost.iter().for_each(|lease| drop(self.attempts.remove(&LeaseId(lease.lease_id))));
        } else {
            self.attempts.clear();
            self.cancel_acks.clear();
        }
        self.identity = Some((SessionNo(welcome.session_id), welcome.resume_token.clone()));
        self.heartbeat_at = Instant::now() + self.heartbeat_interval();
        for attempt in self.attempts.values_mut() {
            attempt.sent = false;
        }
        if self.world.strikes(|_| self.world.settings.habits.deaf) {
            let ms = self.world.draw(|rng| rng.between(5_000, 30_000));
            let until = Instant::now() + Duration::from_millis(ms);
            self.world.trouble_until(until);
            self.deaf_until = Some(until);
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.world.settings.liveness.heartbeat_interval_ms)
    }

    /// What it works on, or has a result of that was not acknowledged; without what it does not admit yet.
    fn in_flight(&self) -> Vec<v1::LeaseRef> {
        self.attempts
            .values()
            .filter(|attempt| attempt.admitted)
            .map(|attempt| lease_ref(attempt.at))
            .collect()
    }

    fn take(&mut self, response: v1::SessionResponse) {
        match response.message {
            Some(ToWorker::Assign(assign)) => assign.briefs.into_iter().for_each(|brief| self.assign(brief)),
            Some(ToWorker::ResultAcks(acks)) => acks.acks.iter().for_each(|ack| self.answered(ack)),
            Some(ToWorker::Cancel(cancel)) => {
                cancel.leases.iter().map(lease_at).for_each(|at| self.cancel(at))
            }
            Some(ToWorker::Drain(_)) => self.draining = true,
            Some(ToWorker::SpawnAck(ack)) => self.spawned(&ack),
            Some(ToWorker::ContextAnswer(answer)) => self.context_answered(&answer),
            Some(ToWorker::Welcome(_)) => self.world.fail("a second welcome came"),
            None => self.world.fail("an empty message came"),
        }
    }

    fn assign(&mut self, brief: v1::Brief) {
        let Some(at) = brief.lease.as_ref().map(lease_at) else { return };
        if self.draining || self.world.strikes(|_| self.world.settings.habits.never_acks) {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(&at.lease) {
            attempt.acked = false;
        } else if self.waiting.len() < self.declaration.slots as usize {
            self.waiting.push_back((at, brief));
        }
    }

    fn spawned(&mut self, ack: &v1::SpawnAck) {
        use v1::result_ack::Verdict as Wire;
        let Some(at) = ack.lease.as_ref().map(lease_at) else {
            return self.world.fail("children were answered without a lease");
        };
        self.world.note(|| format!("worker {}: children of {} are {ack:?}", self.place, at.lease));
        self.world.audit(|auditor| {
            let (promises, known) = auditor.promises();
            promises.spawned(&known, at, ack);
        });
        match (ack.verdict(), self.attempts.get_mut(&at.lease)) {
            (Wire::Accepted | Wire::Refused, Some(attempt)) => attempt.children_answered(),
            (Wire::Stale, Some(attempt)) if attempt.is_running() => drop(self.attempts.remove(&at.lease)),
            (Wire::Accepted | Wire::Refused | Wire::Stale, _) => {}
            (Wire::Duplicate | Wire::Unspecified, _) => self.world.fail(format!("children got {ack:?}")),
        }
    }

    fn context_answered(&mut self, answer: &v1::ContextAnswer) {
        use v1::context_answer::Verdict as Wire;
        let Some(at) = answer.lease.as_ref().map(lease_at) else {
            return self.world.fail("a write was answered without a lease");
        };
        self.world.note(|| format!("worker {}: a write of {} got {answer:?}", self.place, at.lease));
        self.world.audit(|auditor| {
            let (contexts, known) = auditor.contexts();
            contexts.told(&known, at, answer);
        });
        match (answer.verdict(), self.attempts.get_mut(&at.lease)) {
            (Wire::Done | Wire::Conflict, Some(attempt)) => attempt.write_answered(answer),
            (Wire::Stale, Some(attempt)) if attempt.is_running() => drop(self.attempts.remove(&at.lease)),
            (Wire::Done | Wire::Conflict | Wire::Stale, _) => {}
            (Wire::Refused | Wire::Unspecified, _) => self.world.fail(format!("a write got {answer:?}")),
        }
    }

    fn answered(&mut self, ack: &v1::ResultAck) {
        use v1::result_ack::Verdict as Wire;
        let verdict = match ack.verdict() {
            Wire::Accepted => Verdict::Accepted,
            Wire::Duplicate => Verdict::Duplicate,
            Wire::Stale => Verdict::Stale,
            Wire::Refused | Wire::Unspecified => return self.world.fail(format!("a result got {ack:?}")),
        };
        match ack.lease.as_ref().map(lease_at) {
            Some(at) => self.acked(at, verdict),
            None => self.world.fail("an acknowledgement came without a lease"),
        }
    }

    fn acked(&mut self, at: LeaseAt, verdict: Verdict) {
        let own = self.attempts.get(&at.lease).and_then(Attempt::offer);
        let lie = self.lies.remove(&at.lease);
        let Some(offer) = own.clone().or(lie) else { return };
        let world = &self.world;
        world.note(|| format!("worker {}: lease {} is {verdict:?}", self.place, at.lease));
        world.count(|tally| match verdict {
            Verdict::Accepted => tally.accepted += 1,
            Verdict::Duplicate => tally.duplicates += 1,
            Verdict::Stale => tally.stale += 1,
        });
        world.audit(|auditor| {
            let (promises, known) = auditor.promises();
            promises.told(&known, at, &offer, own.is_some(), verdict);
        });
        if own.is_some() {
            self.attempts.remove(&at.lease);
        }
    }

    fn cancel(&mut self, at: LeaseAt) {
        self.waiting.retain(|(waiting, _)| waiting.lease != at.lease);
        let habits = &self.world.settings.habits;
        if self.world.strikes(|_| habits.mute) {
            self.attempts.remove(&at.lease);
            return;
        }
        let stubborn = self.world.strikes(|_| habits.stubborn);
        let wait = Duration::from_millis(self.world.draw(|rng| rng.skewed(5_000)));
        match self.attempts.get_mut(&at.lease) {
            Some(attempt) if stubborn => attempt.hasten(Instant::now() + wait),
            Some(attempt) => attempt.stop(Instant::now() + wait),
            None => self.cancel_acks.push(at),
        }
    }

    /// Starts what waits as far as slots are free, and ends what is due.
    fn advance(&mut self, now: Instant) {
        self.deaf_until = self.deaf_until.filter(|until| *until > now);
        let busy = |attempt: &&Attempt| attempt.is_running();
        while self.attempts.values().filter(busy).count() < self.declaration.slots as usize {
            let Some((at, brief)) = self.waiting.pop_front() else { break };
            let attempt = Attempt::begin(&self.world, &self.declaration, at, &brief, now);
            self.attempts.insert(at.lease, attempt);
        }
        let mut gone = Vec::new();
        for attempt in self.attempts.values_mut() {
            attempt.advance(now);
            if matches!(attempt.stage, Stage::Stopped) {
                self.cancel_acks.push(attempt.at);
                gone.push(attempt.at.lease);
            }
            if matches!(attempt.stage, Stage::Forgotten) {
                self.world.audit(|auditor| auditor.forgot(attempt.at.lease));
                gone.push(attempt.at.lease);
            }
        }
        gone.iter().for_each(|lease| drop(self.attempts.remove(lease)));
        self.check_zombies();
    }

    /// Whoever works for nothing has to be told, in time.
    fn check_zombies(&mut self) {
        if !self.world.is_calm() {
            return;
        }
        let now_ms = self.world.elapsed_ms();
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.is_running()) {
            let LeaseAt { task, index, lease } = attempt.at;
            if self.world.audit(|auditor| auditor.is_current(task, index, lease)) {
                attempt.dead_since_ms = None;
                continue;
            }
            let since = *attempt.dead_since_ms.get_or_insert(now_ms);
            if now_ms - since > ZOMBIE_MS {
                self.world.fail(format!(
                    "worker {} works on {task}/{index} under lease {lease}, which is dead for {} ms, and was not told",
                    self.place,
                    now_ms - since
                ));
            }
        }
    }

    fn next_timer(&self) -> Instant {
        let timers = self.attempts.values().filter_map(Attempt::next_timer);
        timers.chain(self.deaf_until).chain([self.heartbeat_at]).min().unwrap_or(self.heartbeat_at)
    }

    /// Sends all there is to send. False: the stream has ended.
    async fn transmit(&mut self, to: &mut Outlet<v1::SessionRequest>, now: Instant) -> bool {
        let mut messages = Vec::new();
        let mut acks = Vec::new();
        let mut results = Vec::new();
        for attempt in self.attempts.values_mut() {
            if attempt.owes_ack(now) {
                (attempt.acked, attempt.admitted) = (true, true);
                acks.push(lease_ref(attempt.at));
            }
            if let Some(message) = attempt.progress(now) {
                let lease = Some(lease_ref(attempt.at));
                messages.push(FromWorker::Progress(v1::Progress { lease, message, fraction: 0.0 }));
            }
            if let Some(write) = attempt.take_write(&self.world) {
                self.world.audit(|auditor| auditor.contexts().0.writing(attempt.at, &write));
                if self.world.strikes(|_| self.world.settings.habits.doubles) {
                    messages.push(FromWorker::ContextWrite(write.clone()));
                }
                messages.push(FromWorker::ContextWrite(write));
            }
            if let Some(children) = attempt.take_children() {
                let lease = Some(lease_ref(attempt.at));
                self.world.audit(|auditor| auditor.promises().0.spawning(attempt.at, &children));
                let spawn = v1::Spawn { lease, request: self.world.number(), children };
                if self.world.strikes(|_| self.world.settings.habits.doubles) {
                    messages.push(FromWorker::Spawn(spawn.clone()));
                }
                messages.push(FromWorker::Spawn(spawn));
            }
            if let Some(result) = attempt.take_result() {
                let offer = Offer::from(&result);
                self.world.audit(|auditor| auditor.promises().0.offer(attempt.at.lease, offer));
                if self.world.strikes(|_| self.world.settings.habits.doubles) {
                    results.push(answer(attempt.at, result.clone()));
                }
                results.push(answer(attempt.at, result));
            }
        }
        if !acks.is_empty() {
            messages.insert(0, FromWorker::AssignAck(v1::AssignAck { leases: acks }));
        }
        if !results.is_empty() {
            results.extend(self.lie());
            messages.push(FromWorker::Results(v1::Results { results }));
        }
        if !self.cancel_acks.is_empty() {
            let leases = self.cancel_acks.drain(..).map(lease_ref).collect();
            messages.push(FromWorker::CancelAck(v1::CancelAck { leases }));
        }
        if self.heartbeat_at <= now {
            self.heartbeat_at = now + self.heartbeat_interval();
            messages.push(FromWorker::Heartbeat(v1::Heartbeat { in_flight: self.in_flight() }));
        }
        for message in messages {
            if !matches!(timeout(SEND_WAIT, to.send(request(message))).await, Ok(true)) {
                return false;
            }
        }
        true
    }

    /// A result under a lease of somebody else, or of nobody.
    fn lie(&mut self) -> Option<v1::Result> {
        if !self.world.strikes(|_| self.world.settings.habits.lies) {
            return None;
        }
        let targets = self.world.audit(|auditor| auditor.current_leases());
        let (session, mut at) = self.world.draw(|rng| rng.pick(&targets).copied())?;
        if self.world.draw(|rng| rng.per_mille(300)) {
            at.lease = LeaseId(at.lease.0 + 1);
        }
        let own = self.identity.as_ref().is_none_or(|(mine, _)| *mine == session);
        if own || self.attempts.contains_key(&at.lease) {
            return None;
        }
        let result = Outcome::Completed(v1::Completed { output: "\"a lie\"".into(), artifacts: Vec::new() });
        self.lies.insert(at.lease, Offer::from(&result));
        Some(answer(at, result))
    }
}

/// A lease as it travels.
fn lease_ref(at: LeaseAt) -> v1::LeaseRef {
    v1::LeaseRef { lease_id: at.lease.0, task_no: at.task.0, index: at.index }
}

/// A lease as it came.
pub(super) fn lease_at(lease: &v1::LeaseRef) -> LeaseAt {
    LeaseAt { task: TaskNo(lease.task_no), index: lease.index, lease: LeaseId(lease.lease_id) }
}

fn request(message: FromWorker) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(message) }
}

fn answer(at: LeaseAt, outcome: Outcome) -> v1::Result {
    v1::Result { lease: Some(lease_ref(at)), outcome: Some(outcome) }
}

fn hello(declaration: &WorkerDeclaration, resume: Option<v1::Resume>) -> v1::Hello {
    let agents = declaration.agents.iter().map(|agent| v1::AgentDeclaration {
        name: agent.name.clone(),
        capabilities: agent.capabilities.clone(),
        sla_ms: agent.sla_ms.unwrap_or(0),
        progress_timeout_ms: agent.progress_timeout_ms.unwrap_or(0),
        ..v1::AgentDeclaration::default()
    });
    v1::Hello {
        worker: declaration.worker.clone(),
        agents: agents.collect(),
        slots: declaration.slots,
        resume,
        ..v1::Hello::default()
    }
}
