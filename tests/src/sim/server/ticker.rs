//! Models `ticker.rs`: looks around, sweeps, and trades hints with the other replicas.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use downbeat_core::{
    command::Command,
    id::{ReplicaNo, RouteNo, SessionNo},
    session::{Session, SessionState},
    time::Time,
};
use downbeat_store::{Store, StoreError, Tick};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use downbeat_server::replica::{LeaseLook, Mono, SessionLook};

use super::{
    committer::{Answer, Input},
    registry::Registry,
};
use crate::sim::{Plant, World, process::lock};

const DUE_LIMIT: u32 = 500;
const STUCK_LIMIT: u32 = 500;
const NOTIFY_GATHER: Duration = Duration::from_millis(10);
/// Ticks between two looks at everything, changed or not.
const LOOK_EVERY_TICKS: u32 = 5;

/// What the committer asks to be looked at.
#[derive(Debug)]
pub(super) enum Hint {
    LookAtSessions,
    LookAtLeases,
    Command(Command),
    Others { routes: Vec<RouteNo> },
}

pub(super) struct Ticker {
    world: Arc<World>,
    replica: ReplicaNo,
    store: Arc<dyn Store>,
    registry: Arc<Mutex<Registry>>,
    inbox: mpsc::Sender<Input>,
    live: Vec<ReplicaNo>,
    sessions_mark: (i64, i64),
    sessions: Vec<Session>,
    unserved: BTreeSet<RouteNo>,
    ticks: u32,
    start: Instant,
}

impl Ticker {
    pub(super) fn new(
        world: Arc<World>,
        replica: ReplicaNo,
        store: Arc<dyn Store>,
        registry: Arc<Mutex<Registry>>,
        inbox: mpsc::Sender<Input>,
        start: Instant,
    ) -> Ticker {
        Ticker {
            world,
            replica,
            store,
            registry,
            inbox,
            live: Vec::new(),
            sessions_mark: (-1, -1),
            sessions: Vec::new(),
            unserved: BTreeSet::new(),
            ticks: 0,
            start,
        }
    }

