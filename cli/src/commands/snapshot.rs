//! `downbeat snapshot`.

use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    json,
    out::Out,
    review::By,
    table::{self, cell},
    words::{now_ms, span},
};

/// Name a task's present state to come back to it, or list those named
///
/// One is taken before each approval, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat snapshot release-42 'before the migration'
  downbeat snapshot release-42
  downbeat restore release-42 'before the migration'")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Its name; without one the snapshots there are get listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?.by(self.by.name());
        let task_id = &self.task_id;
        if let Some(name) = &self.name {
            let taken = client.snapshot(task_id, name).await?;
            return out.either(
                || json::snapshot(&taken),
                |_| vec![format!("{name} is {task_id} as it is after event {}", taken.event)],
            );
        }
        let all = client.snapshots(task_id).await?;
        if out.json {
            return out.json(&json!({"snapshots": all.iter().map(json::snapshot).collect::<Vec<_>>()}));
        }
        if all.is_empty() {
            return out.line(format!("{task_id} has no snapshots"));
        }
        let rows = all.iter().map(|one| {
            let ago = format!("{} ago", span(now_ms() - one.at_ms));
            vec![cell(&one.name), cell(one.event.to_string()), cell(ago), cell(&one.by)]
        });
        let lines = table::titled(&out.term, &["snapshot", "event", "taken", "by"], rows.collect());
        lines.into_iter().try_for_each(|line| out.line(line))
    }
}
