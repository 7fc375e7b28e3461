//! All processes of one simulation: who is alive, and how they are connected.

use std::sync::{Arc, Mutex};

use downbeat_core::{
    id::ReplicaNo,
    session::{AgentDeclaration, WorkerDeclaration},
};
use downbeat_store::Store;

use super::{
    World,
    process::{Process, lock},
    server::{self, Server},
    wire::Cable,
    worker::Worker,
};

/// What agents are called. The worker in the first place can do everything, so nothing is missing for ever.
pub const AGENTS: [&str; 4] = ["survey", "build", "check", "write"];
/// Tags of agents, some of which share them.
pub const TAGS: [&str; 3] = ["rust", "docs", "fast"];

/// The processes.
pub struct Cluster {
    pub world: Arc<World>,
    pub store: Arc<dyn Store>,
    servers: Mutex<Vec<Option<Server>>>,
    workers: Mutex<Vec<Option<Arc<Process>>>>,
    plugs: Mutex<Vec<Plug>>,
}

/// A stream that may be up.
struct Plug {
    worker: usize,
    replica: ReplicaNo,
    cable: Cable,
}

impl Cluster {
    /// No processes yet.
    pub fn new(world: Arc<World>, store: Arc<dyn Store>) -> Arc<Cluster> {
        let replicas = usize::try_from(world.settings.replicas).unwrap_or(1);
        let workers = usize::try_from(world.settings.workers).unwrap_or(1);
        Arc::new(Cluster {
            world,
            store,
            servers: Mutex::new(std::iter::repeat_with(|| None).take(replicas).collect()),
            workers: Mutex::new(vec![None; workers]),
            plugs: Mutex::default(),
        })
    }

    /// Starts everything, and starts again what dies.
    pub fn launch(self: &Arc<Cluster>) {
        for place in 0..lock(&self.servers).len() {
            tokio::spawn(Arc::clone(self).keep_replica(place));
        }
        for place in 0..lock(&self.workers).len() {
            tokio::spawn(Arc::clone(self).keep_worker(place));
        }
    }

    async fn keep_replica(self: Arc<Cluster>, place: usize) {
        loop {
            self.world.pause(0, 500).await;
            let Ok(server) = server::start(&self.world, &self.store).await else { continue };
            let process = Arc::clone(&server.process);
            self.put(place, Some(server));
            process.death().await;
            self.put(place, None);
            self.world.pause(100, 4_000).await;
        }
    }

    async fn keep_worker(self: Arc<Cluster>, place: usize) {
        let declaration = Arc::new(self.declare(place));
        loop {
            let process = Process::new(&self.world);
            let worker = Worker::new(Arc::clone(&self), place, Arc::clone(&declaration));
            process.spawn(worker.run());
            if let Some(slot) = lock(&self.workers).get_mut(place) {
                *slot = Some(Arc::clone(&process));
            }
            process.death().await;
            self.world.pause(100, 4_000).await;
        }
    }

    fn declare(&self, place: usize) -> WorkerDeclaration {
        self.world.draw(|rng| {
            let mut agents = Vec::new();
            let first = usize::try_from(rng.below(AGENTS.len() as u64)).unwrap_or(0);
            for (i, name) in AGENTS.iter().cycle().skip(first).take(AGENTS.len()).enumerate() {
                if place > 0 && i > 0 && rng.coin() {
                    continue;
                }
                let capabilities =
                    TAGS.iter().filter(|_| place == 0 || rng.coin()).map(|tag| (*tag).to_owned()).collect();
                let sla_ms =
                    rng.per_mille(200).then(|| u32::try_from(rng.between(5_000, 30_000)).unwrap_or(0));
                let silence =
                    rng.per_mille(300).then(|| u32::try_from(rng.between(3_000, 10_000)).unwrap_or(0));
                agents.push(AgentDeclaration {
                    name: (*name).to_owned(),
                    capabilities,
                    sla_ms,
                    progress_timeout_ms: silence,
                    ..AgentDeclaration::default()
                });
            }
            let slots = u32::try_from(rng.between(1, 4)).unwrap_or(1);
            WorkerDeclaration { worker: format!("w{place}"), agents, slots, ..WorkerDeclaration::default() }
        })
    }

    fn put(&self, place: usize, server: Option<Server>) {
        if let Some(slot) = lock(&self.servers).get_mut(place) {
            *slot = server;
        }
    }

    /// Some replica that lives.
    pub fn pick(&self) -> Option<Server> {
        let alive: Vec<Server> = lock(&self.servers).iter().flatten().cloned().collect();
        self.world.draw(|rng| rng.pick(&alive).cloned())
    }

    /// Some worker's process.
    pub fn pick_worker(&self) -> Option<(usize, Arc<Process>)> {
        let alive: Vec<(usize, Arc<Process>)> = lock(&self.workers)
            .iter()
            .enumerate()
            .filter_map(|(place, process)| Some((place, Arc::clone(process.as_ref()?))))
            .filter(|(_, process)| process.is_alive())
            .collect();
        self.world.draw(|rng| rng.pick(&alive).cloned())
    }

    /// A worker's stream is up, in place of its last one.
    pub fn plug(&self, worker: usize, server: &Server, cable: &Cable) {
        let mut plugs = lock(&self.plugs);
        plugs.retain(|plug| plug.worker != worker);
        plugs.push(Plug { worker, replica: server.replica, cable: cable.clone() });
    }

    /// The streams of a worker, or to a replica.
    pub fn cables(&self, worker: Option<usize>, replica: Option<ReplicaNo>) -> Vec<Cable> {
        lock(&self.plugs)
            .iter()
            .filter(|plug| {
                worker.is_none_or(|w| plug.worker == w) && replica.is_none_or(|r| plug.replica == r)
            })
            .map(|plug| plug.cable.clone())
            .collect()
    }
}
