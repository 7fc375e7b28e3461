//! A whole task, as `POST /orchestrate` and `GET /tasks/{task_id}` answer.

use downbeat_core::{
    draft::{Approvers, Choice, Does},
    id::Index,
    note::Vote,
    time::Time,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Artifact, AttemptError, KindWord, ModeWord, Moment, OutcomeWord, PriorityWord, RunIfWord, Shown,
    SubtaskStateWord, TaskStatusWord, ThenWord, WorkflowAt, raw_or_null,
};
use crate::{
    view::{AttemptView, SubtaskView, TaskView},
    wire::{figures::seconds, kind::Kind, proto::asked},
};

/// A task with everything about it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Task<'a> {
    task_id: &'a str,
    title: &'a str,
    description: &'a str,
    priority: PriorityWord,
    #[schema(value_type = Object)]
    metadata: &'a RawValue,
    status: TaskStatusWord,
    execution_mode: ModeWord,
    /// In the order of the plan.
    subtasks: Vec<Subtask<'a>>,
    metrics: Metrics,
    /// Every status entered, oldest first.
    status_history: Vec<StatusChange>,
    /// Left out together with the outputs.
    artifacts: Vec<NamedArtifact<'a>>,
    created_at: Moment,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
    /// When an unfinished task ends as failed.
    deadline: Option<Moment>,
    /// Why it failed or was cancelled; empty otherwise.
    reason: &'a str,
    /// Number of the newest event.
    last_event: u64,
    /// What it was started from; null: a plan of its own.
    workflow: Option<WorkflowAt<'a>>,
    /// Of a task that is a subtask of another one: which.
    inside: Option<Inside<'a>>,
}

/// Which subtask a task is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Inside)]
pub(crate) struct Inside<'a> {
    task_id: &'a str,
    subtask_id: &'a str,
    /// Which of the tasks that the subtask began, from 1.
    attempt: u16,
    /// How many tasks it stands in.
    depth: u32,
}

/// One subtask.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subtask<'a> {
    #[schema(example = "code-review::feature-1087::1")]
    subtask_id: &'a str,
    key: &'a str,
    /// Empty: any agent with the capabilities.
    agent: &'a str,
    capabilities: &'a [String],
    /// Keys.
    depends_on: Vec<&'a str>,
    state: SubtaskStateWord,
    #[schema(value_type = serde_json::Value)]
    input: Option<&'a RawValue>,
    /// What it delivered; null until then. Not there with `outputs=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    outputs: Option<&'a RawValue>,
    artifacts: Vec<Artifact<'a>>,
    attempts: Vec<Attempt<'a>>,
    priority: PriorityWord,
    sla_seconds: Option<u32>,
    max_attempts: u16,
    /// The next attempt, or the end of the SLA.
    wake_at: Option<Moment>,
    /// Why it is blocked, in review, failed or skipped; empty otherwise.
    reason: &'a str,
    /// The same for programs; empty where there is nothing to tell apart.
    #[schema(example = "CONDITION_FALSE")]
    code: &'a str,
    /// Who decided the present state; empty: nobody, or not said.
    by: &'a str,
    kind: KindWord,
    /// The id of what it belongs to.
    parent: Option<&'a str>,
    /// The id of what it runs again.
    replaces: Option<&'a str>,
    /// It ran again: another one has its key.
    replaced: bool,
    /// Which element of a map, from 0, or round of a loop, from 1.
    nth: Option<u32>,
    run_if: RunIfWord,
    when: Option<&'a str>,
    /// How an approval stands that was asked for.
    gate: Option<Gate<'a>>,
    /// Of a workflow: the newest task that it began.
    inner_task_id: Option<String>,
}

/// How an approval stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gate)]
pub(crate) struct Gate<'a> {
    /// Of what is to be approved, its input and the outputs it depends on; a decision names it.
    digest: &'a str,
    message: &'a str,
    /// Who may decide now; none: anybody.
    approvers: Vec<AskedPeople<'a>>,
    /// So many different people have to choose the same.
    quorum: u32,
    options: Vec<GateOption<'a>>,
    /// The newest of each person.
    votes: Vec<GateVote<'a>>,
}

/// Some people: each of these names, and whoever has one of these roles.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GateApprovers)]
pub(crate) struct AskedPeople<'a> {
    names: &'a [String],
    roles: &'a [String],
}

/// What can be chosen.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GateOption)]
pub(crate) struct GateOption<'a> {
    name: &'a str,
    then: ThenWord,
}

/// What one person chose.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GateVote)]
pub(crate) struct GateVote<'a> {
    by: &'a str,
    option: &'a str,
    comment: &'a str,
    at: Moment,
}

/// One execution of a subtask under one lease.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attempt<'a> {
    attempt: u16,
    lease_id: i64,
    worker: &'a str,
    /// null while it is under way.
    outcome: Option<OutcomeWord>,
    started_at: Moment,
    ended_at: Option<Moment>,
    error: Option<AttemptError<'a>>,
}

/// Figures of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metrics {
    /// From the first execution to the end, or to now.
    elapsed_seconds: f64,
    /// Judged by `metadata.due_date`; null without one.
    on_time: Option<bool>,
    subtasks_total: u32,
    subtasks_finished: u32,
    attempts: u32,
    failures: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusChange {
    status: TaskStatusWord,
    at: Moment,
}

