//! Views, printed as proto messages.

mod schedule;

use bytes::Bytes;
use downbeat_core::{
    check::Violation,
    draft::{Approval, Approvers, Does},
    event::{Artifact, AttemptError},
    id::Index,
    note::{Gate, Snapshot},
    session::AgentDeclaration,
    time::Time,
};
use downbeat_proto::v1 as pb;
use downbeat_store::{TaskPage, TaskSummary};
use serde_json::value::RawValue;

pub(crate) use self::schedule::{schedule, schedules};
use super::{
    event::{Change, Told, next_after},
    figures::{load, seconds},
    kind::Kind,
    page,
    problems::{LISTED_MAX, listed},
    words::Word,
};
use crate::{
    docs::Delivered,
    view::{
        AgentView, AttemptView, EventPage, EventView, Executed, Findings, SubtaskView, TaskView, WorkerView,
    },
};

pub(crate) fn task(view: &TaskView) -> pb::Task {
    let (task, request) = (&view.task, &view.record.request);
    let artifacts = view.artifacts().map(|(index, found)| pb::NamedArtifact {
        subtask_id: view.node(index).id.clone(),
        artifact: Some(artifact(found.clone())),
    });
    let history = view
        .status_history
        .iter()
        .map(|(status, at)| pb::StatusChange { status: status.proto(), at_ms: at.0 });
    pb::Task {
        task_id: task.id.clone(),
        title: request.title.clone(),
        description: request.description.clone(),
        priority: task.priority.proto(),
        metadata: request.metadata.clone(),
        status: task.status.proto(),
        execution_mode: task.course.mode().proto(),
        subtasks: view.shown().map(|(index, sub)| subtask(view, index, sub)).collect(),
        metrics: Some(metrics(view)),
        status_history: history.collect(),
        artifacts: artifacts.collect(),
        created_at_ms: task.created_at.0,
        started_at_ms: or_zero(task.started_at),
        ended_at_ms: or_zero(task.ended_at),
        deadline_ms: or_zero(task.deadline),
        reason: task.reason.clone(),
        last_event: task.events,
        workflow: request
            .workflow
            .as_ref()
            .map(|at| pb::WorkflowAt { name: at.name.clone(), version: at.version }),
        inside: request.inside.as_deref().map(|inside| pb::Inside {
            task_id: inside.task_id.clone(),
            subtask_id: inside.subtask_id.clone(),
            attempt: inside.attempt.into(),
            depth: inside.depth,
        }),
    }
}

fn metrics(view: &TaskView) -> pb::Metrics {
    let metrics = &view.metrics;
    pb::Metrics {
        elapsed_seconds: seconds(metrics.elapsed_ms),
        on_time: metrics.on_time,
        subtasks_total: metrics.total,
        subtasks_finished: metrics.finished,
        attempts: metrics.attempts,
        failures: metrics.failures,
    }
}

fn subtask(view: &TaskView, index: usize, sub: &SubtaskView) -> pb::Subtask {
    let (node, plan) = (view.node(index), &view.record.plan);
    let at = Index::try_from(index).unwrap_or(Index::MAX);
    let id = |at: Index| plan.node(at).map(|node| node.id.clone()).unwrap_or_default();
    pb::Subtask {
        subtask_id: node.id.clone(),
        key: node.key.clone(),
        agent: node.agent.clone(),
        capabilities: node.capabilities.clone(),
        depends_on: node.depends_on.iter().map(|&at| view.node(at as usize).key.clone()).collect(),
        state: sub.row.state.proto(),
        input: plan.input(at).map(json).unwrap_or_default(),
        output: sub.output.body.clone(),
        artifacts: sub.output.artifacts.iter().cloned().map(artifact).collect(),
        attempts: sub.attempts.iter().map(attempt).collect(),
        priority: sub.row.priority.proto(),
        sla_seconds: node.sla_seconds.unwrap_or(0),
        max_attempts: node.attempts_max.into(),
        wake_at_ms: or_zero(sub.row.wake_at),
        reason: sub.reason.clone(),
        code: sub.code.clone(),
        kind: Kind::of(node).proto(),
        parent: node.parent.map(id).unwrap_or_default(),
        replaces: node.replaces.map(id).unwrap_or_default(),
        replaced: plan.is_replaced(at),
        nth: node.nth,
        gate: gate(view, index, sub),
        run_if: node.run_if.proto(),
        when: node.when.clone().unwrap_or_default(),
        by: sub.by.clone(),
        inner_task_id: view.inner(index).unwrap_or_default(),
    }
}

