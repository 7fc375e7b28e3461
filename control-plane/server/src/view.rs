//! What callers see of a task: rows, plan, outputs and history put together. Every face prints this.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use downbeat_core::{
    check::Violation,
    event::{Artifact, AttemptError, Event, What},
    id::{Index, LeaseId, TaskId},
    nested::inner_id,
    note::{Gate, NoteKey},
    plan::{Node, Plan},
    session::AgentDeclaration,
    subtask::{Outcome, Subtask, SubtaskState},
    task::{Task, TaskStatus},
    time::Time,
};
use downbeat_store::{PlanRecord, WorkflowVersion};

use crate::{docs::Delivered, workflow::Definition};

/// A whole task.
#[derive(Clone, Debug)]
pub struct TaskView {
    pub task: Task,
    pub record: Arc<PlanRecord>,
    /// In the order of the plan.
    pub subtasks: Vec<SubtaskView>,
    pub status_history: Vec<(TaskStatus, Time)>,
    pub metrics: Metrics,
    /// Also show what runs again, and what belonged to it.
    pub with_replaced: bool,
}

/// A version of a stored workflow, with what it says.
#[derive(Clone, Debug)]
pub struct WorkflowView {
    pub version: WorkflowVersion,
    pub(crate) definition: Definition,
}

/// The answer to a change of a stored workflow: its newest version, and whether it was so before.
#[derive(Clone, Debug)]
pub struct Stored {
    pub view: WorkflowView,
    pub existed: bool,
}

/// A page of workflows, or of versions of one.
#[derive(Clone, Debug)]
pub struct WorkflowPage {
    pub versions: Vec<WorkflowVersion>,
    more: bool,
}

impl WorkflowPage {
    /// A page of at most `limit` of these; there is a next one when there are more.
    pub(crate) fn cut(mut versions: Vec<WorkflowVersion>, limit: u32) -> WorkflowPage {
        let more = versions.len() > limit as usize;
        versions.truncate(limit as usize);
        WorkflowPage { versions, more }
    }

    /// What the next page begins after; `None`: there is none.
    pub fn next(&self) -> Option<&WorkflowVersion> {
        self.versions.last().filter(|_| self.more)
    }
}

/// How two versions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowDiff {
    pub from: u32,
    pub to: u32,
    /// Unified; empty: they say the same.
    pub diff: String,
}

/// One subtask of it; its fixed part is `record.plan.nodes()[index]`.
#[derive(Clone, Debug)]
pub struct SubtaskView {
    pub row: Subtask,
    pub attempts: Vec<AttemptView>,
    pub output: Delivered,
    /// Why it is where it is; empty when there is nothing to say.
    pub reason: String,
    /// The same for programs; may be empty.
    pub code: String,
    /// Who decided the present state; may be empty.
    pub by: String,
    /// Of an approval that was asked for.
    pub gate: Option<Gate>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptView {
    pub attempt: u16,
    pub lease: LeaseId,
    pub worker: String,
    /// `None`: under way.
    pub outcome: Option<Outcome>,
    pub started_at: Time,
    pub ended_at: Option<Time>,
    pub error: Option<AttemptError>,
}

/// Figures of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// From the first execution to the end, or to now; 0 before.
    pub elapsed_ms: u64,
    /// Judged by `metadata.due_date`; `None` without one.
    pub on_time: Option<bool>,
    pub total: u32,
    pub finished: u32,
    pub attempts: u32,
    /// Attempts that failed or timed out.
    pub failures: u32,
}

impl TaskView {
    /// Puts it together. `events` are the task's whole history so far.
    pub fn new(
        task: Task,
        rows: Vec<Subtask>,
        record: Arc<PlanRecord>,
        mut outputs: BTreeMap<Index, Delivered>,
        notes: &[(NoteKey, Bytes)],
        events: &[Event],
        now: Time,
    ) -> TaskView {
        let mut subtasks: Vec<SubtaskView> = (0..)
            .zip(rows)
            .map(|(index, row)| SubtaskView {
                row,
                attempts: Vec::new(),
                output: outputs.remove(&index).unwrap_or_default(),
                reason: String::new(),
                code: String::new(),
                by: String::new(),
                gate: None,
            })
            .collect();
        for (key, body) in notes {
            if let NoteKey::Gate(index) = key
                && let Some(sub) = subtasks.get_mut(*index as usize)
            {
                sub.gate = serde_json::from_slice(body).ok();
            }
        }
        let mut status_history = Vec::new();
        for event in events {
            fold(event, &mut subtasks, &mut status_history);
        }
        let metrics = metrics(&task, &record.plan, &subtasks, now);
        TaskView { task, record, subtasks, status_history, metrics, with_replaced: false }
    }

    /// What is shown, each with its place in the plan.
    pub fn shown(&self) -> impl Iterator<Item = (usize, &SubtaskView)> {
        let current =
            |index: usize| Index::try_from(index).is_ok_and(|index| self.record.plan.is_current(index));
        self.subtasks.iter().enumerate().filter(move |(index, _)| self.with_replaced || current(*index))
    }

    /// The fixed part of a subtask.
    pub fn node(&self, index: usize) -> &Node {
        &self.record.plan.nodes()[index]
    }

    /// Of a subtask that is a task of its own: the newest one that it began.
    pub fn inner(&self, index: usize) -> Option<TaskId> {
        let (node, attempts) = (self.node(index), self.subtasks.get(index)?.row.attempts);
        (node.does.is_workflow() && attempts > 0).then(|| inner_id(&node.id, attempts))
    }

