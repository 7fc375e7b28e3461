//! `downbeat pause`.

use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out, words::Word};

/// Pause a task: what runs may finish, nothing new starts
///
/// `downbeat execute` resumes it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat pause feature-1087
  downbeat execute feature-1087      goes on")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let status = client.pause(&self.task_id).await?.word();
        let task_id = &self.task_id;
        out.either(
            || json!({"task_id": task_id, "status": status}),
            |_| vec![format!("{task_id} is {status}")],
        )
    }
}