fn gate(view: &TaskView, index: usize, sub: &SubtaskView) -> Option<pb::Gate> {
    let (Does::Approval(approval), Some(gate)) = (&view.node(index).does, &sub.gate) else { return None };
    let approvers = asked(approval, gate);
    let approvers = approvers
        .iter()
        .map(|level| pb::Approvers { names: level.names.clone(), roles: level.roles.clone() });
    let options = approval
        .options
        .iter()
        .map(|option| pb::ApprovalOption { name: option.name.clone(), then: option.then.proto() });
    let votes = gate.votes.iter().map(|vote| pb::Vote {
        by: vote.by.clone(),
        option: vote.option.clone(),
        comment: vote.comment.clone(),
        at_ms: vote.at.0,
    });
    Some(pb::Gate {
        digest: gate.digest.clone(),
        message: approval.message.clone(),
        approvers: approvers.collect(),
        quorum: approval.quorum,
        options: options.collect(),
        votes: votes.collect(),
    })
}

/// The levels of approvers that are asked by now.
pub(crate) fn asked<'a>(approval: &'a Approval, gate: &Gate) -> &'a [Approvers] {
    &approval.approvers[..approval.approvers.len().min(gate.level + 1)]
}

pub(crate) fn linted(found: &Findings) -> pb::LintPlanResponse {
    let issues = |found| {
        let found = listed(found, LISTED_MAX).into_iter();
        let told = |Violation { code, field, issue }| pb::PlanIssue {
            field,
            issue,
            code: code.word().to_owned(),
            hint: code.hint().to_owned(),
        };
        found.map(told).collect()
    };
    pb::LintPlanResponse { errors: issues(&found.errors), warnings: issues(&found.warnings) }
}

pub(crate) fn snapshot(snapshot: &Snapshot) -> pb::Snapshot {
    pb::Snapshot {
        name: snapshot.name.clone(),
        event: snapshot.event,
        at_ms: snapshot.at.0,
        by: snapshot.by.clone(),
    }
}

fn attempt(attempt: &AttemptView) -> pb::Attempt {
    pb::Attempt {
        attempt: attempt.attempt.into(),
        lease_id: attempt.lease.0,
        worker: attempt.worker.clone(),
        outcome: attempt.outcome.map_or(0, Word::proto),
        started_at_ms: attempt.started_at.0,
        ended_at_ms: or_zero(attempt.ended_at),
        error: attempt.error.as_ref().map(error),
    }
}

pub(crate) fn executed(executed: &Executed) -> pb::ExecuteTaskResponse {
    let nodes = executed.blocked.iter().filter_map(|index| executed.record.plan.node(*index));
    let blocked = nodes.map(|node| pb::BlockedSubtask {
        subtask_id: node.id.clone(),
        key: node.key.clone(),
        agent: node.agent.clone(),
        capabilities: node.capabilities.clone(),
    });
    pb::ExecuteTaskResponse {
        task_id: executed.id.clone(),
        status: executed.status.proto(),
        blocked: blocked.collect(),
    }
}

pub(crate) fn tasks(found: &TaskPage) -> pb::ListTasksResponse {
    pb::ListTasksResponse {
        tasks: found.tasks.iter().map(summary).collect(),
        next_page_token: found.next.map(page::token).unwrap_or_default(),
    }
}

