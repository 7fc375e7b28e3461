//! Lists of tasks and events, one subtask's output, and what is left after something was done.

use downbeat_store::{TaskPage, TaskSummary};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Artifact, AttemptError, Moment, OutcomeWord, PriorityWord, Shown, SubtaskStateWord, TaskStatusWord,
    raw_or_null,
};
use crate::{
    docs::Delivered,
    view::{EventPage, EventView},
    wire::{
        event::{Change, Told, next_after},
        page,
    },
};

/// A page of tasks, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tasks<'a> {
    tasks: Vec<Summary<'a>>,
    /// Give it as `page_token` to get the next page; null at the end.
    next_page_token: Option<String>,
}

/// A line of a list of tasks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TaskSummary)]
pub(crate) struct Summary<'a> {
    task_id: &'a str,
    title: &'a str,
    priority: PriorityWord,
    status: TaskStatusWord,
    subtasks_total: u32,
    subtasks_finished: u32,
    created_at: Moment,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
}

impl<'a> Tasks<'a> {
    pub(crate) fn new(found: &'a TaskPage) -> Tasks<'a> {
        Tasks {
            tasks: found.tasks.iter().map(Summary::new).collect(),
            next_page_token: found.next.map(page::token),
        }
    }
}

impl<'a> Summary<'a> {
    fn new(task: &'a TaskSummary) -> Summary<'a> {
        Summary {
            task_id: &task.id,
            title: &task.title,
            priority: Shown(task.priority),
            status: Shown(task.status),
            subtasks_total: task.total,
            subtasks_finished: task.total.saturating_sub(task.unfinished),
            created_at: Moment(task.created_at),
            started_at: task.started_at.map(Moment),
            ended_at: task.ended_at.map(Moment),
        }
    }
}

/// A page of a task's history, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Events<'a> {
    events: Vec<Event<'a>>,
    /// Give it as `after` to get the next page; null when there is none now.
    next_after: Option<u64>,
}

/// One entry of a task's history, numbered from 1 without gaps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event<'a> {
    number: u64,
    at: Moment,
    #[schema(example = "subtask.completed")]
    kind: String,
    /// null for events of the task itself, as is `key`.
    subtask_id: Option<&'a str>,
    key: Option<&'a str>,
    attempt: Option<u16>,
    lease_id: Option<i64>,
    worker: Option<&'a str>,
    /// The status that the task entered.
    task_status: Option<TaskStatusWord>,
    /// The state that the subtask entered.
    subtask_state: Option<SubtaskStateWord>,
    outcome: Option<OutcomeWord>,
    error: Option<AttemptError<'a>>,
    /// Progress, reasons, the name of a snapshot; empty otherwise.
    message: &'a str,
    /// Why, for programs, as in CONDITION_FALSE.
    code: Option<&'a str>,
    /// Who decided it.
    by: Option<&'a str>,
    /// Subtasks that were added.
    added: Option<u32>,
    /// What was chosen at an approval.
    option: Option<&'a str>,
    /// The name of a signal.
    signal: Option<&'a str>,
    /// The key of the shared context that was written.
    context: Option<ContextChange<'a>>,
}

/// A write to the shared context.
#[derive(Debug, Serialize, ToSchema)]
struct ContextChange<'a> {
    key: &'a str,
    /// That it has from then on.
    version: u64,
    /// Of the value.
    bytes: u64,
    /// Of the value, BLAKE3 in hexadecimal; null where it was deleted, or is again what it was before.
    digest: Option<&'a str>,
}

impl<'a> Events<'a> {
    /// `limit` is the page size that was asked for.
    pub(crate) fn new(found: &'a EventPage, limit: u32) -> Events<'a> {
        Events { events: found.events.iter().map(Event::new).collect(), next_after: next_after(found, limit) }
    }
}

impl<'a> Event<'a> {
    fn new(view: &'a EventView) -> Event<'a> {
        let told = Told::of(&view.event.what);
        Event {
            number: view.event.number,
            at: Moment(view.event.at),
            kind: view.event.what.kind(),
            subtask_id: some(&view.subtask_id),
            key: some(&view.key),
            attempt: told.attempt,
            lease_id: told.lease.map(|lease| lease.0),
            worker: some(told.worker),
            task_status: told.task_status.map(Shown),
            subtask_state: told.subtask_state.map(Shown),
            outcome: told.outcome.map(Shown),
            error: told.error.map(AttemptError::new),
            message: told.message,
            code: some(told.code),
            by: some(told.by),
            added: told.added,
            option: some(told.option),
            signal: some(told.signal),
            context: told.context.map(|Change { key, version, bytes, digest }| ContextChange {
                key,
                version,
                bytes,
                digest: some(digest),
            }),
        }
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// What one subtask delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Output<'a> {
    /// null when it delivered nothing, or nothing yet.
    #[schema(value_type = serde_json::Value)]
    output: &'a RawValue,
    artifacts: Vec<Artifact<'a>>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(delivered: &'a Delivered) -> Output<'a> {
        Output {
            output: raw_or_null(&delivered.body),
            artifacts: delivered.artifacts.iter().map(Artifact::new).collect(),
        }
    }
}

/// What was done to a task, and the status it has now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskChanged<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) status: TaskStatusWord,
}

/// What was done to a subtask, and the state it has now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubtaskChanged<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) state: SubtaskStateWord,
}

/// A subtask that was sent to another agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Routed<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) subtask_id: &'a str,
    pub(crate) agent: &'a str,
}
