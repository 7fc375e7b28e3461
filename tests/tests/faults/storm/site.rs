//! What a storm breaks over: three replicas of the real binary on a Postgres, three stock workers that reach them
//! by wires, and the load. Nothing here does any harm.

use downbeat_sdk::{
    Client,
    proto::{TaskStatus, Worker, WorkerState},
};
use downbeat_tests::{
    harness::{ControlPlane, Database, Notes, WallClock, Wire, WorkerProcess, control_plane, served, until},
    postgres::Postgres,
};
use futures::future::{join_all, try_join_all};

use super::{
    Form,
    load::{AGENT, Load},
};

/// Replicas, and as many workers. Each worker prefers another replica and knows all of them.
pub(super) const COUNT: usize = 3;
const SLOTS: usize = 4;
/// What an attempt takes, so that some are under way whenever something happens.
const WORK: &str = "sleep 0.05";
/// Few: what a storm is about to use up.
const FEW_CONNECTIONS: &str = "max_connections=30";
const SMALL_DISK: &str = "256m";

/// What the site stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// A database on the server that all tests share.
    Shared,
    /// A server of its own.
    Own,
    /// One that gives out few connections.
    Crowded,
    /// One with a standby that has everything it acknowledges.
    Pair,
    /// One on a disk of its own.
    SmallDisk,
    /// A wire from each replica to the database.
    Wired,
    /// A wall clock for each replica.
    Clocks,
}

pub(super) struct Site {
    /// Empty when the server is everybody's.
    pub(super) servers: Vec<Postgres>,
    /// For whoever wants to talk to the database past the wires.
    pub(super) url: String,
    pub(super) database_wires: Vec<Wire>,
    pub(super) clocks: Vec<WallClock>,
    pub(super) replicas: Vec<ControlPlane>,
    /// Of each worker, to each replica.
    pub(super) worker_wires: Vec<Vec<Wire>>,
    pub(super) workers: Vec<WorkerProcess>,
    pub(super) notes: Notes,
    pub(super) load: Load,
    form: Form,
}

/// What was seen at the end.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) accepted: usize,
    pub(super) finished: usize,
    pub(super) lost: usize,
    pub(super) doubled: usize,
    /// What clients were told beyond the SDK's own retries.
    pub(super) errors: Vec<String>,
    pub(super) wrong: Vec<String>,
}

impl Site {
    pub(super) async fn build(ground: Ground, form: Form) -> Site {
        let servers = tokio::task::block_in_place(|| servers(ground));
        let url = match &servers[..] {
            [] => Postgres::shared().create_database(),
            [first, others @ ..] => {
                let url = first.create_database();
                let name = url.rsplit('/').next().expect("a name");
                let all: Vec<&Postgres> = [first].into_iter().chain(others).collect();
                Postgres::url_of(&all, &format!("{name}?target_session_attrs=read-write"))
            }
        };
        let mut database_wires = Vec::new();
        let mut clocks = Vec::new();
        let mut replicas = Vec::new();
        for _ in 0..COUNT {
            let plain = Database::Postgres(url.clone());
            replicas.push(match ground {
                Ground::Wired => {
                    let (database, wire) = Database::behind_wire(&url).await;
                    database_wires.push(wire);
                    ControlPlane::start(&database).await
                }
                Ground::Clocks => {
                    let clock = WallClock::new();
                    let replica = ControlPlane::start_wrapped(clock.wrapper(), &plain).await;
                    assert!(WallClock::rules(replica.process()), "the replica lives by a clock of ours");
                    clocks.push(clock);
                    replica
                }
                _ => ControlPlane::start(&plain).await,
            });
        }
        let urls: Vec<&str> = replicas.iter().map(|replica| replica.grpc.as_str()).collect();
        let notes = Notes::new();
        let mut worker_wires: Vec<Vec<Wire>> = Vec::new();
        for first in 0..COUNT {
            let turned = (0..COUNT).map(|i| Wire::to(urls[(first + i) % COUNT]));
            worker_wires.push(join_all(turned).await);
        }
        let workers = worker_wires.iter().map(|wires| worker(wires, &notes)).collect();
        let load = Load::start(&urls, form.pace);
        let site =
            Site { servers, url, database_wires, clocks, replicas, worker_wires, workers, notes, load, form };
        served(&site.client(), AGENT).await;
        site
    }

    /// A patient client of all replicas.
    pub(super) fn client(&self) -> Client {
        let urls: Vec<&str> = self.replicas.iter().map(|replica| replica.grpc.as_str()).collect();
        control_plane::client(&urls.join(","))
    }

