//! `downbeat cancel`.

use downbeat_sdk::proto::TaskStatus;
use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out, words::Word};

/// Cancel a task for good
///
/// What is unfinished becomes `cancelled`, and workers are told to stop. To go on later, use `pause`. With
/// `--compensate`, what was completed and says how is undone before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat cancel feature-1087 --reason 'not wanted any more'
  downbeat cancel booking-7 --compensate")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Undo what was completed, where the plan says how, before the task is cancelled
    #[arg(long)]
    compensate: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let (task_id, reason) = (&self.task_id, &self.reason);
        let status = if self.compensate {
            client.cancel_compensating(task_id, reason).await?
        } else {
            client.cancel(task_id, reason).await?
        };
        let undoing = if status == TaskStatus::Cancelled { "" } else { ", until what was done is undone" };
        let status = status.word();
        out.either(
            || json!({"task_id": task_id, "status": status}),
            |_| vec![format!("{task_id} is {status}{undoing}")],
        )
    }
}
