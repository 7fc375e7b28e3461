//! What everything in one simulation shares: chance, time, the auditor, and the record of what happened.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use downbeat_core::time::Time;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Plant,
    audit::Auditor,
    plant::Planted,
    process::lock,
    rng::Rng,
    weather::{Settings, Weather},
};

/// Virtual time begins here, in milliseconds since the epoch: some day in 2026.
const BEGIN: i64 = 1_780_000_000_000;

/// Turns of all tasks in one millisecond; far more than any honest burst takes.
const TURNS_MAX: u64 = 20_000;

/// Counted while a seed runs, and summed over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub seeds: u64,
    pub commits: u64,
    pub queries: u64,
    pub tasks: u64,
    pub subtasks: u64,
    /// Tasks that schedules started by time.
    pub scheduled: u64,
    /// Tasks that are subtasks of others.
    pub inner: u64,
    /// Results that a worker was told count, count already, or are stale.
    pub accepted: u64,
    pub duplicates: u64,
    pub stale: u64,
    /// Attempts that ended as lost, timed out, or were handed back.
    pub lost: u64,
    pub timed_out: u64,
    pub returned: u64,
    pub expired: u64,
    pub resumed: u64,
    pub crashes: u64,
    pub freezes: u64,
    pub cuts: u64,
    /// Streams that a replica closed though their session was its own.
    pub evicted: u64,
    pub unknown_commits: u64,
    pub virtual_ms: u64,
}

impl Tally {
    /// Sums up.
    pub fn add(&mut self, other: &Tally) {
        let Tally {
            seeds,
            commits,
            queries,
            tasks,
            subtasks,
            scheduled,
            inner,
            accepted,
            duplicates,
            stale,
            lost,
            timed_out,
            returned,
            expired,
            resumed,
            crashes,
            freezes,
            cuts,
            evicted,
            unknown_commits,
            virtual_ms,
        } = other;
        self.seeds += seeds;
        self.commits += commits;
        self.queries += queries;
        self.tasks += tasks;
        self.subtasks += subtasks;
        self.scheduled += scheduled;
        self.inner += inner;
        self.accepted += accepted;
        self.duplicates += duplicates;
        self.stale += stale;
        self.lost += lost;
        self.timed_out += timed_out;
        self.returned += returned;
        self.expired += expired;
        self.resumed += resumed;
        self.crashes += crashes;
        self.freezes += freezes;
        self.cuts += cuts;
        self.evicted += evicted;
        self.unknown_commits += unknown_commits;
        self.virtual_ms += virtual_ms;
    }
}

/// The shared part of one simulation.
pub struct World {
    pub settings: Settings,
    pub auditor: Mutex<Auditor>,
    rng: Mutex<Rng>,
    start: Instant,
    jumped_ms: Arc<AtomicI64>,
    calm: AtomicBool,
    store_calm: AtomicBool,
    numbers: AtomicU64,
    outage_until: Mutex<Option<Instant>>,
    troubled_until: Mutex<Instant>,
    tally: Mutex<Tally>,
    trace: Option<Mutex<Vec<String>>>,
    planted: Mutex<Planted>,
    /// Turns of all tasks in the present millisecond.
    turns: Mutex<(u64, u64)>,
    broken: watch::Sender<Option<String>>,
}

impl World {
    /// A world at its beginning. `traced`: keep a record for people.
    pub fn new(settings: Settings, traced: bool) -> Arc<World> {
        Arc::new(World {
            auditor: Mutex::new(Auditor::new(&settings)),
            rng: Mutex::new(Rng::new(settings.seed)),
            settings,
            start: Instant::now(),
            jumped_ms: Arc::default(),
            calm: AtomicBool::new(false),
            store_calm: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
            outage_until: Mutex::new(None),
            troubled_until: Mutex::new(Instant::now()),
            tally: Mutex::default(),
            trace: traced.then(Mutex::default),
            planted: Mutex::default(),
            turns: Mutex::default(),
            broken: watch::Sender::new(None),
        })
    }

    /// The weather, as drawn; absent once it is calm.
    pub fn weather(&self) -> Option<&Weather> {
        (!self.is_calm()).then_some(&self.settings.weather)
    }

    /// Whether this bug was planted.
    pub fn has(&self, plant: Plant) -> bool {
        self.settings.plant == Some(plant)
    }