    /// Kills a worker and starts another one in its place.
    pub(super) fn replace_worker(&mut self, at: usize) {
        self.workers[at].kill();
        self.workers[at] = worker(&self.worker_wires[at], &self.notes);
    }

    /// Waits until so many more tasks have ended.
    pub(super) async fn goes_on(&self, tasks: usize) {
        let due = self.load.sight().ends() + tasks;
        let end = |event: &downbeat_sdk::proto::Event| downbeat_sdk::is_final(event.task_status());
        self.load.sight().counts("tasks end", due, end).await;
    }

    /// As long as something shall be wrong.
    pub(super) async fn goes_on_meanwhile(&self) {
        self.goes_on(self.form.meanwhile).await;
    }

    /// Waits until no replica can reach the database.
    pub(super) async fn loses_its_database(&self) {
        for replica in &self.replicas {
            let http = replica.http();
            until("a replica misses its database", || async {
                (http.get("/readyz").await.status == 503).then_some(())
            })
            .await;
        }
    }

    /// Waits until one of the workers is given up: its session and all its leases are gone.
    pub(super) async fn gives_up_a_worker(&self) {
        let client = self.client();
        until("a worker is given up", || async {
            let sessions = client.workers(AGENT).await.ok()?;
            (sessions.iter().filter(|session| lives(session)).count() < COUNT).then_some(())
        })
        .await;
    }

    /// Waits until exactly the workers that run have sessions, and these are connected.
    pub(super) async fn is_whole(&self) -> Vec<Worker> {
        let client = self.client();
        until("all workers are connected, and nobody else", || async {
            let sessions = client.workers(AGENT).await.ok()?;
            let connected =
                sessions.iter().filter(|session| session.state() == WorkerState::Connected).count();
            (connected == COUNT && sessions.len() == COUNT).then_some(sessions)
        })
        .await
    }

    /// Waits until all replicas reach the database.
    pub(super) async fn is_ready(&self) {
        let ready = self.replicas.iter().map(|replica| async move {
            let http = replica.http();
            until("a replica is ready", || async { (http.get("/readyz").await.status == 200).then_some(()) })
                .await;
            Ok::<(), ()>(())
        });
        let _ = try_join_all(ready).await;
    }

    /// Ends the load, and judges what came of it by what clients and workers saw.
    pub(super) async fn end(self) -> Outcome {
        // Its last tasks are under way until the watcher has seen them end.
        let client = self.client();
        let told = self.load.stop().await;
        let verdict = told.watcher.judge(&self.notes).await;
        let mut wrong = verdict.wrong;
        for task in &verdict.tasks {
            let failures = task.metrics.map_or(0, |metrics| metrics.failures);
            if task.status() != TaskStatus::Completed || failures > 0 {
                let status = task.status().as_str_name();
                wrong.push(format!("{} is {status} after {failures} failures, nobody's fault", task.task_id));
            }
        }
        // Every lease was seen to end. Sessions that are no more hold none, and the others hold none either.
        until("no session holds a lease", || async {
            let sessions = client.workers(AGENT).await.ok()?;
            let idle = sessions.iter().all(|session| session.busy == 0);
            (idle && sessions.len() == COUNT).then_some(())
        })
        .await;
        Outcome {
            accepted: told.accepted,
            finished: verdict.tasks.len(),
            lost: verdict.lost.len(),
            doubled: verdict.doubled.len(),
            errors: told.errors,
            wrong,
        }
    }
}

fn lives(session: &Worker) -> bool {
    matches!(session.state(), WorkerState::Connected | WorkerState::Detached | WorkerState::Draining)
}

fn worker(wires: &[Wire], notes: &Notes) -> WorkerProcess {
    let urls: Vec<String> = wires.iter().map(Wire::url).collect();
    WorkerProcess::start(&urls.join(","), AGENT, SLOTS, notes, WORK)
}

fn servers(ground: Ground) -> Vec<Postgres> {
    match ground {
        Ground::Shared | Ground::Wired | Ground::Clocks => Vec::new(),
        Ground::Own => vec![Postgres::start()],
        Ground::Crowded => vec![Postgres::start_with(&[FEW_CONNECTIONS])],
        Ground::Pair => {
            let primary = Postgres::start();
            let standby = primary.standby();
            vec![primary, standby]
        }
        Ground::SmallDisk => vec![Postgres::start_on_small_disk(SMALL_DISK)],
    }
}
