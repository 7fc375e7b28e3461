//! `downbeat follow`.

use crate::{
    args::Connection,
    failure::Result,
    follow::{self, How},
    out::Out,
};

/// Follow a task until it ends
///
/// On a terminal the graph is shown live. Elsewhere there is a line for each event, and with `--json` a JSON
/// line {"event":{...}} for each, and {"task":{...}} at the end. A broken connection is taken up again where it
/// was. The exit code tells how the task ended; when it waits for a person it is 5.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat follow feature-1087
  downbeat follow feature-1087 --wait && echo completed
  downbeat follow feature-1087 --after 0 --json | jq -c 'select(.event.kind == \"subtask.progress\")'")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Also print the events numbered above this; 0: from the first
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// Go on where a person is needed, until the task has ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        follow::follow(&client, out, &self.task_id, How { after: self.after, wait: self.wait }).await
    }
}
