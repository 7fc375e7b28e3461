//! `downbeat restore`.

use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out, review::By, words::Word};

/// Go back to a snapshot of a task
///
/// What was completed then keeps its output, all else runs again. What happened since stays in the history.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat snapshot release-42                 lists them
  downbeat restore release-42 'before go'")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// The snapshot's name
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Args { task_id, snapshot, .. } = &self;
        let client = self.connection.client().await?.by(self.by.name());
        let answer = client.restore(task_id, snapshot).await?;
        let (status, again) = (answer.status().word(), &answer.subtask_ids);
        out.either(
            || json!({"task_id": task_id, "status": status, "subtask_ids": again}),
            |_| {
                vec![format!("{task_id} is {status}, back at {snapshot}: {} subtask(s) are new", again.len())]
            },
        )
    }
}
