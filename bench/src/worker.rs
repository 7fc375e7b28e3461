//! A worker process of the bench: the SDK with handlers that do nothing but say when they were entered.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use downbeat_sdk::{Agent, Context, HandlerError, Output, Worker};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

/// Sessions are opened one after the other, so that thousands of them do not all come at once.
const BETWEEN_SESSIONS: Duration = Duration::from_millis(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The control plane; several separated by commas are tried in turn
    #[arg(long)]
    addr: String,
    /// Attempts at the same time, of each session
    #[arg(long)]
    slots: usize,
    /// Sessions in this process, each with a connection of its own
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// An agent that it serves; several by repetition
    #[arg(long = "agent")]
    agents: Vec<String>,
    /// Keep every lease, and finish nothing
    #[arg(long)]
    hold: bool,
}

/// The input of a subtask; empty in most workloads.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Brief {
    /// The first attempt fails.
    #[serde(default)]
    pub(crate) fail: bool,
    /// Comes back with the output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) payload: String,
    /// So many elements for a map come with the output.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) items: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The output of a subtask.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// When the handler was entered: microseconds since the Unix epoch, by this machine's clock.
    pub(crate) at: u64,
    /// One more than those of all dependencies together: shows that their outputs arrived.
    pub(crate) value: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) payload: String,
    /// What a map goes over: briefs that say nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) items: Vec<Brief>,
}

/// What matters of another one's output.
#[derive(Debug, Deserialize)]
struct Seen {
    #[serde(default)]
    value: u64,
}

/// Serves until it is killed.
///
/// # Errors
/// When a worker cannot be built, or is refused.
pub(crate) async fn run(args: Args) -> Result<()> {
    let mut sessions = Vec::new();
    for number in 0..args.sessions {
        let mut worker = Worker::builder().addr(&args.addr).name(format!("bench-{number}")).slots(args.slots);
        for agent in &args.agents {
            let agent = Agent::new(agent);
            worker = if args.hold { worker.agent(agent, hold) } else { worker.agent(agent, stamp) };
        }
        sessions.push(tokio::spawn(worker.build()?.run()));
        tokio::time::sleep(BETWEEN_SESSIONS).await;
    }
    for ended in try_join_all(sessions).await? {
        ended.context("a worker ended")?;
    }
    Ok(())
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

async fn stamp(context: Context) -> Result<Output, HandlerError> {
    let at = now_us();
    let brief = context.input::<Option<Brief>>()?.unwrap_or_default();
    if brief.fail && context.attempt() == 1 {
        return Err(HandlerError::retryable("BENCH", "the first attempt fails, as asked"));
    }
    let mut value = 1;
    for dependency in &context.brief().dependencies {
        // Of what was skipped, or is no worker's, there is no stamp.
        value += context.dependency::<Option<Seen>>(&dependency.key).await?.map_or(0, |seen| seen.value);
    }
    let items = (0..brief.items).map(|_| Brief::default()).collect();
    Output::json(&Stamp { at, value, payload: brief.payload, items })
}

async fn hold(context: Context) -> Result<Output, HandlerError> {
    context.cancelled().await;
    Err(HandlerError::retryable("BENCH", "stopped while holding its lease"))
}
