//! The worker: serves agents to the control plane.
//!
//! Here are its builder and its way from `run` to the end. [`session`] decides, [`connection`] talks, [`runtime`]
//! runs handlers. The connection has a thread of its own: a handler that blocks its runtime costs time, never the
//! lease.

mod agent;
mod connection;
mod handler;
mod runtime;
// Public for the fuzz feature, which alone lets it out.
#[allow(missing_docs, unreachable_pub)]
pub mod session;
mod signals;

use std::{
    collections::{BTreeMap, HashMap},
    env, fmt, future, io,
    pin::pin,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

pub use self::{
    agent::Agent,
    handler::{Artifact, Handler, HandlerError, Output},
};
use self::{
    connection::{Connection, Shutdown},
    runtime::Handlers,
    session::{Session, Settings},
};
pub(crate) use self::{
    handler::{MESSAGE_BYTES_MAX, truncate},
    runtime::{ContextAsk, ContextCall, ContextReply, Shared, SpawnCall, SpawnReply},
    session::{Shared as SharedAnswer, Spawned, Write},
};
use crate::{
    Error,
    address::{self, Address},
    proto::{AgentDeclaration, Hello},
};

/// The most slots of one worker; from the contract.
pub const SLOTS_MAX: usize = 10_000;
/// Slots when the builder sets none: agents mostly wait for others, so more than there are cores.
pub const SLOTS_DEFAULT: usize = 16;
/// How long a draining worker waits for what is in flight when the builder sets nothing. Together with the cancel
/// grace it stays below the 30 s after which Kubernetes kills.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// How long a handler has to stop when the builder sets nothing.
pub const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// How a worker's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By a signal or by its caller, with everything finished.
    Shutdown,
    /// By the control plane, with everything finished.
    Drained,
    /// By a signal or by its caller, before everything was finished.
    TimedOut {
        /// Attempts that were given up; the control plane hands them to other workers.
        unfinished: usize,
    },
}

/// A process that serves agents; made by [`Worker::builder`].
///
/// ```no_run
/// use downbeat_sdk::{Agent, Context, Output, Worker};
///
/// # async fn example() -> Result<(), downbeat_sdk::Error> {
/// let worker = Worker::builder()
///     .slots(4)
///     .agent(Agent::new("shout").capability("text"), |context: Context| async move {
///         let text: String = context.input()?;
///         Output::json(&text.to_uppercase())
///     })
///     .build()?;
/// worker.run().await?;
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    hello: Hello,
    addresses: Vec<Address>,
    handlers: HashMap<String, Arc<dyn Handler>>,
    drain_timeout: Duration,
    cancel_grace: Duration,
}

/// Sets up a [`Worker`].
#[derive(Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct WorkerBuilder {
    addrs: Vec<String>,
    name: Option<String>,
    slots: Option<usize>,
    labels: BTreeMap<String, String>,
    build_id: String,
    agents: Vec<(Agent, Arc<dyn Handler>)>,
    drain_timeout: Option<Duration>,
    cancel_grace: Option<Duration>,
}

impl WorkerBuilder {
    /// Adds an address: `http://host:port`, `host:port`, or several of them separated by commas. Without any,
    /// the environment variable `DOWNBEAT_ADDR` counts, then `http://127.0.0.1:9083`. When one cannot be reached,
    /// the next is tried.
    pub fn addr(mut self, addr: impl Into<String>) -> Self {
        self.addrs.push(addr.into());
        self
    }

    /// A name for people; need not be unique. The default is the name of the host.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many attempts run at the same time, over all agents: 1 to 10,000. The default is 16.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Adds a label, for people and dashboards.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Which build of the code this is.
    pub fn build_id(mut self, build_id: impl Into<String>) -> Self {
        self.build_id = build_id.into();
        self
    }

    /// Adds an agent and the code that does its work.
    pub fn agent(mut self, agent: Agent, handler: impl Handler) -> Self {
        self.agents.push((agent, Arc::new(handler)));
        self
    }

