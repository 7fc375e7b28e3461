//! `downbeat schedule`.

use std::time::{Duration, SystemTime};

use clap::Subcommand;
use downbeat_sdk::{
    Client, Timing,
    proto::{Schedule, schedule_timing::When},
};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    json,
    out::Out,
    review::By,
    table::{self, cell},
    task_file,
    words::{Word, now_ms, span, time},
};

/// Start tasks by time
///
/// Each due time starts one task, whichever replicas of the control plane live and die. The task's id is the name of the
/// schedule and the due time, as in `nightly-20261130T020000Z`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A schedule:
  name: nightly
  cron: {expression: 30 2 * * MON-FRI, time_zone: Europe/Berlin}
  # or interval: {every_seconds: 3600, offset_seconds: 600}, or once: {at: 2027-01-01T00:00:00Z}
  overlap: skip              the task before still runs: or queue, cancel_running, allow
  catch_up_seconds: 60       what is later than that is missed
  task:                      as for `downbeat submit`, without task_id
    title: Nightly audit
    deadline_seconds: 3600   from its start
    plan:
      subtasks:
        - {key: audit, agent: code-review}
    # or workflow: {name: audit, parameters: {depth: 2}}, with a version, or the newest at each due time

Examples:
  downbeat schedule create nightly.yaml
  downbeat schedule preview --cron '30 2 * * MON-FRI' --time-zone Europe/Berlin
  downbeat schedule get nightly
  downbeat schedule pause nightly --reason 'the freeze'
  downbeat schedule trigger nightly --id before-release
  downbeat schedule backfill nightly --from 2026-11-01T00:00:00Z --until 2026-11-08T00:00:00Z")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a schedule; the same one again changes nothing
    Create(File),
    /// List schedules by name
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a schedule, and what became of its due times
    Get(Named),
    /// Put another one in its place; what was due before stays as it was decided
    Update(File),
    /// Let nothing be due until it is resumed
    Pause {
        #[command(flatten)]
        named: Named,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// Go on with the next due time; those of the pause were never to be
    Resume(Named),
    /// Start its task now, whatever runs, and be it paused
    Trigger {
        #[command(flatten)]
        named: Named,
        /// Your own, part of the task's id: the same one again starts nothing
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        id: String,
    },
    /// Start a task for each due time of a range in the past, at most 100, beside each other
    Backfill {
        #[command(flatten)]
        named: Named,
        /// The first time, such as 2026-11-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        from: Timestamp,
        /// The time before which it ends
        #[arg(long, value_name = "TIME")]
        until: Timestamp,
        /// Your own, part of the tasks' ids: what has been filled in under it is not again
        #[arg(long, value_name = "TEXT", default_value = "backfill")]
        id: String,
    },
    /// Show the next due times, also of a schedule that does not exist yet
    Preview(Preview),
    /// Delete a schedule; its tasks go on
    Delete(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The schedule's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The schedule, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct Preview {
    /// The schedule's name
    #[arg(value_name = "NAME", required_unless_present_any = ["cron", "every"])]
    name: Option<String>,
    /// An expression instead: minute, hour, day of month, month, day of week
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["name", "every"])]
    cron: Option<String>,
    /// Its time zone
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "cron")]
    time_zone: String,
    /// An interval instead
    #[arg(long, value_name = "SECONDS", conflicts_with = "name")]
    every: Option<u32>,
    /// How many
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    count: u32,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        match self.action {
            Action::Create(File { file, connection }) => {
                let (name, spec) = task_file::read_schedule(&file)?;
                let (schedule, existed) = connection.client().await?.create_schedule(name, spec).await?;
                show(out, &schedule, if existed { "had been created before" } else { "is created" })
            }
            Action::List { connection } => list(out, &connection.client().await?).await,
            Action::Get(Named { name, connection }) => {
                get(out, &connection.client().await?.schedule(name).await?)
            }
            Action::Update(File { file, connection }) => {
                let (name, spec) = task_file::read_schedule(&file)?;
                show(out, &connection.client().await?.update_schedule(name, spec).await?, "is updated")
            }
            Action::Pause { named: Named { name, connection }, reason, by } => {
                let client = connection.client().await?.by(by.name());
                show(out, &client.pause_schedule(name, reason).await?, "is paused")
            }
            Action::Resume(Named { name, connection }) => {
                show(out, &connection.client().await?.resume_schedule(name).await?, "is resumed")
            }
            Action::Trigger { named: Named { name, connection }, id } => {
                let task = connection.client().await?.trigger_schedule(name, id).await?;
                out.either(|| json!({"task_id": task}), |_| vec![format!("started {task}")])
            }
            Action::Backfill { named: Named { name, connection }, from, until, id } => {
                let (from, until) = (SystemTime::from(from), SystemTime::from(until));
                let tasks = connection.client().await?.backfill_schedule(name, from, until, id).await?;
                out.either(
                    || json!({"task_ids": tasks}),
                    |_| match &tasks[..] {
                        [] => vec!["nothing was due".to_owned()],
                        tasks => tasks.iter().map(|task| format!("started {task}")).collect(),
                    },
                )
            }
            Action::Preview(preview) => preview.run(out).await,
            Action::Delete(Named { name, connection }) => {
                connection.client().await?.delete_schedule(&name).await?;
                out.either(|| json!({"name": name}), |_| vec![format!("{name} is deleted")])
            }
        }
    }
}

