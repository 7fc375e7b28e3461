//! `downbeat drain`.

use downbeat_sdk::proto::Worker;
use serde_json::json;

use crate::{
    args::Connection,
    failure::{Exit, Failure, Result},
    json,
    out::Out,
    words::Word,
};

/// Let a worker finish what it has, and go
///
/// It gets nothing new. Named by its session id, or by its name: then every worker of that name is drained.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat workers             shows names and sessions
  downbeat drain 17
  downbeat drain build-host-3")]
pub(crate) struct Args {
    /// The worker's session id or name
    #[arg(value_name = "WORKER")]
    worker: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let sessions = match self.worker.parse::<i64>() {
            Ok(session_id) => vec![session_id],
            Err(_) => {
                let workers = client.workers("").await?;
                let named = workers.iter().filter(|worker| worker.name == self.worker);
                named.map(|worker| worker.session_id).collect()
            }
        };
        if sessions.is_empty() {
            return Err(Failure::new(Exit::Refused, format!("no worker is called {:?}", self.worker))
                .hint("`downbeat workers` lists the workers there are"));
        }
        let mut drained = Vec::new();
        for session_id in sessions {
            drained.push(client.drain_worker(session_id).await?);
        }
        let line = |worker: &Worker| {
            format!("{} (session {}) is {}", worker.name, worker.session_id, worker.state().word())
        };
        out.either(
            || json!({"workers": drained.iter().map(json::worker).collect::<Vec<_>>()}),
            |_| drained.iter().map(line).collect(),
        )
    }
}
