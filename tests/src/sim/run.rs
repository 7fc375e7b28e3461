//! One seed from its beginning to its end.

use std::{sync::Arc, time::Duration};

use downbeat_core::session::SessionState;
use downbeat_store::{SqliteStore, Store};
use tokio::time::{sleep, sleep_until, timeout};

use super::{
    Plant, Tally, World,
    client::Client,
    cluster::Cluster,
    database::{Database, Quirks},
    log,
    schedules::Scheduler,
    storm,
    weather::Settings,
    workflows,
};

/// Once it is calm, every task must be final within this time.
const HEAL_MS: u64 = 5 * 60_000;
/// Replicas find everything that is left within so many ticks.
const SETTLE_TICKS: u64 = 15;
/// Idle replicas are watched for so long.
const IDLE_TICKS: u64 = 20;

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub tally: Tally,
    /// The same for every run of the seed.
    pub digest: u64,
    /// What did not hold, if anything.
    pub broken: Option<String>,
    /// Filled when it was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed, over the map-backed store or over SQLite, perhaps with a planted bug.
pub fn run(seed: u64, sqlite: bool, plant: Option<Plant>, traced: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(seed, format!("no runtime: {error}")),
    };
    let outcome = runtime.block_on(simulate(Settings::draw(seed, sqlite, plant), traced));
    runtime.shutdown_background();
    outcome
}

fn failed(seed: u64, why: String) -> Outcome {
    Outcome { seed, tally: Tally::default(), digest: 0, broken: Some(why), trace: Vec::new() }
}

async fn simulate(settings: Settings, traced: bool) -> Outcome {
    let seed = settings.seed;
    let world = World::new(settings, traced);
    let _logs = log::listen(&world);
    world.note(|| format!("{:#?}", world.settings));
    let store: Arc<dyn Store> = if world.settings.sqlite {
        match SqliteStore::memory(world.clock()) {
            Ok(store) => Arc::new(store),
            Err(error) => return failed(seed, format!("no database: {error}")),
        }
    } else {
        let quirks =
            Quirks { lawless: world.has(Plant::NoLocks), routes_out_of_order: seed.is_multiple_of(3) };
        Arc::new(Database::with(world.clock(), quirks))
    };
    if let Err(error) = workflows::keep(&*store).await {
        return failed(seed, format!("no workflows: {error}"));
    }
    let cluster = Cluster::new(Arc::clone(&world), Arc::clone(&store));
    tokio::select! {
        biased;
        () = world.until_broken() => {}
        () = live(&cluster) => {}
    }
    if world.broken().is_none() {
        world.audit(|auditor| auditor.close(&*store));
    }
    let (digest, ends) = world.audit(|auditor| (auditor.digest(), auditor.ends()));
    let tally = Tally {
        inner: ends.inner,
        lost: ends.lost,
        timed_out: ends.timed_out,
        returned: ends.returned,
        expired: ends.expired,
        scheduled: ends.scheduled,
        ..world.tally()
    };
    Outcome { seed, tally, digest, broken: world.broken(), trace: world.trace() }
}

async fn live(cluster: &Arc<Cluster>) {
    let world = &cluster.world;
    cluster.launch();
    storm::begin(cluster);
    let mut clients = tokio::task::JoinSet::new();
    for place in 0..world.settings.tasks {
        clients.spawn(Client::new(Arc::clone(cluster), place).run());
    }
    for place in 0..world.settings.schedules {
        clients.spawn(Scheduler::new(Arc::clone(cluster), place).run());
    }
    sleep(Duration::from_millis(world.settings.storm_ms)).await;
    world.calm_down();
    world.note(|| "calm".to_owned());
    sleep(Duration::from_millis(world.settings.swell_ms)).await;
    world.calm_store_down();
    world.note(|| "the database is calm too".to_owned());
    let all = async { while clients.join_next().await.is_some() {} };
    if timeout(Duration::from_millis(HEAL_MS), all).await.is_err() {
        let stuck = world.audit(|auditor| auditor.unfinished());
        world.fail(format!("not over {HEAL_MS} ms after the storm:\n{stuck}"));
        return;
    }
    check_idle(cluster).await;
}

/// Nothing is left over, and nobody is busy with nothing.
async fn check_idle(cluster: &Arc<Cluster>) {
    let world = &cluster.world;
    let left = world.audit(|auditor| auditor.current_leases());
    if !left.is_empty() {
        world.fail(format!("every task is over, and leases are left: {left:?}"));
    }
    // What waits for people, a signal or a time is no reason to be busy.
    Client::park(Arc::clone(cluster)).await;
    let settings = &world.settings;
    let lapse_ms = settings.liveness.lease_ms + settings.policy.grace_ms + settings.dead_after_ms;
    sleep_until(world.troubled_until()).await;
    sleep(Duration::from_millis(lapse_ms + SETTLE_TICKS * settings.tick_ms)).await;
    let (sessions, workers) = (world.audit(|auditor| auditor.sessions_by_state()), settings.workers);
    if sessions.len() as u64 != workers || sessions.iter().any(|(_, state)| *state != SessionState::Open) {
        world.fail(format!("{workers} workers are connected, and sessions are {sessions:?}"));
    }
    let before = world.tally().queries;
    sleep(Duration::from_millis(IDLE_TICKS * settings.tick_ms)).await;
    let queries = world.tally().queries - before;
    // One look with each tick, one more at times; ticks come up to a tenth early.
    let most = (IDLE_TICKS * 3 / 2 + 2) * settings.replicas;
    if queries > most {
        world.fail(format!(
            "{queries} queries of idle replicas in {IDLE_TICKS} ticks, at most {most} expected"
        ));
    }
}