fn summary(task: &TaskSummary) -> pb::TaskSummary {
    pb::TaskSummary {
        task_id: task.id.clone(),
        title: task.title.clone(),
        priority: task.priority.proto(),
        status: task.status.proto(),
        subtasks_total: task.total,
        subtasks_finished: task.total.saturating_sub(task.unfinished),
        created_at_ms: task.created_at.0,
        started_at_ms: or_zero(task.started_at),
        ended_at_ms: or_zero(task.ended_at),
    }
}

pub(crate) fn events(found: &EventPage, limit: u32) -> pb::ListEventsResponse {
    pb::ListEventsResponse {
        events: found.events.iter().map(event).collect(),
        next_after: next_after(found, limit).unwrap_or(0),
    }
}

pub(crate) fn event(view: &EventView) -> pb::Event {
    let told = Told::of(&view.event.what);
    pb::Event {
        number: view.event.number,
        at_ms: view.event.at.0,
        kind: view.event.what.kind(),
        subtask_id: view.subtask_id.clone(),
        key: view.key.clone(),
        attempt: told.attempt.unwrap_or(0).into(),
        lease_id: told.lease.map_or(0, |lease| lease.0),
        worker: told.worker.to_owned(),
        task_status: told.task_status.map_or(0, Word::proto),
        subtask_state: told.subtask_state.map_or(0, Word::proto),
        outcome: told.outcome.map_or(0, Word::proto),
        error: told.error.map(error),
        message: told.message.to_owned(),
        code: told.code.to_owned(),
        by: told.by.to_owned(),
        added: told.added.unwrap_or(0),
        option: told.option.to_owned(),
        signal: told.signal.to_owned(),
        context: told.context.map(|Change { key, version, bytes, digest }| pb::ContextChange {
            key: key.to_owned(),
            version,
            bytes,
            digest: digest.to_owned(),
        }),
    }
}

pub(crate) fn output(delivered: Delivered) -> pb::GetOutputResponse {
    let artifacts = delivered.artifacts.into_iter().map(artifact).collect();
    pb::GetOutputResponse { output: delivered.body, artifacts }
}

pub(crate) fn agent(view: &AgentView) -> pb::Agent {
    pb::Agent {
        declaration: Some(declaration(&view.declaration)),
        health: view.health.proto(),
        workers: view.workers,
        slots: view.slots,
        busy: view.busy,
        load: load(view),
        last_seen_ms: view.last_seen.0,
    }
}

pub(crate) fn worker(view: &WorkerView) -> pb::Worker {
    let session = &view.session;
    let declared = &session.declaration;
    pb::Worker {
        session_id: session.no.0,
        name: declared.worker.clone(),
        agents: declared.agents.iter().map(declaration).collect(),
        slots: declared.slots,
        busy: view.busy,
        labels: declared.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        build_id: declared.build_id.clone(),
        state: session.state.proto(),
        connected_at_ms: session.opened_at.0,
    }
}

fn declaration(declared: &AgentDeclaration) -> pb::AgentDeclaration {
    pb::AgentDeclaration {
        name: declared.name.clone(),
        capabilities: declared.capabilities.clone(),
        skills: declared.skills.clone(),
        domain: declared.domain.clone(),
        description: declared.description.clone(),
        sla_ms: declared.sla_ms.unwrap_or(0),
        progress_timeout_ms: declared.progress_timeout_ms.unwrap_or(0),
        input_schema: declared.input_schema.clone(),
        output_schema: declared.output_schema.clone(),
    }
}

pub(crate) fn artifact(artifact: Artifact) -> pb::Artifact {
    let Artifact { name, uri, media_type, size_bytes, digest } = artifact;
    pb::Artifact { name, uri, media_type, size_bytes, digest }
}

fn error(error: &AttemptError) -> pb::AttemptError {
    pb::AttemptError { code: error.code.clone(), message: error.message.clone() }
}

fn json(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}

fn or_zero(time: Option<Time>) -> i64 {
    time.map_or(0, |time| time.0)
}
