//! What happens to the processes and the network while the storm lasts.

use std::{sync::Arc, time::Duration};

use downbeat_server::engine::Engine;
use tokio::time::{Instant, sleep};

use super::{World, cluster::Cluster, process::Process, server::TENANT, weather::Weather};

/// A peer that does not answer pings is given up after so long (HTTP/2 keepalive).
const KEEPALIVE_MS: u64 = 20_000;

/// The longest a process is frozen.
const FREEZE_MS_MAX: u64 = 45_000;

/// Starts every kind of trouble that this seed has.
pub(super) fn begin(cluster: &Arc<Cluster>) {
    trouble(cluster, |weather| weather.outage_every_ms, outage);
    trouble(cluster, |weather| weather.crash_every_ms, crash_replica);
    trouble(cluster, |weather| weather.freeze_every_ms, freeze_replica);
    trouble(cluster, |weather| weather.cut_every_ms, cut);
    trouble(cluster, |weather| weather.worker_crash_every_ms, crash_worker);
    trouble(cluster, |weather| weather.worker_freeze_every_ms, freeze_worker);
    trouble(cluster, |weather| weather.clock_jump_every_ms, jump_clock);
    let drain_every_ms = cluster.world.settings.habits.drain_every_ms;
    if drain_every_ms > 0 {
        tokio::spawn(drain(Arc::clone(cluster), drain_every_ms));
    }
}

fn trouble(cluster: &Arc<Cluster>, every_ms: fn(&Weather) -> u64, strike: fn(&Arc<Cluster>)) {
    let every_ms = every_ms(&cluster.world.settings.weather);
    if every_ms == 0 {
        return;
    }
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        loop {
            cluster.world.pause(every_ms / 4, every_ms * 7 / 4).await;
            if cluster.world.is_calm() {
                return;
            }
            strike(&cluster);
        }
    });
}

fn ms(world: &World, low: u64, high: u64) -> Duration {
    Duration::from_millis(world.draw(|rng| rng.between(low, high)))
}

fn outage(cluster: &Arc<Cluster>) {
    let world = &cluster.world;
    let lasts = if world.draw(|rng| rng.coin()) { ms(world, 50, 2_000) } else { ms(world, 1_000, 20_000) };
    world.note(|| format!("the database is away for {lasts:?}"));
    world.take_database_away(Instant::now() + lasts);
}

fn crash_replica(cluster: &Arc<Cluster>) {
    let Some(server) = cluster.pick() else { return };
    cluster.world.count(|tally| tally.crashes += 1);
    if cluster.world.draw(|rng| rng.coin()) {
        cluster.world.note(|| format!("replica {} is killed", server.replica));
        server.process.kill();
    } else {
        cluster.world.note(|| format!("replica {} is shut down", server.replica));
        tokio::spawn(server.leave());
    }
}

fn freeze_replica(cluster: &Arc<Cluster>) {
    let Some(server) = cluster.pick() else { return };
    let world = &cluster.world;
    let lasts = ms(world, 500, FREEZE_MS_MAX);
    world.note(|| format!("replica {} is frozen for {lasts:?}", server.replica));
    world.count(|tally| tally.freezes += 1);
    freeze(world, &server.process, lasts);
    let cables = cluster.cables(None, Some(server.replica));
    give_up(lasts, cables, true);
}

fn freeze_worker(cluster: &Arc<Cluster>) {
    let Some((place, process)) = cluster.pick_worker() else { return };
    let world = &cluster.world;
    let lasts = ms(world, 500, FREEZE_MS_MAX);
    world.note(|| format!("worker {place} is frozen for {lasts:?}"));
    world.count(|tally| tally.freezes += 1);
    freeze(world, &process, lasts);
    give_up(lasts, cluster.cables(Some(place), None), false);
}

fn freeze(world: &World, process: &Process, lasts: Duration) {
    let until = Instant::now() + lasts;
    process.freeze(until);
    world.trouble_until(until);
}

/// The other side gives a frozen peer up, if it is frozen for long enough; the peer learns of it thawed.
fn give_up(lasts: Duration, cables: Vec<super::wire::Cable>, server_is_frozen: bool) {
    let patience = Duration::from_millis(KEEPALIVE_MS);
    let Some(rest) = lasts.checked_sub(patience) else { return };
    tokio::spawn(async move {
        sleep(patience).await;
        let rest = u64::try_from(rest.as_millis()).unwrap_or(0);
        let (worker_ms, server_ms) = if server_is_frozen { (0, rest) } else { (rest, 0) };
        cables.iter().for_each(|cable| cable.cut(worker_ms, server_ms));
    });
}

fn cut(cluster: &Arc<Cluster>) {
    let Some((place, _)) = cluster.pick_worker() else { return };
    let world = &cluster.world;
    // Both at once (a reset), or each in its own time (a cable).
    let notice = |world: &World| {
        world.draw(|rng| if rng.coin() { rng.between(0, 50) } else { rng.between(0, KEEPALIVE_MS) })
    };
    let (worker_ms, server_ms) = (notice(world), notice(world));
    world.trouble_until(Instant::now() + Duration::from_millis(worker_ms.max(server_ms)));
    world.note(|| {
        format!("the stream of worker {place} is cut; noticed after {worker_ms} and {server_ms} ms")
    });
    world.count(|tally| tally.cuts += 1);
    cluster.cables(Some(place), None).iter().for_each(|cable| cable.cut(worker_ms, server_ms));
}

fn crash_worker(cluster: &Arc<Cluster>) {
    if let Some((place, process)) = cluster.pick_worker() {
        cluster.world.note(|| format!("worker {place} is killed"));
        cluster.world.count(|tally| tally.crashes += 1);
        process.kill();
    }
}

fn jump_clock(cluster: &Arc<Cluster>) {
    let by = i64::try_from(cluster.world.draw(|rng| rng.between(0, 40_000))).unwrap_or(0) - 20_000;
    cluster.world.note(|| format!("the database's clock jumps by {by} ms"));
    cluster.world.jump_clock(by);
}

/// An operator drains workers.
async fn drain(cluster: Arc<Cluster>, every_ms: u64) {
    loop {
        cluster.world.pause(every_ms / 4, every_ms * 7 / 4).await;
        if cluster.world.is_calm() {
            return;
        }
        let sessions = cluster.world.audit(|auditor| auditor.open_sessions());
        let session = cluster.world.draw(|rng| rng.pick(&sessions).copied());
        if let (Some(server), Some(session)) = (cluster.pick(), session) {
            cluster.world.note(|| format!("session {session} is to drain"));
            let drain = move |engine: Engine| async move { engine.drain_worker(TENANT, session).await };
            let _ = server.call(drain).await;
        }
    }
}
