//! The faults: what each is called, what it happens to, and what happens. A strike lasts from the beginning of
//! the fault to its end; `round` says for the how manieth time it is done.

use std::time::Duration;

use downbeat_sdk::{Plan, SubmitTask, Subtask};
use downbeat_tests::harness::{Wire, process::Signal, until};
use futures::future::{BoxFuture, FutureExt};
use serde_json::json;
use tokio_postgres::NoTls;

use super::{
    load::AGENT,
    site::{COUNT, Ground, Site},
};

/// On a delayed wire, each way.
const DELAY: Duration = Duration::from_millis(300);
/// How often connections are broken at once, to meet commits at different places.
const CUTS: usize = 5;
const TEN_MINUTES: i64 = 600;

pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) ground: Ground,
    /// Whether the SDK's own retries have to hide it from clients.
    pub(super) hidden: bool,
    pub(super) strike: Strike,
}

type Strike = for<'a> fn(&'a mut Site, usize) -> BoxFuture<'a, ()>;

const fn fault(name: &'static str, ground: Ground, strike: Strike) -> Fault {
    Fault { name, ground, hidden: false, strike }
}

const fn hidden(name: &'static str, ground: Ground, strike: Strike) -> Fault {
    Fault { name, ground, hidden: true, strike }
}

/// The longest first: short forms run side by side.
pub(super) const FAULTS: &[Fault] = &[
    hidden("worker link silent", Ground::Shared, |site, round| {
        async move {
            let wires = &site.worker_wires[round % COUNT];
            wires.iter().for_each(Wire::freeze);
            site.gives_up_a_worker().await;
            wires.iter().for_each(Wire::mend);
        }
        .boxed()
    }),
    fault("database link half-open", Ground::Wired, |site, round| {
        async move { site.database_wires[round % COUNT].forget() }.boxed()
    }),
    hidden("worker frozen", Ground::Shared, |site, round| {
        async move {
            site.workers[round % COUNT].freeze();
            site.gives_up_a_worker().await;
            site.workers[round % COUNT].thaw();
        }
        .boxed()
    }),
    hidden("worker link half-open", Ground::Shared, |site, round| {
        async move { site.worker_wires[round % COUNT].iter().for_each(Wire::forget) }.boxed()
    }),
    hidden("worker link cut", Ground::Shared, |site, round| {
        async move {
            let wires = &site.worker_wires[round % COUNT];
            wires.iter().for_each(Wire::cut);
            site.gives_up_a_worker().await;
            wires.iter().for_each(Wire::mend);
        }
        .boxed()
    }),
    fault("replica frozen", Ground::Shared, |site, round| {
        async move {
            site.replicas[round % COUNT].process().signal(Signal::Stop);
            site.goes_on_meanwhile().await;
            site.replicas[round % COUNT].process().signal(Signal::Continue);
        }
        .boxed()
    }),
    hidden("worker killed", Ground::Shared, |site, round| {
        async move { site.replace_worker(round % COUNT) }.boxed()
    }),
    hidden("replica killed", Ground::Shared, |site, round| {
        async move { site.replicas[round % COUNT].restart().await }.boxed()
    }),
    hidden("rolling restart", Ground::Shared, |site, _| rolling_restart(site).boxed()),
    fault("database killed", Ground::Own, |site, _| {
        async move {
            site.servers[0].kill();
            site.loses_its_database().await;
            tokio::task::block_in_place(|| site.servers[0].restart());
        }
        .boxed()
    }),
    fault("database restarted", Ground::Own, |site, _| {
        async move {
            tokio::task::block_in_place(|| {
                site.servers[0].stop();
                site.servers[0].restart();
            });
        }
        .boxed()
    }),
    fault("failover to a standby", Ground::Pair, |site, round| failover(site, round).boxed()),
    fault("connections terminated", Ground::Shared, |site, _| {
        async move {
            for _ in 0..CUTS {
                site.goes_on(1).await;
                Guest::new(&site.url).await.expect("a connection").terminate_others().await;
            }
        }
        .boxed()
    }),
    fault("connections exhausted", Ground::Crowded, |site, _| exhaust_connections(site).boxed()),
    fault("database link cut", Ground::Wired, |site, _| {
        async move {
            for _ in 0..CUTS {
                site.goes_on(1).await;
                // Whether the commits that are under way took place, nobody can know.
                site.database_wires.iter().for_each(Wire::cut);
                site.database_wires.iter().for_each(Wire::mend);
            }
        }
        .boxed()
    }),
    hidden("worker link delayed", Ground::Shared, |site, round| {
        async move {
            let wires = &site.worker_wires[round % COUNT];
            wires.iter().for_each(|wire| wire.slow(DELAY));
            site.goes_on_meanwhile().await;
            wires.iter().for_each(Wire::mend);
        }
        .boxed()
    }),
    hidden("clock 10 min ahead", Ground::Clocks, |site, round| wrong_clock(site, round, TEN_MINUTES).boxed()),
    hidden("clock 10 min behind", Ground::Clocks, |site, round| {
        wrong_clock(site, round, -TEN_MINUTES).boxed()
    }),
    fault("disk full", Ground::SmallDisk, |site, round| fill_disk(site, round).boxed()),
];

