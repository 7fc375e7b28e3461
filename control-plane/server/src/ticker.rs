//! Looks around: beats, finds what is due, settles sessions against their rows, sweeps expired ones, and
//! trades hints with the other replicas. All of it reads; what has to change becomes a command.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use downbeat_core::{
    command::Command,
    id::{ReplicaNo, RouteNo, SessionNo, TaskNo},
    session::{Session, SessionState},
    time::Time,
};
use downbeat_store::{Leased, Store, StoreError, Tick};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    clock::Clock,
    committer::{Answer, Input, Revoked},
    config::Config,
    registry::Registry,
    replica::{LeaseLook, Pace, SessionLook},
    schedule::Upcoming,
    watch::Watch,
};

/// Hints waiting to be looked at; more say nothing new.
pub(crate) const HINTS_MAX: usize = 1_024;
/// Due rows read in one look; the rest come with the next.
const DUE_LIMIT: u32 = 500;
/// How long after its time others look whether whoever waits for it has seen to it: a replica that lives has by then.
const OVERDUE_AFTER: Duration = Duration::from_millis(200);
/// The least time between two such looks.
const OVERDUE_PACE: Duration = Duration::from_millis(200);
/// Subtasks blocked or unblocked in one look.
const STUCK_LIMIT: u32 = 500;
/// Everything is looked at once in so many ticks, changed or not: what a lost effect left behind has to be found.
const LOOK_EVERY_TICKS: u32 = 5;
/// Hints to the others are gathered for so long.
const NOTIFY_GATHER: Duration = Duration::from_millis(10);
/// Postgres refuses payloads of 8,000 bytes; what does not fit is found by the others' own look.
const NOTIFY_ITEMS_MAX: usize = 200;
const NOTIFY_REVOKED_MAX: usize = 30;
/// How often things that must exist ahead of time are created.
const MAINTAIN_EVERY: Duration = Duration::from_secs(3_600);

/// What the committer asks to be looked at. Losing one only means to find it later.
#[derive(Debug)]
pub(crate) enum Hint {
    LookAtSessions,
    LookAtLeases,
    Command(Command),
    /// For the other replicas.
    Others {
        routes: Vec<RouteNo>,
        tasks: Vec<TaskNo>,
        revoked: Vec<Revoked>,
    },
}

/// What replicas tell each other.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Notice {
    from: i64,
    routes: BTreeSet<RouteNo>,
    tasks: BTreeSet<TaskNo>,
    revoked: Vec<Revoked>,
}

/// What the looks work with.
pub(crate) struct Ticker {
    pub(crate) replica: ReplicaNo,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) inbox: mpsc::Sender<Input>,
    upcoming: watch::Sender<Upcoming>,
    pub(crate) config: Config,
    clock: Clock,
    live: Vec<ReplicaNo>,
    sessions_mark: (i64, i64),
    sessions: Vec<Session>,
    /// Routes that stood in line at the last look and may hold blocked subtasks.
    unserved: BTreeSet<RouteNo>,
    maintained: Option<Instant>,
    lines: Pace,
    leases: Pace,
    ticks: u32,
    /// When to look for what should have been seen to.
    overdue: Option<Instant>,
    away: bool,
}

impl Ticker {
    pub(crate) fn new(
        replica: ReplicaNo,
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        inbox: mpsc::Sender<Input>,
        upcoming: watch::Sender<Upcoming>,
        config: Config,
        clock: Clock,
    ) -> Ticker {
        Ticker {
            replica,
            store,
            registry,
            inbox,
            upcoming,
            config,
            clock,
            live: Vec::new(),
            sessions_mark: (-1, -1),
            sessions: Vec::new(),
            unserved: BTreeSet::new(),
            maintained: None,
            lines: Pace::default(),
            leases: Pace::default(),
            ticks: 0,
            overdue: None,
            away: false,
        }
    }

