//! `downbeat tasks`.

use downbeat_sdk::{ListTasks, proto::TaskStatus};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    json,
    out::Out,
    table::{self, cell},
    words::{self, Word, now_ms, span, status_paint},
};

/// List tasks, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat tasks
  downbeat tasks --status running --status needs_review
  downbeat tasks --prefix feature- --limit 1000 --json")]
pub(crate) struct Args {
    /// Only tasks in this status; may be given several times
    #[arg(long = "status", value_name = "STATUS", value_parser = words::status)]
    statuses: Vec<TaskStatus>,
    /// Only tasks whose id starts so
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let filter = ListTasks::new().prefix(&self.prefix);
        let filter = self.statuses.iter().fold(filter, |filter, status| filter.status(*status));
        let tasks: Vec<_> = client.list_all(filter).take(self.limit).try_collect().await?;
        if out.json {
            return out.json(&json!({"tasks": tasks.iter().map(json::summary).collect::<Vec<_>>()}));
        }
        if tasks.is_empty() {
            return out.line("no tasks; `downbeat submit --help` shows how to write one");
        }
        let now = now_ms();
        let rows = tasks.iter().map(|task| {
            let end = if task.ended_at_ms > 0 { task.ended_at_ms } else { now };
            let took = if task.started_at_ms > 0 { span(end - task.started_at_ms) } else { String::new() };
            vec![
                cell(&task.task_id),
                (status_paint(task.status()), task.status().word()),
                cell(format!("{}/{}", task.subtasks_finished, task.subtasks_total)),
                cell(task.priority().word()),
                cell(format!("{} ago", span(now - task.created_at_ms))),
                cell(took),
                cell(&task.title),
            ]
        });
        let head = ["task", "status", "done", "priority", "submitted", "took", "title"];
        let lines = table::titled(&out.term, &head, rows.collect());
        lines.into_iter().try_for_each(|line| out.line(line))
    }
}
