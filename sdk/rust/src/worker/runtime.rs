//! Runs handlers: starts one task per attempt on the caller's runtime, asks it to stop, drops it, and brings its
//! outcome back. It decides nothing; [`super::session`] does.

use std::{
    any::Any,
    collections::HashMap,
    mem,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use futures::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::session::{self, Outcome, Spawned};
use crate::{
    CancelReason, Client, Context, Handler, HandlerError,
    address::Address,
    client::ClientBuilder,
    context::Cancellation,
    proto::{Brief, PlannedSubtask},
};

/// Requests of one kind that wait for the connection to take them. Few, since it takes them at once; whoever has another
/// waits.
const CALLS_MAX: usize = 16;

/// An attempt wants children added.
#[derive(Debug)]
pub(crate) struct SpawnCall {
    pub(crate) lease_id: i64,
    pub(crate) children: Vec<PlannedSubtask>,
    pub(crate) reply: SpawnReply,
}

/// Where the answer goes; dropped, it says that the lease is lost.
#[derive(Debug)]
pub(crate) struct SpawnReply {
    pub(crate) answer: oneshot::Sender<Spawned>,
    /// Of one per attempt: until the answer is there, the attempt has no other request, even if nobody waits any more.
    pub(crate) _turn: OwnedSemaphorePermit,
}

/// An attempt asks for the shared context.
#[derive(Debug)]
pub(crate) struct ContextCall {
    pub(crate) lease_id: i64,
    pub(crate) ask: ContextAsk,
    pub(crate) reply: ContextReply,
}

/// What it asks for.
#[derive(Debug)]
pub(crate) enum ContextAsk {
    Write(session::Write),
    /// Empty: all keys.
    Read(String),
}

/// As [`SpawnReply`].
#[derive(Debug)]
pub(crate) struct ContextReply {
    pub(crate) answer: oneshot::Sender<session::Shared>,
    pub(crate) _turn: OwnedSemaphorePermit,
}

/// What the connection takes from the attempts.
pub(crate) struct Calls {
    pub(crate) spawns: mpsc::Receiver<SpawnCall>,
    pub(crate) contexts: mpsc::Receiver<ContextCall>,
}

/// What all attempts of a worker share.
pub(crate) struct Shared {
    pub(crate) progress: ProgressBoard,
    pub(crate) spawns: mpsc::Sender<SpawnCall>,
    pub(crate) contexts: mpsc::Sender<ContextCall>,
    addresses: Vec<Address>,
    client: OnceLock<Client>,
}

impl Shared {
    /// Also gives what the connection takes requests from.
    pub(crate) fn new(addresses: Vec<Address>) -> (Self, Calls) {
        let (spawns, spawn_calls) = mpsc::channel(CALLS_MAX);
        let (contexts, context_calls) = mpsc::channel(CALLS_MAX);
        let (progress, client) = (ProgressBoard::default(), OnceLock::new());
        let shared = Self { progress, spawns, contexts, addresses, client };
        (shared, Calls { spawns: spawn_calls, contexts: context_calls })
    }

    /// A client for what a brief had no room for. It is made on the runtime of the handlers, when one needs it.
    pub(crate) fn client(&self) -> &Client {
        self.client.get_or_init(|| ClientBuilder::default().build(self.addresses.clone(), None))
    }
}

/// The newest progress of each attempt. It takes the place of a queue: reporting never waits, and what is not yet
/// taken is at most one report per attempt.
#[derive(Default)]
pub(crate) struct ProgressBoard {
    newest: Mutex<HashMap<i64, (String, f64)>>,
    changed: Notify,
}

impl ProgressBoard {
    pub(crate) fn put(&self, lease_id: i64, message: String, fraction: f64) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(lease_id, (message, fraction));
        drop(newest);
        self.changed.notify_one();
    }

    /// Waits until there is something to take.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn take(&self) -> HashMap<i64, (String, f64)> {
        mem::take(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An attempt has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) lease_id: i64,
    pub(crate) outcome: Outcome,
}

/// The handlers that run, by lease.
pub(crate) struct Handlers {
    runtime: Handle,
    agents: HashMap<String, Arc<dyn Handler>>,
    shared: Arc<Shared>,
    /// Has room for one message per slot, so sending never waits: a slot is used again only after its message was
    /// taken.
    finished: mpsc::Sender<Finished>,
    running: HashMap<i64, Running>,
}

