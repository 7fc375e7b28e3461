//! `downbeat agents`.

use downbeat_sdk::{
    ListAgents,
    proto::{Agent, AgentHealth},
};
use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    json,
    out::Out,
    table::{self, Cell, cell},
    term::Paint,
    words::{self, Word, span},
};

/// List agents: who can do what
///
/// Healthy: a live worker takes work. Degraded: its workers are draining or disconnected. Offline: known, and
/// no worker.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat agents
  downbeat agents --capability python --health healthy --json")]
pub(crate) struct Args {
    /// Only agents of this domain
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    domain: String,
    /// Only agents with this capability
    #[arg(long, value_name = "TAG", default_value = "", hide_default_value = true)]
    capability: String,
    /// Only agents in this health: healthy, degraded, offline
    #[arg(long, value_name = "HEALTH", value_parser = words::health)]
    health: Option<AgentHealth>,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let mut filter = ListAgents::new().domain(&self.domain).capability(&self.capability);
        if let Some(health) = self.health {
            filter = filter.health(health);
        }
        let agents = client.agents(filter).await?;
        if out.json {
            return out.json(&json!({"agents": agents.iter().map(json::agent).collect::<Vec<_>>()}));
        }
        if agents.is_empty() {
            return out.line("no such agents; `downbeat worker --help` shows how to serve one");
        }
        let head = ["agent", "health", "workers", "busy", "sla", "domain", "capabilities", "skills"];
        let lines = table::titled(&out.term, &head, agents.iter().map(row).collect());
        lines.into_iter().try_for_each(|line| out.line(line))
    }
}

fn row(agent: &Agent) -> Vec<Cell> {
    let declared = agent.declaration.clone().unwrap_or_default();
    let paint = match agent.health() {
        AgentHealth::Healthy => Paint::Green,
        AgentHealth::Degraded => Paint::Yellow,
        AgentHealth::Offline | AgentHealth::Unspecified => Paint::Dim,
    };
    vec![
        cell(declared.name),
        (paint, agent.health().word()),
        cell(agent.workers.to_string()),
        cell(format!("{}/{}", agent.busy, agent.slots)),
        cell(if declared.sla_ms > 0 { span(declared.sla_ms.into()) } else { "-".to_owned() }),
        cell(or_dash(&declared.domain)),
        cell(or_dash(&declared.capabilities.join(" "))),
        cell(declared.skills.join(", ")),
    ]
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