    /// The artifacts of what is shown, with the index of the subtask they came from.
    pub fn artifacts(&self) -> impl Iterator<Item = (usize, &Artifact)> {
        self.shown().flat_map(|(i, sub)| sub.output.artifacts.iter().map(move |artifact| (i, artifact)))
    }
}

fn fold(event: &Event, subtasks: &mut [SubtaskView], statuses: &mut Vec<(TaskStatus, Time)>) {
    if let What::Task { status, .. } = event.what {
        statuses.push((status, event.at));
        return;
    }
    let Some(sub) = event.what.index().and_then(|index| subtasks.get_mut(index as usize)) else { return };
    match &event.what {
        What::Leased { attempt, lease, worker, .. } => {
            (sub.reason, sub.code, sub.by) = Default::default();
            sub.attempts.push(AttemptView {
                attempt: *attempt,
                lease: *lease,
                worker: worker.clone(),
                outcome: None,
                started_at: event.at,
                ended_at: None,
                error: None,
            });
        }
        What::Returned { lease, .. } => sub.attempts.retain(|attempt| attempt.lease != *lease),
        What::Ended { lease, outcome, error, reason, .. } => {
            sub.reason.clone_from(reason);
            (sub.code, sub.by) = Default::default();
            if let Some(attempt) = sub.attempts.iter_mut().find(|attempt| attempt.lease == *lease) {
                attempt.outcome = Some(*outcome);
                attempt.ended_at = Some(event.at);
                attempt.error.clone_from(error);
            }
        }
        What::Subtask { state, reason, code, by, .. } if *state != SubtaskState::Running => {
            sub.reason.clone_from(reason);
            sub.code.clone_from(code);
            sub.by.clone_from(by);
        }
        What::Subtask { .. }
        | What::Progress { .. }
        | What::Grown { .. }
        | What::Voted { .. }
        | What::Signalled { .. }
        | What::Snapshot { .. }
        | What::Context { .. }
        | What::Task { .. } => {}
    }
}

fn metrics(task: &Task, plan: &Plan, subtasks: &[SubtaskView], now: Time) -> Metrics {
    let current = (0..).zip(subtasks).filter(|(index, _)| plan.is_current(*index)).map(|(_, sub)| sub);
    let (mut total, mut finished) = (0, 0);
    for sub in current {
        total += 1;
        finished += u32::from(sub.row.state.is_terminal());
    }
    let end = task.ended_at.unwrap_or(now);
    let attempts = subtasks.iter().flat_map(|sub| &sub.attempts);
    let failed = |a: &&AttemptView| matches!(a.outcome, Some(Outcome::Failed | Outcome::TimedOut));
    Metrics {
        elapsed_ms: task.started_at.map_or(0, |start| end.since_ms(start)),
        on_time: task.due_at.map(|due| end <= due),
        total,
        finished,
        attempts: u32::try_from(attempts.clone().count()).unwrap_or(u32::MAX),
        failures: u32::try_from(attempts.filter(failed).count()).unwrap_or(u32::MAX),
    }
}

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// At least one live worker takes work.
    Healthy,
    /// Workers exist, all of them draining or disconnected.
    Degraded,
    /// Known, no worker.
    Offline,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Offline => "offline",
        }
    }
}

/// An agent with its workers' state.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    pub declaration: AgentDeclaration,
    pub health: Health,
    pub workers: u32,
    pub slots: u32,
    pub busy: u32,
    pub last_seen: Time,
}

/// A worker's session.
#[derive(Clone, Debug)]
pub struct WorkerView {
    pub session: downbeat_core::session::Session,
    pub busy: u32,
}

/// A line of the task's history with names instead of numbers.
#[derive(Clone, Debug)]
pub struct EventView {
    pub event: Event,
    /// Empty for events of the task itself.
    pub subtask_id: String,
    pub key: String,
}

/// A page of events.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    pub events: Vec<EventView>,
    /// The task is final and this was its last event.
    pub end: bool,
}

impl EventPage {
    /// How many nodes a plan has at least that names what these are about.
    pub fn nodes_named(events: &[Event]) -> Index {
        events.iter().filter_map(|event| event.what.index()).max().map_or(0, |index| index + 1)
    }

    /// Events of one task, with the names of its plan.
    /// The history of a task that has something run again goes on after a final event, so that only a page with room
    /// for more says that this is the end.
    pub fn new(events: Vec<Event>, record: &PlanRecord, limit: u32) -> EventPage {
        let is_final =
            |event: &Event| matches!(event.what, What::Task { status, .. } if status.is_terminal());
        let end = events.len() < limit as usize && events.last().is_some_and(is_final);
        let named = |event: Event| {
            let node = event.what.index().and_then(|index| record.plan.node(index));
            let (subtask_id, key) = node.map(|n| (n.id.clone(), n.key.clone())).unwrap_or_default();
            EventView { event, subtask_id, key }
        };
        EventPage { events: events.into_iter().map(named).collect(), end }
    }
}

/// An accepted (or existing) task.
#[derive(Clone, Debug)]
pub struct Submitted {
    pub view: TaskView,
    pub existed: bool,
}

/// What was found in a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it would be refused.
    pub errors: Vec<Violation>,
    /// What looks like a mistake; only where it would not be refused.
    pub warnings: Vec<Violation>,
}

/// The answer to an execution.
#[derive(Clone, Debug)]
pub struct Executed {
    pub id: TaskId,
    pub status: TaskStatus,
    /// The plan they stand in, and the subtasks that nobody can do now.
    pub record: Arc<PlanRecord>,
    pub blocked: Vec<Index>,
}
