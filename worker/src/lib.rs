//! The stock worker: any command or URL as an agent, without a line of code.
//!
//! ```no_run
//! use downbeat_sdk::Agent;
//! use downbeat_worker::{Config, Exec, Executor};
//!
//! # async fn example() -> Result<(), downbeat_worker::Error> {
//! let agent = Agent::new("word-count").capability("text");
//! let command = Exec::new("python3", ["word_count.py"]);
//! downbeat_worker::run(Config::new(agent, Executor::Exec(command))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Both executors speak the same JSON. In goes the brief:
//!
//! ```json
//! {
//!   "task_id": "release-42", "subtask_id": "release-42/review", "key": "review",
//!   "agent": "code-review", "attempt": 1, "lease_id": 8123,
//!   "title": "Release 42", "description": "",
//!   "input": {"strict": true},
//!   "item": null, "nth": null,
//!   "dependencies": {"diff": {"state": "completed", "output": "...", "artifacts": []}},
//!   "children": {},
//!   "context": {}, "context_versions": {},
//!   "deadline": "2026-11-20T19:30:00Z"
//! }
//! ```
//!
//! Out comes the output, any JSON; nothing at all is `null`. When it is an object with the key `$artifacts`, a list
//! of `{"name", "uri", "media_type", "size_bytes", "digest"}`, these become the artifacts of the subtask, and the
//! key is taken out of the output. `item` is the element of the map that the subtask belongs to, and `nth` which one
//! (from 0), or which round of a loop (from 1).
//!
//! `context` is what the task was given; where the plan says `context: true` or names keys of the shared context for the
//! subtask, it is those, as they were when the lease was given, and `context_versions` has their versions. One more key of
//! an output object is taken out of it, and writes to the shared context, before anything else:
//!
//! ```json
//! {"$context": [{"key": "plan", "value": ["a", "b"], "expected_version": 3}, {"key": "draft", "delete": true}]}
//! ```
//!
//! Where a key has another version than expected (0: where there is any), the attempt has failed with `VERSION_CONFLICT`,
//! and the next one finds in its brief what there is.
//!
//! Two more keys make the graph grow:
//!
//! ```json
//! {"$spawn": [{"key": "intro", "agent": "writer", "input": {"words": 200}}], "$suspend": true}
//! ```
//!
//! `$spawn` is a list of children to add to the subtask, each in the form that subtasks have in a plan. They may depend
//! on each other. The same again, by a later attempt, adds nothing. `$suspend: true` says that there is no output yet:
//! the subtask is run again when its children have ended, and finds what they delivered in `children`, of the same form
//! as `dependencies`. Without it what else is in the object is the output, and the subtask is completed with it once
//! the children have ended.
//!
//! A secret that the input names, `{"$secret": "DEPLOY_TOKEN"}`, is put in from the worker's environment: the variable
//! `DOWNBEAT_SECRET_DEPLOY_TOKEN`. Without it the attempt fails for good as `SECRET_MISSING`.
//!
//! Everything about sessions and leases is in `downbeat-sdk`; nothing of it belongs here.
#![warn(missing_docs)]

mod brief;
mod exec;
mod http;
mod secrets;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use downbeat_sdk::{Agent, Context, Ended, HandlerError, Output, SLOTS_DEFAULT, Worker};

pub use self::{
    exec::{Exec, KILL_GRACE_DEFAULT},
    http::Http,
};

/// How long a draining worker waits for what is in flight when the configuration says nothing. Together with the
/// kill grace it stays below the 30 s after which Kubernetes kills.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// The largest output, in bytes, when the control plane names no limit.
const OUTPUT_BYTES_DEFAULT: usize = 4 * 1024 * 1024;

/// A worker to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses of the control plane; without any, `DOWNBEAT_ADDR` counts, then `http://127.0.0.1:9083`.
    pub addrs: Vec<String>,
    /// A name for people; `None`: the name of the host.
    pub name: Option<String>,
    /// The agents that the executor does the work of.
    pub agents: Vec<Agent>,
    /// How many attempts run at the same time: 1 to 10,000.
    pub slots: usize,
    /// Labels, for people and dashboards.
    pub labels: BTreeMap<String, String>,
    /// Which build of the agent this is.
    pub build_id: String,
    /// How long a shutdown waits for what is in flight before it is stopped.
    pub drain_timeout: Duration,
    /// What does the work.
    pub executor: Executor,
}