    /// How long a shutdown waits for what is in flight before the handlers are asked to stop. The default is 20 s.
    /// A drain by the control plane waits as long as it takes.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = Some(timeout);
        self
    }

    /// How long a handler that was asked to stop has for it, before it is dropped. The default is 5 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = Some(grace);
        self
    }

    /// Makes the worker. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::InvalidWorker`] or [`Error::InvalidAddress`].
    pub fn build(self) -> Result<Worker, Error> {
        let invalid = |problem: String| Err(Error::InvalidWorker { problem });
        let slots = self.slots.unwrap_or(SLOTS_DEFAULT);
        if !(1..=SLOTS_MAX).contains(&slots) {
            return invalid(format!("it has {slots} slots; expected 1 to {SLOTS_MAX}"));
        }
        if self.agents.is_empty() {
            return invalid(
                "it serves no agent; add one with `.agent(Agent::new(\"name\"), handler)`".to_owned(),
            );
        }
        let mut declarations = Vec::new();
        let mut handlers = HashMap::new();
        for (agent, handler) in self.agents {
            agent.check()?;
            let name = agent.declaration.name.clone();
            if handlers.insert(name.clone(), handler).is_some() {
                return invalid(format!("it serves agent {name:?} twice"));
            }
            declarations.push(agent.declaration);
        }
        let hello = Hello {
            worker: self.name.unwrap_or_else(host_name),
            agents: declarations,
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            labels: self.labels.into_iter().collect(),
            build_id: self.build_id,
            resume: None,
        };
        Ok(Worker {
            hello,
            addresses: address::resolve(&self.addrs)?,
            handlers,
            drain_timeout: self.drain_timeout.unwrap_or(DRAIN_TIMEOUT_DEFAULT),
            cancel_grace: self.cancel_grace.unwrap_or(CANCEL_GRACE_DEFAULT),
        })
    }
}

impl Worker {
    /// Sets up a worker; see [`WorkerBuilder`].
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    /// What this worker declares about its agents.
    pub fn agents(&self) -> impl Iterator<Item = &AgentDeclaration> {
        self.hello.agents.iter()
    }

    /// Serves until the control plane drains this worker, or SIGTERM or SIGINT comes. The first signal drains, the
    /// second ends at once. (From this call on the signals have no other effect on the process.)
    ///
    /// A lost connection is opened again for as long as it takes; attempts run on meanwhile.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the control plane refuses this worker for good, [`Error::Thread`].
    pub async fn run(self) -> Result<Ended, Error> {
        self.serve(true, future::pending()).await
    }

    /// Serves until the control plane drains this worker, or `stop` completes; then drains. Signals are left alone.
    ///
    /// Dropping the returned future ends the worker at once, without waiting for its handlers.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<Ended, Error> {
        self.serve(false, stop).await
    }

    async fn serve(self, signals: bool, stop: impl Future<Output = ()>) -> Result<Ended, Error> {
        let slots = self.hello.slots as usize;
        let (shared, calls) = Shared::new(self.addresses.clone());
        let shared = Arc::new(shared);
        let (finished_tx, finished) = mpsc::channel(slots);
        let shutdown = Shutdown::default();
        let connection = Connection {
            addresses: self.addresses,
            session: Session::new(Settings { hello: self.hello, cancel_grace: self.cancel_grace }),
            handlers: Handlers::new(Handle::current(), self.handlers, Arc::clone(&shared), finished_tx),
            finished,
            calls,
            shared,
            shutdown: shutdown.clone(),
            signals,
            drain_timeout: self.drain_timeout,
        };
        let (ended_tx, mut ended) = oneshot::channel();
        thread::Builder::new()
            .name("downbeat-worker".to_owned())
            .spawn(move || ended_tx.send(connection::run(connection)))
            .map_err(|source| Error::Thread { source })?;
        // Whoever drops this future wants the worker gone.
        let _halt = shutdown.halt.drop_guard();
        let mut stop = pin!(stop);
        let ended = tokio::select! {
            biased;
            ended = &mut ended => ended,
            () = &mut stop => {
                shutdown.drain.cancel();
                ended.await
            }
        };
        ended.unwrap_or_else(|_| Err(Error::Thread { source: io::Error::other("it panicked") }))
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("hello", &self.hello).finish_non_exhaustive()
    }
}

/// Containers and most shells set it; a name for people needs no more.
fn host_name() -> String {
    let from_env = env::var("HOSTNAME").ok();
    let from_file = || std::fs::read_to_string("/etc/hostname").ok();
    let name = from_env.or_else(from_file).map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "worker".to_owned())
}
