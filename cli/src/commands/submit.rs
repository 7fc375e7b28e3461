//! `downbeat submit`.

use std::fmt::Write;

use downbeat_sdk::{Client, Submitted, proto::TaskStatus};
use serde_json::json;

use super::execute;
use crate::{
    args::Connection,
    board::Board,
    failure::Result,
    follow::{self, How},
    json,
    out::Out,
    task_file, view,
    words::now_ms,
};

/// Submit a task, and start and follow it if wanted
///
/// The file is JSON or YAML, of the same shape as the body of `POST /orchestrate`; `-` is standard input. The
/// same file again changes nothing and shows the task as it is; another task under the same `task_id` is
/// refused. Without a `plan` the control plane's rules make one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A task:
  task_id: release-42              your own name for it
  title: Release 42
  description: Build it, then review and test it.
  priority: high                   low, normal, high, critical
  metadata: {due_date: 2026-01-31, context: {branch: main}}
  deadline: 2026-01-31T12:00:00Z   the task fails then
  plan:
    subtasks:
      - {key: build, agent: builder, input: {ref: v42}}
      - {key: review, agent: code-review, depends_on: [build], sla_seconds: 600}
      - {key: test, capabilities: [pytest], depends_on: [build], max_attempts: 5}

What a subtask may have, too:
  run_if: any_failed               or all_succeeded, all_done, any_succeeded: of depends_on
  when: outputs.build.size > 0     a CEL expression; not true: skipped
  on_failure: fail                 or review, by a person
  retry: {backoff_seconds: 5, max_backoff_seconds: 60, non_retryable: [NO_ACCESS]}
  fallback: [other-agent]
  compensate: {agent: undo}        should the task fail

What it may be instead of work:
  approval: {message: Go?, approvers: [{names: [ada], roles: [boss]}], quorum: 1,
             options: [yes, {name: no, then: fail}], timeout_seconds: 60, on_timeout: reject}
  signal: {name: paid, matches: signal.amount > 0, timeout_seconds: 60}
  timer: {seconds: 60}             or {until: 2026-01-31T12:00:00Z}
  workflow: {name: release, version: 3, parameters_from: outputs.build}
                                   a task of a stored workflow; input: parameters, too
  group: {subtasks: [...]}
  map: {over: outputs.list.files, max_parallel: 4, failures: {tolerate: 2}, subtasks: [...]}
  loop: {until: outputs.judge.ok, max_iterations: 5, on_limit: complete, subtasks: [...]}

Examples:
  downbeat submit task.yaml
  downbeat submit task.yaml --execute --follow
  echo '{\"task_id\":\"t-1\",\"title\":\"Fix the login\"}' | downbeat submit -")]
pub(crate) struct Args {
    /// The task, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Start it, too
    #[arg(long)]
    execute: bool,
    /// Follow it until it ends
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let task = task_file::read(&self.file)?;
        let client = self.connection.client().await?;
        let task = if self.execute { task.execute() } else { task };
        let submitted = client.submit(task).await?;
        show(out, &client, submitted, Shown { execute: self.execute, follow: self.follow }).await
    }
}

/// What else was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) execute: bool,
    pub(crate) follow: bool,
}

/// Shows a task that was submitted, and follows it if wanted.
pub(crate) async fn show(out: &mut Out, client: &Client, submitted: Submitted, shown: Shown) -> Result {
    let Submitted { task, existed } = submitted;
    let id = task.task_id.clone();
    let blocked = execute::blocked(&task);
    if out.json {
        let mut document = json::task(&task);
        document["existed"] = existed.into();
        if shown.execute {
            document["blocked"] = json::blocked(&blocked);
        }
        out.json(&if shown.follow { json!({"task": document}) } else { document })?;
    } else if !(shown.follow && out.term.tty) {
        let mut text = String::new();
        if existed {
            let _ = writeln!(text, "{id} had been submitted before");
        }
        for line in view::lines(&out.term, &Board::new(&task), now_ms(), view::LINES_MAX) {
            let _ = writeln!(text, "{line}");
        }
        out.text(&text)?;
    }
    if shown.execute && !out.json {
        execute::tell_blocked(out, &blocked)?;
    }
    if shown.follow {
        return follow::follow(client, out, &id, How { after: Some(0), ..How::default() }).await;
    }
    if task.status() == TaskStatus::Planned && !out.json {
        out.line(format!("start it with `downbeat execute {id}`"))?;
    }
    Ok(())
}
