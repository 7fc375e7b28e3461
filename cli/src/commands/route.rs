//! `downbeat route`.

use serde_json::json;

use crate::{failure::Result, out::Out, review::Subject};

/// Send a ready or blocked subtask to another agent by hand
///
/// The agent's capabilities are not checked: you know better.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat route feature-1087 testing general")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// The agent that shall do it
    #[arg(value_name = "AGENT")]
    agent: String,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Subject { task_id, subtask, connection } = &self.subject;
        let id = connection.client().await?.route_subtask(task_id, subtask, &self.agent).await?;
        let agent = &self.agent;
        out.either(
            || json!({"task_id": task_id, "subtask_id": id, "agent": agent}),
            |_| vec![format!("{id} goes to {agent}")],
        )
    }
}