/// An output kept by reference, and where it came from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamedArtifact<'a> {
    subtask_id: &'a str,
    #[serde(flatten)]
    artifact: Artifact<'a>,
}

impl<'a> Task<'a> {
    /// `outputs` says whether the view was read with them.
    pub(crate) fn new(view: &'a TaskView, outputs: bool) -> Task<'a> {
        let (task, request) = (&view.task, &view.record.request);
        let artifact = |(index, found)| NamedArtifact {
            subtask_id: &view.node(index).id,
            artifact: Artifact::new(found),
        };
        let metrics = &view.metrics;
        Task {
            task_id: &task.id,
            title: &request.title,
            description: &request.description,
            priority: Shown(task.priority),
            metadata: raw_or_null(&request.metadata),
            status: Shown(task.status),
            execution_mode: Shown(task.course.mode()),
            subtasks: view.shown().map(|(index, sub)| Subtask::new(view, index, sub, outputs)).collect(),
            metrics: Metrics {
                elapsed_seconds: seconds(metrics.elapsed_ms),
                on_time: metrics.on_time,
                subtasks_total: metrics.total,
                subtasks_finished: metrics.finished,
                attempts: metrics.attempts,
                failures: metrics.failures,
            },
            status_history: history(view),
            artifacts: view.artifacts().map(artifact).collect(),
            created_at: Moment(task.created_at),
            started_at: task.started_at.map(Moment),
            ended_at: task.ended_at.map(Moment),
            deadline: task.deadline.map(Moment),
            reason: &task.reason,
            last_event: task.events,
            workflow: request.workflow.as_ref().map(WorkflowAt::new),
            inside: request.inside.as_deref().map(|inside| Inside {
                task_id: &inside.task_id,
                subtask_id: &inside.subtask_id,
                attempt: inside.attempt,
                depth: inside.depth,
            }),
        }
    }
}

impl<'a> Subtask<'a> {
    fn new(view: &'a TaskView, index: usize, sub: &'a SubtaskView, outputs: bool) -> Subtask<'a> {
        let (node, plan) = (view.node(index), &view.record.plan);
        let at = Index::try_from(index).unwrap_or(Index::MAX);
        let id = |at: Index| plan.node(at).map(|node| node.id.as_str());
        Subtask {
            subtask_id: &node.id,
            key: &node.key,
            agent: &node.agent,
            capabilities: &node.capabilities,
            depends_on: node.depends_on.iter().map(|&at| view.node(at as usize).key.as_str()).collect(),
            state: Shown(sub.row.state),
            input: plan.input(at),
            outputs: outputs.then(|| raw_or_null(&sub.output.body)),
            artifacts: sub.output.artifacts.iter().map(Artifact::new).collect(),
            attempts: sub.attempts.iter().map(Attempt::new).collect(),
            priority: Shown(sub.row.priority),
            sla_seconds: node.sla_seconds,
            max_attempts: node.attempts_max,
            wake_at: sub.row.wake_at.map(Moment),
            reason: &sub.reason,
            code: &sub.code,
            by: &sub.by,
            kind: Shown(Kind::of(node)),
            parent: node.parent.and_then(id),
            replaces: node.replaces.and_then(id),
            replaced: plan.is_replaced(at),
            nth: node.nth,
            run_if: Shown(node.run_if),
            when: node.when.as_deref(),
            gate: Gate::new(view, index, sub),
            inner_task_id: view.inner(index),
        }
    }
}

impl<'a> Gate<'a> {
    fn new(view: &'a TaskView, index: usize, sub: &'a SubtaskView) -> Option<Gate<'a>> {
        let (Does::Approval(approval), Some(gate)) = (&view.node(index).does, &sub.gate) else { return None };
        let people = |level: &'a Approvers| AskedPeople { names: &level.names, roles: &level.roles };
        let option = |choice: &'a Choice| GateOption { name: &choice.name, then: Shown(choice.then) };
        let vote = |vote: &'a Vote| GateVote {
            by: &vote.by,
            option: &vote.option,
            comment: &vote.comment,
            at: Moment(vote.at),
        };
        Some(Gate {
            digest: &gate.digest,
            message: &approval.message,
            approvers: asked(approval, gate).iter().map(people).collect(),
            quorum: approval.quorum,
            options: approval.options.iter().map(option).collect(),
            votes: gate.votes.iter().map(vote).collect(),
        })
    }
}

impl<'a> Attempt<'a> {
    fn new(attempt: &'a AttemptView) -> Attempt<'a> {
        Attempt {
            attempt: attempt.attempt,
            lease_id: attempt.lease.0,
            worker: &attempt.worker,
            outcome: attempt.outcome.map(Shown),
            started_at: Moment(attempt.started_at),
            ended_at: attempt.ended_at.map(Moment),
            error: attempt.error.as_ref().map(AttemptError::new),
        }
    }
}

fn history(view: &TaskView) -> Vec<StatusChange> {
    let change = |(status, at): &(_, Time)| StatusChange { status: Shown(*status), at: Moment(*at) };
    view.status_history.iter().map(change).collect()
}
