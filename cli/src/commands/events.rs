//! `downbeat events`.

use futures::TryStreamExt;

use crate::{args::Connection, failure::Result, json, out::Out, view};

/// Print a task's history
///
/// Numbered from 1 without gaps. With `--json` a JSON line for each. `downbeat follow --after 0` prints them and
/// goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat events feature-1087
  downbeat events feature-1087 --after 120 --json")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Only events numbered above this
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let mut events = client.events_all(&self.task_id, self.after);
        while let Some(event) = events.try_next().await? {
            if out.json {
                out.json(&json::event(&event))?;
            } else {
                out.line(view::event_line(&out.term, &event))?;
            }
        }
        Ok(())
    }
}
