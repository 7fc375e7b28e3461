//! A simulated control plane process: production's own [`Process`], with a store, a network and a scheduler that
//! fail. Nothing of what a replica does is written here, only how it is reached, watched, killed and frozen.
//!
//! [`Process`]: downbeat_server::process::Process

use std::{sync::Arc, time::Duration};

use downbeat_core::{
    check::Violation,
    draft::Draft,
    id::{ReplicaNo, TenantNo},
};
use downbeat_proto::v1;
use downbeat_server::{
    Config,
    engine::Engine,
    failure::{Failure, RETRY_AFTER_MS},
    grpc::session::Sessions,
    planner::{PlanRequest, Planner},
    process::{self, assemble},
};
use downbeat_store::{Store, StoreError};
use futures::{future::BoxFuture, stream};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    World,
    faults::FaultyStore,
    process::Process,
    tap::Tap,
    wire::{Inlet, Outlet},
};

/// A client gives up a call after so long.
const CALL_WAIT: Duration = Duration::from_secs(15);
/// Streams get up to so long to end when a replica is shut down.
const DRAIN_MS_MAX: u64 = 5_000;
pub(super) const TENANT: TenantNo = TenantNo::DEFAULT;

/// A handle on one running replica.
#[derive(Clone)]
pub struct Server {
    pub world: Arc<World>,
    pub process: Arc<Process>,
    pub replica: ReplicaNo,
    engine: Engine,
    sessions: Sessions,
    store: Arc<dyn Store>,
    stop_faces: CancellationToken,
    stop_committer: CancellationToken,
}

/// Simulated clients bring their plans.
struct NoPlanner;

impl Planner for NoPlanner {
    fn plan<'a>(&'a self, _: &'a PlanRequest<'a>) -> BoxFuture<'a, Result<Vec<Draft>, Vec<Violation>>> {
        Box::pin(async { Err(vec![Violation::new("plan", "nobody plans here")]) })
    }
}

/// Starts a replica in a process of its own.
///
/// # Errors
/// The store's: it does not start then.
pub async fn start(world: &Arc<World>, store: &Arc<dyn Store>) -> Result<Server, StoreError> {
    let process = Process::new(world);
    let faulty = FaultyStore::new(Arc::clone(store), Arc::clone(world), Arc::clone(&process));
    let store: Arc<dyn Store> = Arc::new(faulty);
    let settings = &world.settings;
    let config = Config {
        policy: settings.policy.clone(),
        liveness: settings.liveness,
        tick_ms: settings.tick_ms,
        dead_after_ms: settings.dead_after_ms,
        ..Config::default()
    };
    let parts = assemble(config, Arc::clone(&store), Arc::new(NoPlanner), Arc::new([])).await?;
    let process::Process {
        replica,
        engine,
        committer,
        ticker,
        schedules,
        listener,
        nester,
        stop_faces,
        stop_committer,
    } = parts;
    process.spawn(committer);
    process.spawn(ticker);
    process.spawn(schedules);
    process.spawn(listener);
    process.spawn(nester);
    world.note(|| format!("replica {replica} serves"));
    let sessions = Sessions::new(engine.clone());
    let world = Arc::clone(world);
    Ok(Server { world, process, replica, engine, sessions, store, stop_faces, stop_committer })
}

impl Server {
    /// Does `call` in the replica's process, over a network that loses answers.
    ///
    /// # Errors
    /// The call's, or `Unavailable`.
    pub async fn call<T, C, F>(&self, call: C) -> Result<T, Failure>
    where
        T: Send + 'static,
        C: FnOnce(Engine) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (mut answer, answered) = oneshot::channel();
        let engine = self.engine.clone();
        let (way, world) = (self.world.delay(), Arc::clone(&self.world));
        self.process.spawn(async move {
            sleep(way).await;
            // A call ends with whoever waits for its answer.
            let done = tokio::select! {
                biased;
                done = call(engine) => done,
                () = answer.closed() => return,
            };
            if let Err(Failure::Internal(_) | Failure::Invalid(_)) = &done {
                world.fail(format!("a call got {:?}", done.as_ref().err()));
            }
            let _ = answer.send(done);
        });
        let done = timeout(CALL_WAIT, answered).await;
        if self.world.strikes(|weather| weather.answer_lost) {
            return Err(lost());
        }
        sleep(self.world.delay()).await;
        done.ok().and_then(Result::ok).unwrap_or_else(|| Err(lost()))
    }

    /// Lets the streams end, or cuts them short, and signs off.
    pub async fn leave(self) {
        self.stop_faces.cancel();
        self.world.pause(0, DRAIN_MS_MAX).await;
        self.stop_committer.cancel();
        self.process.kill();
        // The others notice if it fails.
        let _ = self.store.leave(self.replica).await;
    }

    /// Serves one worker's stream, from Hello to its end. Until the session is accepted, it is dropped as soon as
    /// the worker is seen to be gone.
    pub async fn serve(self, from: Inlet<v1::SessionRequest>, mut to: Outlet<v1::SessionResponse>) {
        let (forged, mut forgeries) = mpsc::channel(1);
        let tap = Tap::new(&self.world, self.replica, forged);
        let incoming = stream::unfold((from, tap.clone()), |(mut from, tap)| async move {
            let mut request = from.next().await?;
            tap.inward(&mut request).await;
            Some((Ok(request), (from, tap)))
        });
        let accepted = tokio::select! {
            biased;
            () = to.closed() => return,
            accepted = self.sessions.accept(TENANT, Box::pin(incoming)) => accepted,
        };
        let Ok(accepted) = accepted else { return };
        let (mut responses, session) = accepted.start();
        self.process.spawn(session);
        loop {
            let response = tokio::select! {
                biased;
                Some(forgery) = forgeries.recv() => Some(Ok(forgery)),
                response = responses.recv() => response,
            };
            let Some(Ok(response)) = response else { break };
            if tap.outward(&response) && !to.send(response).await {
                return;
            }
        }
        if !to.is_over() && !self.stop_faces.is_cancelled() {
            tap.evicted();
        }
    }
}

fn lost() -> Failure {
    Failure::Unavailable { message: "the answer was lost".into(), retry_after_ms: RETRY_AFTER_MS }
}
