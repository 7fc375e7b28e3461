//! `downbeat snapshot`.

use downbeat_sdk::proto::{DiffSnapshotsResponse, SubtaskState};
use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    json,
    out::Out,
    review::By,
    table::{self, cell},
    words::{Word, now_ms, span},
};

/// Name a task's present state to come back to it, list those named, or tell what changed
///
/// One is taken before each approval, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat snapshot release-42 'before the migration'
  downbeat snapshot release-42
  downbeat snapshot release-42 --diff 'before the migration'           what has changed since
  downbeat snapshot release-42 --diff 'before the migration' after     or from one to the other
  downbeat restore release-42 'before the migration'")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Its name; without one the snapshots there are get listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// What has changed since one, or from one to another: the shared context, and states of subtasks
    #[arg(long, value_name = "SNAPSHOT", num_args = 1..=2, conflicts_with = "name")]
    diff: Vec<String>,
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
        if let Some(from) = self.diff.first() {
            let to = self.diff.get(1).map(String::as_str);
            return differs(out, &client.diff_snapshots(task_id, from, to).await?);
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

fn differs(out: &mut Out, found: &DiffSnapshotsResponse) -> Result {
    if out.json {
        return out.json(&json::difference(found));
    }
    if found.context.is_empty() && found.subtasks.is_empty() {
        return out.line("nothing has changed");
    }
    let value =
        |value: Option<&[u8]>| value.map_or_else(|| "-".to_owned(), |text| json::parse(text).to_string());
    let state = |state: SubtaskState| match state {
        SubtaskState::Unspecified => "-".to_owned(),
        state => state.word(),
    };
    let context = found.context.iter().map(|diff| {
        vec![
            cell(format!("context {}", diff.key)),
            cell(value(diff.from.as_deref())),
            cell(value(diff.to.as_deref())),
        ]
    });
    let subtasks = found.subtasks.iter().map(|sub| {
        vec![cell(format!("subtask {}", sub.key)), cell(state(sub.from())), cell(state(sub.to()))]
    });
    let lines = table::titled(&out.term, &["what", "from", "to"], context.chain(subtasks).collect());
    lines.into_iter().try_for_each(|line| out.line(line))
}