    /// Looks every tick, and when a hint asks for it. Runs until it is dropped.
    pub(crate) async fn run(mut self, mut hints: mpsc::Receiver<Hint>) {
        let mut next = Instant::now();
        let mut others = Notice::default();
        let mut gather_until: Option<Instant> = None;
        loop {
            let wake = [gather_until, self.overdue].into_iter().flatten().fold(next, Instant::min);
            let hint = tokio::time::timeout_at(wake, hints.recv()).await;
            let outcome = match hint {
                Ok(None) => return,
                Ok(Some(Hint::Others { routes, tasks, revoked })) => {
                    others.routes.extend(routes);
                    others.tasks.extend(tasks);
                    others.revoked.extend(revoked);
                    gather_until.get_or_insert_with(|| Instant::now() + NOTIFY_GATHER);
                    Ok(())
                }
                Ok(Some(Hint::Command(command))) => {
                    self.ask(command).await;
                    Ok(())
                }
                Ok(Some(Hint::LookAtSessions)) => self.look_at_sessions().await,
                Ok(Some(Hint::LookAtLeases)) => self.look_at_leases().await,
                Err(_) => Ok(()),
            };
            self.note(outcome);
            if gather_until.is_some_and(|at| at <= Instant::now()) {
                gather_until = None;
                let outcome = self.tell_others(std::mem::take(&mut others)).await;
                self.note(outcome);
            }
            if next <= Instant::now() {
                let outcome = self.look().await;
                self.note(outcome);
                next = Instant::now() + self.jittered_tick();
            } else if self.overdue.is_some_and(|at| at <= Instant::now()) {
                let outcome = self.look_for_overdue().await;
                self.note(outcome);
            }
        }
    }

