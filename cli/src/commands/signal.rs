//! `downbeat signal`.

use downbeat_sdk::SignalTask;
use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out, review::By, task_file};

/// Tell a task that something happened
///
/// The first subtask that waits for a signal of this name takes it, and what it carries is its output. A signal that
/// nobody waits for yet is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat signal order-7 paid --payload '{\"amount\": 100}'
  downbeat signal order-7 paid --payload @payment.json --id payment-5501      the same id again changes nothing")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// The signal's name
    #[arg(value_name = "NAME")]
    name: String,
    /// What it carries: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", default_value = "null")]
    payload: String,
    #[command(flatten)]
    by: By,
    /// Your own id for it, so that it counts once however often it is sent
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    id: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Args { task_id, name, .. } = &self;
        let payload = task_file::json("--payload", &self.payload)?;
        let signal = SignalTask::new(task_id, name).payload(&payload).by(self.by.name()).id(&self.id);
        let taken = self.connection.client().await?.signal(signal).await?;
        let what = if taken { "a subtask took it" } else { "it is kept until a subtask waits for it" };
        out.either(
            || json!({"task_id": task_id, "signal": name, "taken": taken}),
            |_| vec![format!("{name} was sent to {task_id}: {what}")],
        )
    }
}
