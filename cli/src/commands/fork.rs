//! `downbeat fork`.

use downbeat_sdk::ForkTask;
use serde_json::json;

use crate::{args::Connection, failure::Result, json, out::Out, words::Word};

/// Make a new task from any point of an old one's history
///
/// What was completed by then is taken over; all else is to be done again. The old task stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat fork release-42 release-42b
  downbeat fork release-42 release-42b --snapshot 'before go' --execute
  downbeat fork release-42 release-42b --event 120      after that event")]
pub(crate) struct Args {
    /// The old task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// The new task's id
    #[arg(value_name = "NEW")]
    new_task_id: String,
    /// From what it was when this snapshot was taken
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// From what it was after the event with this number
    #[arg(long, value_name = "NUMBER", conflicts_with = "snapshot")]
    event: Option<u64>,
    /// Start it, too
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let mut fork = ForkTask::new(&self.task_id, &self.new_task_id);
        if let Some(name) = self.snapshot {
            fork = fork.at_snapshot(name);
        }
        if let Some(number) = self.event {
            fork = fork.at_event(number);
        }
        if self.execute {
            fork = fork.execute();
        }
        let forked = self.connection.client().await?.fork(fork).await?;
        let (id, status) = (&forked.task.task_id, forked.task.status().word());
        let existed = if forked.existed { ", and was forked before" } else { "" };
        out.either(
            || {
                let mut document = json::task(&forked.task);
                document["existed"] = json!(forked.existed);
                document
            },
            |_| vec![format!("{id} is {status}{existed}")],
        )
    }
}