    pub(super) async fn run(mut self, mut hints: mpsc::Receiver<Hint>) {
        let mut next = Instant::now();
        let mut others = BTreeSet::new();
        let mut gather_until: Option<Instant> = None;
        loop {
            let wake = gather_until.map_or(next, |at| at.min(next));
            // What fails is looked at again with the next tick.
            let _ = match timeout_at(wake, hints.recv()).await {
                Ok(None) => return,
                Ok(Some(Hint::Others { routes })) => {
                    if self.live.len() > 1 {
                        others.extend(routes);
                        gather_until.get_or_insert_with(|| Instant::now() + NOTIFY_GATHER);
                    }
                    Ok(())
                }
                Ok(Some(Hint::Command(command))) => {
                    self.ask(command).await;
                    Ok(())
                }
                Ok(Some(Hint::LookAtSessions)) => self.look_at_sessions().await,
                Ok(Some(Hint::LookAtLeases)) if self.world.has(Plant::NoLeaseLook) => Ok(()),
                Ok(Some(Hint::LookAtLeases)) => self.look_at_leases().await,
                Err(_) => Ok(()),
            };
            if gather_until.is_some_and(|at| at <= Instant::now()) {
                gather_until = None;
                let _ = self.tell_others(std::mem::take(&mut others)).await;
            }
            if next <= Instant::now() {
                let _ = self.look().await;
                let ms = self.world.settings.tick_ms;
                let jitter = self.world.draw(|rng| rng.below(ms / 5 + 1));
                next = Instant::now() + Duration::from_millis(ms - ms / 10 + jitter);
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let dead_after_ms = self.world.settings.dead_after_ms;
        let tick = self.store.tick(self.replica, dead_after_ms, DUE_LIMIT).await?;
        let changed = tick.sessions_mark != self.sessions_mark || tick.replicas != self.live;
        self.sessions_mark = tick.sessions_mark;
        self.live.clone_from(&tick.replicas);
        self.learn_routes(&tick).await?;
        self.ticks = self.ticks.wrapping_add(1);
        let all = self.ticks.is_multiple_of(LOOK_EVERY_TICKS);
        if all && !self.world.has(Plant::NoLeaseLook) {
            self.look_at_leases().await?;
        } else if changed || self.sessions.iter().any(|row| row.state != SessionState::Open) {
            self.look_at_sessions().await?;
        }
        self.settle_stuck(&tick).await?;
        self.give(Input::Tick(tick)).await;
        Ok(())
    }

    /// DIFFERS: what is in line and still not known is looked for from the beginning: numbers may become
    /// visible out of order.
    async fn learn_routes(&self, tick: &Tick) -> Result<(), StoreError> {
        let from_the_start = !self.world.has(Plant::RouteGap);
        for again in [false, true] {
            let after = {
                let registry = lock(&self.registry);
                if tick.ready.iter().all(|route| registry.knows_route(*route)) || (again && !from_the_start) {
                    return Ok(());
                }
                if again { RouteNo(0) } else { registry.routes_read() }
            };
            let routes = self.store.routes_after(after).await?;
            lock(&self.registry).read_routes(&routes);
            self.give(Input::Routes(routes)).await;
        }
        Ok(())
    }

    async fn look_at_sessions(&mut self) -> Result<(), StoreError> {
        let read = self.now();
        let sessions = self.store.sessions().await?;
        lock(&self.registry).learn_sessions(sessions.clone());
        self.sessions.clone_from(&sessions);
        let expired: Vec<SessionNo> =
            sessions.iter().filter(|row| row.state == SessionState::Expired).map(|row| row.no).collect();
        self.give(Input::Sessions(SessionLook { sessions, live: self.live.clone(), read })).await;
        self.sweep(&expired).await
    }

    async fn sweep(&self, expired: &[SessionNo]) -> Result<(), StoreError> {
        if expired.is_empty() {
            return Ok(());
        }
        let leases = self.store.leases(expired).await?;
        let holding: BTreeSet<SessionNo> = leases.iter().map(|(session, _)| *session).collect();
        for (_, at) in leases {
            self.ask(Command::Lose { at }).await;
        }
        for session in expired.iter().filter(|no| !holding.contains(no)) {
            self.ask(Command::ForgetSession { session: *session }).await;
        }
        Ok(())
    }

    /// The leases first, and then the sessions: of one that moved away before, the rows do not tell what it
    /// should hold here.
    async fn look_at_leases(&mut self) -> Result<(), StoreError> {
        let read = self.now();
        let before = self.mine();
        let leases = if before.is_empty() { Vec::new() } else { self.store.leases(&before).await? };
        self.look_at_sessions().await?;
        let of: Vec<SessionNo> = self.mine().into_iter().filter(|no| before.contains(no)).collect();
        if !of.is_empty() {
            self.give(Input::Leases(LeaseLook { of, leases, read })).await;
        }
        Ok(())
    }

    /// The sessions of this replica, as of the last look.
    fn mine(&self) -> Vec<SessionNo> {
        self.sessions.iter().filter(|row| row.replica == self.replica).map(|row| row.no).collect()
    }

    async fn settle_stuck(&mut self, tick: &Tick) -> Result<(), StoreError> {
        let in_line: BTreeSet<RouteNo> = tick.ready.iter().copied().collect();
        let served = lock(&self.registry).served_now(&in_line);
        let patience = self.world.settings.policy.schedule_to_start_ms;
        let before = Time(tick.now.0.saturating_sub(i64::try_from(patience).unwrap_or(i64::MAX)));
        for route in in_line.difference(&served) {
            self.unserved.insert(*route);
            for (task, index) in self.store.stuck(*route, false, before, STUCK_LIMIT).await? {
                self.ask(Command::Block { task, index }).await;
            }
        }
        for route in &served {
            if !self.unserved.contains(route) {
                continue;
            }
            let blocked = self.store.stuck(*route, true, tick.now, STUCK_LIMIT).await?;
            if blocked.is_empty() {
                self.unserved.remove(route);
            }
            for (task, index) in blocked {
                self.ask(Command::Unblock { task, index }).await;
            }
        }
        self.unserved.retain(|route| in_line.contains(route));
        Ok(())
    }

    async fn tell_others(&self, routes: BTreeSet<RouteNo>) -> Result<(), StoreError> {
        let numbers: Vec<i64> = routes.iter().map(|route| route.0).collect();
        let text = serde_json::to_string(&(self.replica.0, numbers));
        self.store.notify(&text.map_err(|error| StoreError::Corrupt(error.to_string()))?).await
    }

    fn now(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn ask(&self, command: Command) {
        self.give(Input::Command { command, answer: Answer::Nobody }).await;
    }

    async fn give(&self, input: Input) {
        // The committer is gone when the process dies.
        let _ = self.inbox.send(input).await;
    }
}

/// Takes in what other replicas say.
pub(super) async fn listen(replica: ReplicaNo, store: Arc<dyn Store>, inbox: mpsc::Sender<Input>) {
    loop {
        match store.listen().await {
            Ok(None) => return,
            Ok(Some(mut notices)) => {
                while let Some(text) = notices.recv().await {
                    let Ok((from, routes)) = serde_json::from_str::<(i64, Vec<i64>)>(&text) else { continue };
                    let routes: Vec<RouteNo> = routes.into_iter().map(RouteNo).collect();
                    let ours = from == replica.0 || routes.is_empty();
                    if !ours && inbox.send(Input::InLine(routes)).await.is_err() {
                        return;
                    }
                }
            }
            Err(_) => {}
        }
        sleep(Duration::from_secs(1)).await;
    }
}
