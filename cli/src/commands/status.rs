//! `downbeat status`.

use downbeat_sdk::proto::Inside;

use crate::{
    args::Connection,
    board::Board,
    failure::Result,
    json,
    out::Out,
    table::{self, cell},
    view,
    words::{Word, now_ms, span, time},
};

/// Show one task with its subtasks
///
/// What belongs to a group, map or loop stands below it. Of a task with many subtasks those are shown that say most.
/// With `--json` everything: also inputs, outputs, and every attempt.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat status feature-1087
  downbeat status feature-1087 --attempts
  downbeat status feature-1087 --json")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Show every attempt
    #[arg(long)]
    attempts: bool,
    /// Show every subtask, however many there are
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        if out.json {
            let task = client.get(&self.task_id).await?;
            return out.json(&json::task(&task));
        }
        let task = client.get_without_outputs(&self.task_id).await?;
        let board = Board::new(&task);
        let lines_max = if self.all { usize::MAX } else { view::LINES_MAX };
        let mut lines = view::lines(&out.term, &board, now_ms(), lines_max);
        if self.attempts {
            lines.push(String::new());
            let attempts = task.subtasks.iter().flat_map(|sub| sub.attempts.iter().map(move |a| (sub, a)));
            let rows = attempts.map(|(subtask, attempt)| {
                let end = if attempt.ended_at_ms > 0 { attempt.ended_at_ms } else { now_ms() };
                let outcome = attempt.outcome().word();
                let error = attempt.error.as_ref().map(|e| format!("{}: {}", e.code, e.message));
                vec![
                    cell(&subtask.key),
                    cell(attempt.attempt.to_string()),
                    cell(attempt.lease_id.to_string()),
                    cell(&attempt.worker),
                    cell(if outcome == "unspecified" { "under way" } else { &outcome }),
                    cell(time(attempt.started_at_ms).unwrap_or_default()),
                    cell(span(end - attempt.started_at_ms)),
                    cell(error.unwrap_or_default()),
                ]
            });
            let head = ["subtask", "attempt", "lease", "worker", "outcome", "started", "took", "error"];
            lines.extend(table::titled(&out.term, &head, rows.collect()));
        }
        if let Some(Inside { task_id, subtask_id, .. }) = &task.inside {
            lines.push(format!("the subtask {subtask_id} of the task {task_id}"));
        }
        if let Some(on_time) = task.metrics.and_then(|metrics| metrics.on_time) {
            lines.push(if on_time {
                "on time".to_owned()
            } else {
                "late: the due date has passed".to_owned()
            });
        }
        for named in &task.artifacts {
            if let Some(artifact) = &named.artifact {
                lines.push(format!("artifact {} of {}: {}", artifact.name, named.subtask_id, artifact.uri));
            }
        }
        lines.extend(view::advice(&board));
        lines.into_iter().try_for_each(|line| out.line(line))
    }
}