impl Preview {
    async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let due = match (self.name, self.cron, self.every) {
            (Some(name), ..) => client.preview_schedule(name, self.count).await?,
            (None, Some(cron), _) => {
                client.preview_timing(Timing::cron(cron, self.time_zone), self.count).await?
            }
            (None, None, every) => {
                let every = Duration::from_secs(every.unwrap_or_default().into());
                client.preview_timing(Timing::every(every), self.count).await?
            }
        };
        out.either(
            || json!({"due": due.iter().map(|at| time(*at)).collect::<Vec<_>>()}),
            |_| match &due[..] {
                [] => vec!["never".to_owned()],
                due => due.iter().filter_map(|at| time(*at)).collect(),
            },
        )
    }
}

/// What was done, and when it is due next.
fn show(out: &mut Out, schedule: &Schedule, done: &str) -> Result {
    out.either(
        || json::schedule(schedule),
        |_| vec![format!("{} {done}; next: {}", schedule.name, next(schedule))],
    )
}

fn next(schedule: &Schedule) -> String {
    match time(schedule.next_due_ms) {
        Some(at) => format!("{at} (in {})", span(schedule.next_due_ms - now_ms())),
        None if schedule.paused.is_some() => "paused".to_owned(),
        None => "never".to_owned(),
    }
}

/// `30 2 * * * in Europe/Berlin`, `every 3600 s`, `once at ...`.
fn timing(schedule: &Schedule) -> String {
    let spec = schedule.spec.as_ref();
    match spec.and_then(|spec| spec.timing.as_ref()).and_then(|timing| timing.when.as_ref()) {
        Some(When::Cron(cron)) => format!("{} in {}", cron.expression, cron.time_zone),
        Some(When::Interval(interval)) if interval.offset_seconds > 0 => {
            format!("every {} s, and {} s", interval.every_seconds, interval.offset_seconds)
        }
        Some(When::Interval(interval)) => format!("every {} s", interval.every_seconds),
        Some(When::Once(once)) => format!("once at {}", time(once.at_ms).unwrap_or_default()),
        None => String::new(),
    }
}

fn overlap(schedule: &Schedule) -> String {
    schedule.spec.as_ref().map(|spec| spec.overlap().word()).unwrap_or_default()
}

async fn list(out: &mut Out, client: &Client) -> Result {
    let all = client.schedules().await?;
    if out.json {
        return out.json(&json!({"schedules": all.iter().map(json::schedule).collect::<Vec<_>>()}));
    }
    if all.is_empty() {
        return out.line("no schedules; `downbeat schedule --help` shows how to write one");
    }
    let rows = all.iter().map(|it| {
        vec![cell(&it.name), cell(timing(it)), cell(overlap(it)), cell(next(it)), cell(&it.last_task_id)]
    });
    let lines =
        table::titled(&out.term, &["schedule", "when", "overlap", "next", "last task"], rows.collect());
    lines.into_iter().try_for_each(|line| out.line(line))
}

fn get(out: &mut Out, schedule: &Schedule) -> Result {
    if out.json {
        return out.json(&json::schedule(schedule));
    }
    out.line(format!("{}: {}; overlap: {}", schedule.name, timing(schedule), overlap(schedule)))?;
    out.line(format!("next: {}", next(schedule)))?;
    if let Some(paused) = &schedule.paused {
        let at = time(paused.at_ms).unwrap_or_default();
        out.line(format!("paused at {at} by {}: {}", paused.by, paused.reason))?;
    }
    if let Some(waits) = time(schedule.waiting_due_ms) {
        out.line(format!("the one of {waits} waits for {}", schedule.last_task_id))?;
    }
    let counts = schedule.counts.unwrap_or_default();
    let (started, skipped) = (counts.started, counts.skipped);
    let (missed, refused) = (counts.missed, counts.refused);
    out.line(format!("{started} started, {skipped} skipped, {missed} missed, {refused} refused"))?;
    let rows: Vec<_> = schedule
        .firings
        .iter()
        .map(|firing| {
            let what = match firing.count {
                0 | 1 => firing.outcome().word(),
                count => format!("{count} {}", firing.outcome().word()),
            };
            let due = time(firing.due_ms).unwrap_or_default();
            vec![
                cell(due),
                cell(firing.cause().word()),
                cell(what),
                cell(&firing.task_id),
                cell(&firing.reason),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let lines = table::titled(&out.term, &["due", "cause", "outcome", "task", "reason"], rows);
    lines.into_iter().try_for_each(|line| out.line(line))
}
