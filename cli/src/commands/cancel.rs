//! `downbeat cancel`.

use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out, words::Word};

/// Cancel a task for good
///
/// What is unfinished becomes `cancelled`, and workers are told to stop. To go on later, use `pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat cancel feature-1087 --reason 'not wanted any more'")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let status = client.cancel(&self.task_id, &self.reason).await?.word();
        let task_id = &self.task_id;
        out.either(
            || json!({"task_id": task_id, "status": status}),
            |_| vec![format!("{task_id} is {status}")],
        )
    }
}