struct Running {
    cancellation: Arc<Cancellation>,
    abort: CancellationToken,
}

impl Handlers {
    pub(crate) fn new(
        runtime: Handle,
        agents: HashMap<String, Arc<dyn Handler>>,
        shared: Arc<Shared>,
        finished: mpsc::Sender<Finished>,
    ) -> Self {
        Self { runtime, agents, shared, finished, running: HashMap::new() }
    }

    /// Starts the handler of the brief's agent; its outcome comes as a [`Finished`].
    pub(crate) fn start(&mut self, brief: Brief, output_bytes_max: usize) {
        let lease_id = brief.lease.map_or(0, |lease| lease.lease_id);
        let report = Report { lease_id, finished: self.finished.clone(), sent: false };
        let Some(handler) = self.agents.get(&brief.agent).cloned() else {
            let message = format!("this worker has no agent {:?}", brief.agent);
            return report
                .send(Outcome::Failed(HandlerError::retryable("UNKNOWN_AGENT", message).into_failed()));
        };
        let Brief { task_id, subtask_id, attempt, .. } = &brief;
        tracing::debug!(lease_id, task_id, subtask_id, attempt, agent = brief.agent, "attempt started");
        let cancellation = Arc::<Cancellation>::default();
        let context =
            Context::new(brief, output_bytes_max, Arc::clone(&cancellation), Arc::clone(&self.shared));
        let abort = CancellationToken::new();
        self.running.insert(lease_id, Running { cancellation, abort: abort.clone() });
        self.runtime.spawn(attempt_of(handler, context, abort, report));
    }

    /// Asks a handler to stop.
    pub(crate) fn cancel(&self, lease_id: i64, reason: CancelReason) {
        if let Some(running) = self.running.get(&lease_id) {
            tracing::info!(lease_id, %reason, "stopping an attempt");
            running.cancellation.cancel(reason);
        }
    }

    /// Drops a handler at its next await.
    pub(crate) fn abort(&self, lease_id: i64) {
        if let Some(running) = self.running.get(&lease_id) {
            tracing::warn!(lease_id, "the handler did not stop in time and is dropped");
            running.abort.cancel();
        }
    }

    /// Forgets a handler that has ended.
    pub(crate) fn forget(&mut self, lease_id: i64) {
        self.running.remove(&lease_id);
    }
}

impl Drop for Handlers {
    /// Without a connection nobody wants the outcome.
    fn drop(&mut self) {
        for running in self.running.values() {
            running.cancellation.cancel(CancelReason::Shutdown);
            running.abort.cancel();
        }
    }
}

/// One attempt, from call to report.
async fn attempt_of(handler: Arc<dyn Handler>, context: Context, abort: CancellationToken, report: Report) {
    let call = AssertUnwindSafe(async { handler.handle(context.clone()).await }).catch_unwind();
    let outcome = tokio::select! {
        biased;
        returned = call => match returned {
            Ok(Ok(output)) => {
                let completed = output.artifacts(context.take_artifacts()).into_completed();
                completed.map_or(Outcome::Suspended, Outcome::Completed)
            }
            Ok(Err(error)) => Outcome::Failed(error.into_failed()),
            Err(panic) => {
                let message = format!("the handler panicked: {}", panic_message(panic.as_ref()));
                tracing::error!(lease_id = report.lease_id, message, "attempt failed");
                Outcome::Failed(HandlerError::retryable("PANIC", message).into_failed())
            }
        },
        () = abort.cancelled() => Outcome::Stopped,
    };
    report.send(outcome);
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The duty to report how an attempt ended. Dropped, it reports that the handler was stopped: the runtime went
/// away, or the handler panicked while it was dropped.
struct Report {
    lease_id: i64,
    finished: mpsc::Sender<Finished>,
    sent: bool,
}

impl Report {
    fn send(mut self, outcome: Outcome) {
        self.put(outcome);
    }

    fn put(&mut self, outcome: Outcome) {
        self.sent = true;
        // Fails only when the worker has ended.
        let _ = self.finished.try_send(Finished { lease_id: self.lease_id, outcome });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.sent {
            self.put(Outcome::Stopped);
        }
    }
}