async fn rolling_restart(site: &mut Site) {
    for _ in 0..COUNT {
        let replica = site.replicas.remove(0);
        site.replicas.push(replica.replace().await);
        site.is_ready().await;
    }
}

async fn failover(site: &mut Site, round: usize) {
    let (primary, standby) = (round % 2, 1 - round % 2);
    tokio::task::block_in_place(|| {
        let mut old = site.servers.remove(standby);
        if !old.runs() {
            old.follow(&site.servers[0]);
        }
        site.servers.insert(standby, old);
    });
    site.goes_on(1).await;
    tokio::task::block_in_place(|| {
        site.servers[primary].kill();
        site.servers[standby].promote();
    });
}

async fn wrong_clock(site: &mut Site, round: usize, off: i64) {
    let (right, wrong) = (&site.clocks[(round + 1) % COUNT], &site.clocks[round % COUNT]);
    wrong.set(&format!("{off:+}"));
    let seen = wrong.seconds() - right.seconds();
    assert!((seen - off).abs() < TEN_MINUTES / 2, "the clock is {seen} s off, and not {off}");
    site.goes_on_meanwhile().await;
    wrong.set("+0");
}

/// Somebody else's connection to the database.
struct Guest {
    client: tokio_postgres::Client,
    driver: tokio::task::JoinHandle<()>,
}

impl Guest {
    async fn new(url: &str) -> Result<Guest, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Guest { client, driver })
    }

    /// Ends all connections of replicas to this database; gives how many there were.
    async fn terminate_others(&self) -> i64 {
        let statement = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                         where datname = current_database() and application_name = 'downbeat'";
        self.client.query_one(statement, &[]).await.expect("a superuser's wish").get(0)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Takes every connection that the server gives.
async fn exhaust_connections(site: &mut Site) {
    let mut guests = vec![Guest::new(&site.url).await.expect("a first connection")];
    loop {
        while let Ok(guest) = Guest::new(&site.url).await {
            guests.push(guest);
        }
        if guests[0].terminate_others().await == 0 {
            break;
        }
    }
    site.loses_its_database().await;
}

/// Fills the disk until a task is refused because of it.
async fn fill_disk(site: &mut Site, round: usize) {
    let impatient = site.replicas[round % COUNT].impatient_client();
    let large = json!("x".repeat(250_000));
    let mut n = 0;
    until("the disk is full", || {
        site.servers[0].fill_disk();
        n += 1;
        let name = format!("large-{round}-{n}");
        let plan = Plan::new().subtask(Subtask::new("only").agent(AGENT).input(&large));
        let task = SubmitTask::new(&name).title("large").plan(plan);
        let (load, impatient) = (&site.load, impatient.clone());
        async move { load.ask(&impatient, task, &name).await.err() }
    })
    .await;
    tokio::task::block_in_place(|| site.servers[0].free_disk());
}