impl Config {
    /// One agent, and the defaults for everything else.
    pub fn new(agent: Agent, executor: Executor) -> Self {
        Self {
            addrs: Vec::new(),
            name: None,
            agents: vec![agent],
            slots: SLOTS_DEFAULT,
            labels: BTreeMap::new(),
            build_id: String::new(),
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
            executor,
        }
    }
}

/// What does the work of an attempt.
#[derive(Debug, Clone)]
pub enum Executor {
    /// A command, started for each attempt.
    Exec(Exec),
    /// A URL, called for each attempt.
    Http(Http),
}

/// Why a worker could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command is no executable file, and none of this name is on the `PATH`.
    #[error(
        "cannot find the command {command:?}: expected an executable file, or the name of one on the PATH"
    )]
    CommandNotFound {
        /// The command as given.
        command: PathBuf,
    },
    /// The URL cannot be called.
    #[error("invalid URL {url:?}: {problem}; expected something like \"http://127.0.0.1:8000/run\"")]
    InvalidUrl {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A header that HTTP does not allow.
    #[error("invalid header {name:?}: {problem}")]
    InvalidHeader {
        /// The name as given. (The value may be secret.)
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP client could not be set up: no certificates of authorities on this machine, most likely.
    #[error("cannot set up the HTTP client: {source}")]
    HttpClient {
        /// What reqwest said.
        source: reqwest::Error,
    },
    /// The worker itself.
    #[error(transparent)]
    Sdk(#[from] downbeat_sdk::Error),
}

/// Makes the worker. Nothing is connected or started yet.
///
/// # Errors
/// Everything that can be known now: [`Error::CommandNotFound`], [`Error::InvalidUrl`], [`Error::InvalidHeader`],
/// [`Error::HttpClient`], and an [`Error::Sdk`] for an agent or address that is not valid.
pub fn worker(config: Config) -> Result<Worker, Error> {
    let Config { addrs, name, agents, slots, labels, build_id, drain_timeout, executor } = config;
    let mut builder = Worker::builder().slots(slots).build_id(build_id).drain_timeout(drain_timeout);
    if let Executor::Exec(exec) = &executor {
        // The command is given its time first, then is killed; being dropped is for executors that hang.
        builder = builder.cancel_grace(exec.kill_grace + KILL_WAIT);
    }
    let prepared = Arc::new(Prepared::new(executor)?);
    builder = addrs.into_iter().fold(builder, downbeat_sdk::WorkerBuilder::addr);
    builder = labels.into_iter().fold(builder, |builder, (name, value)| builder.label(name, value));
    if let Some(name) = name {
        builder = builder.name(name);
    }
    for agent in agents {
        let prepared = Arc::clone(&prepared);
        builder = builder.agent(agent, move |context| {
            let prepared = Arc::clone(&prepared);
            async move { prepared.attempt(&context).await }
        });
    }
    Ok(builder.build()?)
}

/// Makes the worker and runs it until the control plane drains it, or SIGTERM or SIGINT comes; the first signal
/// drains, the second ends at once.
///
/// # Errors
/// As [`worker`], and when the control plane refuses the worker for good.
pub async fn run(config: Config) -> Result<Ended, Error> {
    Ok(worker(config)?.run().await?)
}

/// Killed processes are gone in less, unless the machine is in trouble.
const KILL_WAIT: Duration = Duration::from_secs(3);

/// An executor that was checked and can start.
enum Prepared {
    Exec(exec::Prepared),
    Http(http::Prepared),
}

impl Prepared {
    fn new(executor: Executor) -> Result<Self, Error> {
        Ok(match executor {
            Executor::Exec(exec) => Self::Exec(exec::Prepared::new(exec)?),
            Executor::Http(http) => Self::Http(http::Prepared::new(http)?),
        })
    }

    async fn attempt(&self, context: &Context) -> Result<Output, HandlerError> {
        match self {
            Self::Exec(exec) => exec.attempt(context).await,
            Self::Http(http) => http.attempt(context).await,
        }
    }
}

/// The most bytes that an attempt may put out.
fn output_bytes_max(context: &Context) -> usize {
    match context.output_bytes_max() {
        0 => OUTPUT_BYTES_DEFAULT,
        limit => limit,
    }
}

/// The failure of an attempt that put out more than `limit` bytes. Another attempt would do the same.
fn output_too_large(limit: usize) -> HandlerError {
    let message = format!(
        "the output has more than {limit} bytes, which is the limit: hand large data over by reference, in \
         \"$artifacts\""
    );
    HandlerError::fatal("OUTPUT_TOO_LARGE", message)
}
