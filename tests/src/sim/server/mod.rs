//! A simulated control plane process: the real `Replica` and `Docs`, and around them the glue that production
//! has in files of the same names. The glue is modelled with the same inputs in the same order; where it
//! differs from production on purpose, the comment begins with `DIFFERS`.

pub mod calls;
mod committer;
pub mod face;
mod registry;
mod ticker;

use std::sync::{Arc, Mutex};

use downbeat_core::id::{ReplicaNo, RouteNo};
use downbeat_server::{docs::Docs, replica::Replica};
use downbeat_store::{Store, StoreError};
use tokio::sync::mpsc;

use self::{
    committer::{Committer, Input},
    registry::Registry,
    ticker::{Ticker, listen},
};
use super::{World, faults::FaultyStore, process::Process};

/// Waiting inputs; senders wait when it is full.
const INBOX_MAX: usize = 4_096;
/// Hints waiting to be looked at.
const HINTS_MAX: usize = 1_024;

/// A handle on one running replica.
#[derive(Clone)]
pub struct Engine {
    pub world: Arc<World>,
    pub process: Arc<Process>,
    pub replica: ReplicaNo,
    inbox: mpsc::Sender<Input>,
    store: Arc<dyn Store>,
    docs: Arc<Docs>,
    registry: Arc<Mutex<Registry>>,
}

/// Starts a replica in a process of its own.
///
/// # Errors
/// The store's: it does not start then.
pub async fn start(world: &Arc<World>, store: &Arc<dyn Store>) -> Result<Engine, StoreError> {
    let process = Process::new();
    let faulty = FaultyStore::new(Arc::clone(store), Arc::clone(world), Arc::clone(&process));
    let store: Arc<dyn Store> = Arc::new(faulty);
    let replica = store.join().await?;
    let routes = store.routes_after(RouteNo(0)).await?;
    let registry = Arc::<Mutex<Registry>>::default();
    super::process::lock(&registry).read_routes(&routes);
    let settings = &world.settings;
    let mut state = Replica::new(replica, settings.policy.clone(), settings.liveness);
    state.learn_routes(routes);

    let (inbox, inputs) = mpsc::channel(INBOX_MAX);
    let (hints, hinted) = mpsc::channel(HINTS_MAX);
    let docs = Arc::<Docs>::default();
    let started = tokio::time::Instant::now();
    let committer =
        Committer::new(Arc::clone(world), state, Arc::clone(&store), Arc::clone(&docs), hints, started);
    let ticker = Ticker::new(
        Arc::clone(world),
        replica,
        Arc::clone(&store),
        Arc::clone(&registry),
        inbox.clone(),
        started,
    );
    process.spawn(committer.run(inputs));
    process.spawn(ticker.run(hinted));
    process.spawn(listen(replica, Arc::clone(&store), inbox.clone()));
    world.note(|| format!("replica {replica} serves"));
    let (world, process) = (Arc::clone(world), Arc::clone(&process));
    Ok(Engine { world, process, replica, inbox, store, docs, registry })
}
