//! A replica's process without its sockets: what shares its memory, and the loops that run in it. Who starts it
//! decides where the loops run; the simulation runs the same ones over virtual time.

use std::sync::Arc;

use downbeat_core::{
    guard::Rule,
    id::{ReplicaNo, RouteNo},
};
use downbeat_store::{Store, StoreError};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    committer::{Aside, Committer, INBOX_MAX},
    config::Config,
    docs::Docs,
    engine::Engine,
    nesting,
    planner::Planner,
    registry::Registry,
    replica::Replica,
    schedule::{self, Upcoming},
    ticker::{HINTS_MAX, Ticker, listen},
    watch::Watch,
};

/// What a replica's process is made of.
pub struct Process {
    pub replica: ReplicaNo,
    /// For the faces.
    pub engine: Engine,
    /// Decides every change. Ends when `stop_committer` is cancelled.
    pub committer: BoxFuture<'static, ()>,
    /// Looks around. Ends when it is dropped.
    pub ticker: BoxFuture<'static, ()>,
    /// Fires what is due by schedules. Ends when it is dropped.
    pub schedules: BoxFuture<'static, ()>,
    /// Hears the other replicas. Ends when it is dropped.
    pub listener: BoxFuture<'static, ()>,
    /// Sees to tasks within tasks. Ends when it is dropped.
    pub nester: BoxFuture<'static, ()>,
    /// Ends workers' streams, and whatever else serves.
    pub stop_faces: CancellationToken,
    pub stop_committer: CancellationToken,
}

/// Joins the others on this store, and puts a process together. Nothing of it runs yet.
///
/// # Errors
/// The store's.
pub async fn assemble(
    config: Config,
    store: Arc<dyn Store>,
    planner: Arc<dyn Planner>,
    approvals: Arc<[Rule]>,
) -> Result<Process, StoreError> {
    let replica = store.join().await?;
    let clock = Clock::start();
    let (inbox, inputs) = mpsc::channel(INBOX_MAX);
    let (hints, hinted) = mpsc::channel(HINTS_MAX);
    let (nestings, asked) = mpsc::channel(nesting::ASKED_MAX);
    let (docs, watch) = (Arc::<Docs>::default(), Arc::<Watch>::default());
    let registry = Arc::new(Registry::new(clock));
    let routes = store.routes_after(RouteNo(0)).await?;
    registry.read_routes(&routes);
    let mut state = Replica::new(replica, config.policy.clone(), config.liveness);
    state.learn_routes(routes);

    let (stop_faces, stop_committer) = (CancellationToken::new(), CancellationToken::new());
    let engine = Engine {
        inbox: inbox.clone(),
        store: Arc::clone(&store),
        docs: Arc::clone(&docs),
        registry: Arc::clone(&registry),
        watch: Arc::clone(&watch),
        planner,
        replica,
        policy: config.policy.clone(),
        rules: approvals,
        liveness: config.liveness,
        stop: stop_faces.clone(),
    };
    let committer = Committer::new(
        state,
        Arc::clone(&store),
        docs,
        Arc::clone(&watch),
        Aside { hints, nestings },
        stop_committer.clone(),
        clock,
    );
    let (upcoming, scheduled) = watch::channel(Upcoming::default());
    let ticker = Ticker::new(replica, Arc::clone(&store), registry, inbox.clone(), upcoming, config, clock);
    Ok(Process {
        replica,
        nester: Box::pin(nesting::run(engine.clone(), asked)),
        schedules: Box::pin(schedule::run(engine.clone(), scheduled)),
        engine,
        committer: Box::pin(committer.run(inputs)),
        ticker: Box::pin(ticker.run(hinted)),
        listener: Box::pin(listen(replica, store, inbox, watch)),
        stop_faces,
        stop_committer,
    })
}