    /// What planted bugs keep in mind.
    pub(super) fn planted(&self) -> MutexGuard<'_, Planted> {
        lock(&self.planted)
    }

    /// Whether a fault of the database with this rate happens now: those go on for longer.
    pub fn store_strikes(&self, rate: impl FnOnce(&Weather) -> u32) -> bool {
        let rate = rate(&self.settings.weather);
        rate > 0 && !self.store_calm.load(Ordering::Relaxed) && self.draw(|rng| rng.per_mille(rate))
    }

    /// Draws from the seed's chance.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut lock(&self.rng))
    }

    /// A number larger than all before.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a fault with this rate happens now. Never once it is calm.
    pub fn strikes(&self, rate: impl FnOnce(&Weather) -> u32) -> bool {
        self.weather().is_some_and(|weather| {
            let rate = rate(weather);
            rate > 0 && self.draw(|rng| rng.per_mille(rate))
        })
    }

    /// How long a message or a query is on its way.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.draw(|rng| rng.skewed(self.settings.weather.delay_ms)))
    }

    /// Waits for between so many milliseconds.
    pub async fn pause(&self, low_ms: u64, high_ms: u64) {
        let ms = self.draw(|rng| rng.between(low_ms, high_ms));
        sleep(Duration::from_millis(ms)).await;
    }

    /// Virtual milliseconds since the beginning.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The database's clock.
    pub fn clock(&self) -> Arc<dyn Fn() -> Time + Send + Sync> {
        let (start, jumped_ms) = (self.start, Arc::clone(&self.jumped_ms));
        Arc::new(move || {
            let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
            Time(BEGIN + elapsed + jumped_ms.load(Ordering::Relaxed))
        })
    }

    /// The database's clock jumps.
    pub fn jump_clock(&self, ms: i64) {
        self.jumped_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// The database is away until then.
    pub fn take_database_away(&self, until: Instant) {
        *lock(&self.outage_until) = Some(until);
    }

    /// Something that began in the storm lasts until then.
    pub fn trouble_until(&self, until: Instant) {
        let mut troubled = lock(&self.troubled_until);
        *troubled = until.max(*troubled);
    }

    /// When the last of it is over.
    pub fn troubled_until(&self) -> Instant {
        *lock(&self.troubled_until)
    }

    /// Whether the database answers.
    pub fn database_is_away(&self) -> bool {
        lock(&self.outage_until).is_some_and(|until| until > Instant::now())
    }

    /// No more faults from now on, but for those of the database.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// No more faults of the database either.
    pub fn calm_store_down(&self) {
        self.store_calm.store(true, Ordering::Relaxed);
    }

    /// Whether faults have stopped.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Counts.
    pub fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut lock(&self.tally));
    }

    /// One more turn of a task. Too many of them while no time passes: some loop spins.
    pub fn turn(&self) {
        let now = self.elapsed_ms();
        let mut turns = lock(&self.turns);
        *turns = if turns.0 == now { (now, turns.1 + 1) } else { (now, 0) };
        let spins = turns.1 == TURNS_MAX;
        drop(turns);
        if spins {
            self.fail(format!("a task spins: {TURNS_MAX} turns in one millisecond"));
        }
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        Tally { seeds: 1, virtual_ms: self.elapsed_ms(), ..*lock(&self.tally) }
    }

    /// Writes down what happened, where somebody wants to read it.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let line = format!("{:>9} ms  {}", self.elapsed_ms(), what());
            lock(trace).push(line);
        }
    }

    /// Whether somebody wants to read the record.
    pub fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    /// The record.
    pub fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| lock(trace).clone()).unwrap_or_default()
    }

    /// Something that must always hold does not. The first time counts; the seed ends.
    pub fn fail(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("BROKEN: {what}"));
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(what);
            }
            first
        });
    }

    /// The store may be away. Whatever else it says is a mistake of ours.
    pub(super) fn judge<T>(&self, outcome: &downbeat_store::Result<T>) {
        if let Err(error) = outcome
            && !error.is_transient()
        {
            self.fail(format!("the store says: {error}"));
        }
    }

    /// Lets the auditor look at something; what it finds broken ends the seed.
    pub fn audit<T>(&self, look: impl FnOnce(&mut Auditor) -> T) -> T {
        let mut auditor = lock(&self.auditor);
        let seen = look(&mut auditor);
        let found = auditor.take_found();
        drop(auditor);
        found.into_iter().for_each(|what| self.fail(what));
        seen
    }

    /// What was found broken, if anything.
    pub fn broken(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    /// Until something is found broken.
    pub async fn until_broken(&self) {
        // The sender lives as long as `self`.
        let _ = self.broken.subscribe().wait_for(Option::is_some).await;
    }
}