    /// Logs that the database is away, once, and that it is back.
    fn note(&mut self, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => self.away = false,
            Err(error) if !std::mem::replace(&mut self.away, true) => {
                tracing::warn!(%error, "cannot look at the database");
            }
            Err(_) => {}
        }
    }

    /// Up to a tenth more or less, so that replicas do not look in step.
    fn jittered_tick(&self) -> Duration {
        let ms = self.config.tick_ms;
        let spread = (self.registry.now().0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        Duration::from_millis(ms - ms / 10 + (ms / 5) * spread / (1 << 24))
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let began = self.clock.now();
        let lines = self.lines.next() <= began;
        let tick = self.read(lines).await?;
        if lines {
            self.lines.took(began, self.clock.now());
        }
        let changed = tick.sessions_mark != self.sessions_mark || tick.replicas != self.live;
        self.sessions_mark = tick.sessions_mark;
        self.live.clone_from(&tick.replicas);
        let in_line = tick.in_line.as_ref().map(|routes| routes.iter().copied().collect::<BTreeSet<_>>());
        if let Some(in_line) = &in_line {
            self.learn_routes(in_line).await?;
        }
        self.ticks = self.ticks.wrapping_add(1);
        let all = self.ticks.is_multiple_of(LOOK_EVERY_TICKS);
        if all && self.leases.next() <= self.clock.now() {
            self.look_at_leases().await?;
        } else if all || changed || self.sessions.iter().any(|row| row.state != SessionState::Open) {
            self.look_at_sessions().await?;
        }
        if let Some(in_line) = &in_line {
            self.settle_stuck(in_line, tick.now).await?;
        }
        self.give(Input::Tick(tick)).await;
        if self.maintained.is_none_or(|at| at.elapsed() >= MAINTAIN_EVERY) {
            self.store.maintain().await?;
            self.maintained = Some(Instant::now());
        }
        Ok(())
    }

    /// What nobody has seen to at its time: its replica is gone.
    async fn look_for_overdue(&mut self) -> Result<(), StoreError> {
        let tick = self.read(false).await?;
        self.give(Input::Tick(tick)).await;
        Ok(())
    }

    async fn read(&mut self, lines: bool) -> Result<Tick, StoreError> {
        self.overdue = None;
        let tick = self.store.tick(self.replica, self.config.dead_after_ms, DUE_LIMIT, lines).await?;
        self.registry.see_time(tick.now);
        self.upcoming.send_if_modified(|seen| {
            let any = !seen.is_empty() || !tick.schedules.is_empty();
            seen.clone_from(&tick.schedules);
            any
        });
        let more = tick.due.len() >= DUE_LIMIT as usize;
        let next = if more { Some(tick.now) } else { tick.next_due };
        self.overdue = next.map(|at| {
            let after = Duration::from_millis(u64::try_from(at.0 - tick.now.0).unwrap_or(0));
            Instant::now() + OVERDUE_PACE.max(after + OVERDUE_AFTER)
        });
        Ok(tick)
    }

    async fn learn_routes(&self, in_line: &BTreeSet<RouteNo>) -> Result<(), StoreError> {
        let routes = self.registry.find_routes(&*self.store, in_line).await?;
        if !routes.is_empty() {
            self.give(Input::Routes(routes.clone())).await;
            self.registry.read_routes(&routes);
        }
        Ok(())
    }

    async fn look_at_sessions(&mut self) -> Result<(), StoreError> {
        let read = self.clock.now();
        let sessions = self.store.sessions().await?;
        self.registry.learn_sessions(sessions.clone());
        self.sessions.clone_from(&sessions);
        let expired: Vec<SessionNo> =
            sessions.iter().filter(|row| row.state == SessionState::Expired).map(|row| row.no).collect();
        self.give(Input::Sessions(SessionLook { sessions, live: self.live.clone(), read })).await;
        self.sweep(&expired).await
    }

    /// Takes the leases from expired sessions, and deletes those that have none left.
    async fn sweep(&self, expired: &[SessionNo]) -> Result<(), StoreError> {
        if expired.is_empty() {
            return Ok(());
        }
        let leases = self.store.leases(expired).await?;
        let holding: BTreeSet<SessionNo> = leases.iter().map(|leased| leased.session).collect();
        for Leased { at, .. } in leases {
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
        let read = self.clock.now();
        let before = self.mine();
        let leases = if before.is_empty() { Vec::new() } else { self.store.leases(&before).await? };
        self.leases.took(read, self.clock.now());
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

    /// Blocks what has waited too long for a worker that nobody is, and unblocks what somebody can do again.
    async fn settle_stuck(&mut self, in_line: &BTreeSet<RouteNo>, now: Time) -> Result<(), StoreError> {
        let served = self.registry.served_now(in_line);
        let patience = self.config.policy.schedule_to_start_ms;
        let before = Time(now.0.saturating_sub(i64::try_from(patience).unwrap_or(i64::MAX)));
        for route in in_line.difference(&served) {
            self.unserved.insert(*route);
            for (task, index) in self.store.stuck(*route, false, before, STUCK_LIMIT).await? {
                tracing::warn!(%task, index, %route, "no live worker can do a ready subtask: blocked");
                self.ask(Command::Block { task, index }).await;
            }
        }
        for route in &served {
            if !self.unserved.contains(route) {
                continue;
            }
            let blocked = self.store.stuck(*route, true, now, STUCK_LIMIT).await?;
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

    async fn tell_others(&self, mut notice: Notice) -> Result<(), StoreError> {
        notice.from = self.replica.0;
        while notice.routes.len() > NOTIFY_ITEMS_MAX {
            notice.routes.pop_last();
        }
        while notice.tasks.len() > NOTIFY_ITEMS_MAX {
            notice.tasks.pop_last();
        }
        notice.revoked.truncate(NOTIFY_REVOKED_MAX);
        let text = serde_json::to_string(&notice).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        self.store.notify(&text).await
    }

    async fn ask(&self, command: Command) {
        self.give(Input::Command { command, answer: Answer::Nobody }).await;
    }

    async fn give(&self, input: Input) {
        // The committer is gone when the process stops.
        let _ = self.inbox.send(input).await;
    }
}

/// Takes in what other replicas say, for as long as the database can be listened to.
pub(crate) async fn listen(
    replica: ReplicaNo,
    store: Arc<dyn Store>,
    inbox: mpsc::Sender<Input>,
    watch: Arc<Watch>,
) {
    loop {
        match store.listen().await {
            Ok(None) => return,
            Ok(Some(mut notices)) => {
                watch.all_changed();
                while let Some(text) = notices.recv().await {
                    let Ok(notice) = serde_json::from_str::<Notice>(&text) else { continue };
                    if notice.from == replica.0 {
                        continue;
                    }
                    notice.tasks.iter().for_each(|task| watch.changed(*task));
                    if !notice.routes.is_empty() {
                        // The committer is gone when the process stops.
                        let _ = inbox.send(Input::InLine(notice.routes.into_iter().collect())).await;
                    }
                    if !notice.revoked.is_empty() {
                        let _ = inbox.send(Input::Revoked(notice.revoked)).await;
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot listen to the other replicas"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
