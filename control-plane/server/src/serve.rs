//! Starting and stopping: a replica's process on threads and sockets.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use downbeat_store::{Store, StoreError};
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::{JoinHandle as TaskHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    approvals,
    config::Config,
    engine::Engine,
    grpc,
    planner::{Planner, rules::RulePlanner},
    process::{Process, assemble},
    rest,
};

/// Open requests and streams get this long to end when the process stops.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Why a control plane does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {addr} for {what}: {source}")]
    Listen { what: &'static str, addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot use the planner rules: {0}")]
    Rules(String),
    #[error("cannot use the approval rules: {0}")]
    Approvals(String),
    #[error("cannot start the committer's thread: {0}")]
    Thread(std::io::Error),
}

/// A running control plane.
pub struct ControlPlane {
    /// Where REST is served.
    pub http: SocketAddr,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// For callers in the same process.
    pub engine: Engine,
    replica: downbeat_core::id::ReplicaNo,
    store: Arc<dyn Store>,
    faces: JoinSet<()>,
    background: JoinSet<()>,
    committer: JoinHandle<()>,
    stop_faces: CancellationToken,
    stop_committer: CancellationToken,
}

/// Joins the others on this store, listens, and serves.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<ControlPlane, StartError> {
    let planner = planner(&config).await?;
    let approvals = match &config.approval_rules {
        Some(path) => approvals::read(path).await.map_err(StartError::Approvals)?,
        None => Arc::new([]),
    };
    let http = bind("REST", config.http).await?;
    let grpc = bind("gRPC", config.grpc).await?;
    let Process {
        replica,
        engine,
        committer,
        ticker,
        schedules,
        listener,
        nester,
        stop_faces,
        stop_committer,
    } = assemble(config, Arc::clone(&store), planner, approvals).await?;
    let committer = run_committer(committer)?;
    let mut background = JoinSet::new();
    background.spawn(ticker);
    background.spawn(schedules);
    background.spawn(listener);
    background.spawn(nester);
    let mut faces = JoinSet::new();
    let (http_addr, grpc_addr) = (http.1, grpc.1);
    faces.spawn(serve_rest(http.0, engine.clone(), stop_faces.clone()));
    faces.spawn(grpc::listen::serve(grpc.0, engine.clone(), stop_faces.clone()));
    tracing::info!(%replica, http = %http_addr, grpc = %grpc_addr, "serving");
    Ok(ControlPlane {
        http: http_addr,
        grpc: grpc_addr,
        engine,
        replica,
        store,
        faces,
        background,
        committer,
        stop_faces,
        stop_committer,
    })
}

impl ControlPlane {
    /// Stops taking requests, closes the streams (their workers keep their leases through the grace time
    /// and go on elsewhere), and leaves. What was not durable is not acknowledged.
    pub async fn shutdown(mut self) {
        self.stop_faces.cancel();
        let drained = async { while self.faces.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_WAIT, drained).await.is_err() {
            tracing::warn!("some requests did not end in time");
            self.faces.shutdown().await;
        }
        self.background.shutdown().await;
        self.stop_committer.cancel();
        let committer = self.committer;
        let joined: TaskHandle<_> = tokio::task::spawn_blocking(move || committer.join());
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("the committer did not end well");
        }
        if let Err(error) = self.store.leave(self.replica).await {
            tracing::warn!(%error, "could not sign off; the others will notice");
        }
    }
}

async fn planner(config: &Config) -> Result<Arc<dyn Planner>, StartError> {
    let Some(path) = &config.rules else { return Ok(Arc::new(RulePlanner::builtin())) };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| StartError::Rules(format!("{}: {error}", path.display())))?;
    let rules =
        RulePlanner::from_yaml(&text).map_err(|e| StartError::Rules(format!("{}: {e}", path.display())))?;
    Ok(Arc::new(rules))
}

async fn bind(what: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { what, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The committer has a thread of its own: a commit to SQLite blocks, and nothing else shall wait for it. There it is
/// a task beside that of its connection: waking the future that `block_on` is given costs two system calls each time.
fn run_committer(committer: BoxFuture<'static, ()>) -> Result<JoinHandle<()>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(StartError::Thread)?;
    std::thread::Builder::new()
        .name("committer".into())
        .spawn(move || match runtime.block_on(runtime.spawn(committer)) {
            Ok(()) => {}
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        })
        .map_err(StartError::Thread)
}

async fn serve_rest(listener: TcpListener, engine: Engine, stop: CancellationToken) {
    let served = axum::serve(listener, rest::router(engine)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "REST ended");
    }
}
