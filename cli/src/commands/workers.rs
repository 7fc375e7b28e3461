//! `downbeat workers`.

use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    json,
    out::Out,
    table::{self, cell},
    words::{Word, now_ms, span},
};

/// List workers: the processes that serve agents
///
/// A worker is one process with one session. Detached: its connection broke, its work lives on through the
/// grace time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat workers
  downbeat workers --agent code-review --json")]
pub(crate) struct Args {
    /// Only workers that serve this agent
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    agent: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let workers = client.workers(&self.agent).await?;
        if out.json {
            return out.json(&json!({"workers": workers.iter().map(json::worker).collect::<Vec<_>>()}));
        }
        if workers.is_empty() {
            return out.line("no workers; `downbeat worker --help` shows how to start one");
        }
        let rows = workers.iter().map(|worker| {
            let agents: Vec<&str> = worker.agents.iter().map(|agent| agent.name.as_str()).collect();
            let mut labels: Vec<String> = worker.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            labels.sort();
            vec![
                cell(worker.session_id.to_string()),
                cell(&worker.name),
                cell(worker.state().word()),
                cell(format!("{}/{}", worker.busy, worker.slots)),
                cell(span(now_ms() - worker.connected_at_ms)),
                cell(agents.join(" ")),
                cell(labels.join(" ")),
            ]
        });
        let head = ["session", "worker", "state", "busy", "connected", "agents", "labels"];
        let lines = table::titled(&out.term, &head, rows.collect());
        lines.into_iter().try_for_each(|line| out.line(line))
    }
}
