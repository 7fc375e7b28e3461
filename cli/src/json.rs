//! Documents for programs: the contract's messages with the names that REST gives them. Times are RFC 3339 in
//! UTC; what is not known yet is null.

mod schedule;

use std::collections::BTreeMap;

use downbeat_sdk::proto::{
    Agent, AgentDeclaration, Artifact, Attempt, AttemptError, BlockedSubtask, ContextEntry,
    DiffSnapshotsResponse, Event, Gate, PlanIssue, Snapshot, Subtask, Task, TaskSummary, Worker,
};
use serde_json::{Value, json};

pub(crate) use self::schedule::schedule;
use crate::words::{Word, time};

/// JSON text of the contract; empty means null.
pub(crate) fn parse(text: &[u8]) -> Value {
    // What cannot be read is shown as it is: this is for looking, not for deciding.
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(text).unwrap_or_else(|_| String::from_utf8_lossy(text).into())
}

pub(crate) fn task(task: &Task) -> Value {
    let metrics = task.metrics.unwrap_or_default();
    json!({
        "task_id": task.task_id,
        "title": task.title,
        "description": task.description,
        "priority": task.priority().word(),
        "metadata": parse(&task.metadata),
        "status": task.status().word(),
        "execution_mode": task.execution_mode().word(),
        "subtasks": task.subtasks.iter().map(subtask).collect::<Vec<_>>(),
        "metrics": {
            "elapsed_seconds": metrics.elapsed_seconds,
            "on_time": metrics.on_time,
            "subtasks_total": metrics.subtasks_total,
            "subtasks_finished": metrics.subtasks_finished,
            "attempts": metrics.attempts,
            "failures": metrics.failures,
        },
        "status_history": task.status_history.iter()
            .map(|change| json!({"status": change.status().word(), "at": time(change.at_ms)}))
            .collect::<Vec<_>>(),
        "artifacts": task.artifacts.iter().filter_map(|named| {
            let mut document = artifact(named.artifact.as_ref()?);
            document["subtask_id"] = named.subtask_id.clone().into();
            Some(document)
        }).collect::<Vec<_>>(),
        "created_at": time(task.created_at_ms),
        "started_at": time(task.started_at_ms),
        "ended_at": time(task.ended_at_ms),
        "deadline": time(task.deadline_ms),
        "reason": task.reason,
        "last_event": task.last_event,
        "workflow": task.workflow.as_ref().map(|at| json!({"name": at.name, "version": at.version})),
        "inside": task.inside.as_ref().map(|inside| json!({
            "task_id": inside.task_id,
            "subtask_id": inside.subtask_id,
            "attempt": inside.attempt,
            "depth": inside.depth,
        })),
    })
}

fn subtask(subtask: &Subtask) -> Value {
    json!({
        "subtask_id": subtask.subtask_id,
        "key": subtask.key,
        "agent": subtask.agent,
        "capabilities": subtask.capabilities,
        "depends_on": subtask.depends_on,
        "state": subtask.state().word(),
        "input": parse(&subtask.input),
        "outputs": parse(&subtask.output),
        "artifacts": subtask.artifacts.iter().map(artifact).collect::<Vec<_>>(),
        "attempts": subtask.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "priority": subtask.priority().word(),
        "sla_seconds": (subtask.sla_seconds > 0).then_some(subtask.sla_seconds),
        "max_attempts": subtask.max_attempts,
        "wake_at": time(subtask.wake_at_ms),
        "reason": subtask.reason,
        "code": subtask.code,
        "kind": known(subtask.kind()),
        "parent": some(&subtask.parent),
        "nth": subtask.nth,
        "run_if": known(subtask.run_if()),
        "when": some(&subtask.when),
        "gate": subtask.gate.as_ref().map(gate),
        "by": subtask.by,
        "replaces": some(&subtask.replaces),
        "replaced": subtask.replaced,
        "inner_task_id": some(&subtask.inner_task_id),
    })
}

fn gate(gate: &Gate) -> Value {
    let approvers = gate.approvers.iter().map(|who| json!({"names": who.names, "roles": who.roles}));
    let options =
        gate.options.iter().map(|option| json!({"name": option.name, "then": option.then().word()}));
    let votes = gate.votes.iter().map(
        |vote| json!({"by": vote.by, "option": vote.option, "comment": vote.comment, "at": time(vote.at_ms)}),
    );
    json!({
        "digest": gate.digest,
        "message": gate.message,
        "approvers": approvers.collect::<Vec<_>>(),
        "quorum": gate.quorum,
        "options": options.collect::<Vec<_>>(),
        "votes": votes.collect::<Vec<_>>(),
    })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "attempt": attempt.attempt,
        "lease_id": attempt.lease_id,
        "worker": attempt.worker,
        "outcome": known(attempt.outcome()),
        "started_at": time(attempt.started_at_ms),
        "ended_at": time(attempt.ended_at_ms),
        "error": attempt.error.as_ref().map(error),
    })
}

fn error(error: &AttemptError) -> Value {
    json!({"code": error.code, "message": error.message})
}

pub(crate) fn artifact(artifact: &Artifact) -> Value {
    json!({
        "name": artifact.name,
        "uri": artifact.uri,
        "media_type": artifact.media_type,
        "size_bytes": artifact.size_bytes,
        "digest": artifact.digest,
    })
}

pub(crate) fn event(event: &Event) -> Value {
    json!({
        "number": event.number,
        "at": time(event.at_ms),
        "kind": event.kind,
        "subtask_id": some(&event.subtask_id),
        "key": some(&event.key),
        "attempt": (event.attempt > 0).then_some(event.attempt),
        "lease_id": (event.lease_id > 0).then_some(event.lease_id),
        "worker": some(&event.worker),
        "task_status": known(event.task_status()),
        "subtask_state": known(event.subtask_state()),
        "outcome": known(event.outcome()),
        "error": event.error.as_ref().map(error),
        "message": event.message,
        "code": some(&event.code),
        "by": some(&event.by),
        "added": (event.added > 0).then_some(event.added),
        "option": some(&event.option),
        "signal": some(&event.signal),
        "context": event.context.as_ref().map(|change| json!({
            "key": change.key,
            "version": change.version,
            "bytes": change.bytes,
            "digest": some(&change.digest),
        })),
    })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The word of a value that was said.
fn known(value: impl Word) -> Option<String> {
    Some(value.word()).filter(|word| word != "unspecified")
}

pub(crate) fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "name": snapshot.name,
        "event": snapshot.event,
        "at": time(snapshot.at_ms),
        "by": snapshot.by,
    })
}

pub(crate) fn context(entry: &ContextEntry) -> Value {
    json!({"key": entry.key, "value": parse(&entry.value), "version": entry.version})
}

/// What is not there has no member; `null` is a value.
pub(crate) fn difference(found: &DiffSnapshotsResponse) -> Value {
    let context = found.context.iter().map(|diff| {
        let mut document = json!({"key": diff.key});
        for (name, value) in [("from", &diff.from), ("to", &diff.to)] {
            if let Some(value) = value {
                document[name] = parse(value);
            }
        }
        document
    });
    let subtasks = found.subtasks.iter().map(|sub| {
        json!({
            "subtask_id": sub.subtask_id,
            "key": sub.key,
            "from": known(sub.from()),
            "to": known(sub.to()),
        })
    });
    json!({"context": context.collect::<Vec<_>>(), "subtasks": subtasks.collect::<Vec<_>>()})
}

pub(crate) fn issue(issue: &PlanIssue) -> Value {
    json!({"field": issue.field, "issue": issue.issue, "code": issue.code, "hint": issue.hint})
}

pub(crate) fn summary(task: &TaskSummary) -> Value {
    json!({
        "task_id": task.task_id,
        "title": task.title,
        "priority": task.priority().word(),
        "status": task.status().word(),
        "subtasks_total": task.subtasks_total,
        "subtasks_finished": task.subtasks_finished,
        "created_at": time(task.created_at_ms),
        "started_at": time(task.started_at_ms),
        "ended_at": time(task.ended_at_ms),
    })
}

pub(crate) fn blocked(subtasks: &[BlockedSubtask]) -> Value {
    subtasks
        .iter()
        .map(|subtask| {
            json!({
                "subtask_id": subtask.subtask_id,
                "key": subtask.key,
                "agent": subtask.agent,
                "capabilities": subtask.capabilities,
            })
        })
        .collect()
}

pub(crate) fn agent(agent: &Agent) -> Value {
    let mut document = declared(&agent.declaration.clone().unwrap_or_default());
    document["health"] = agent.health().word().into();
    document["workers"] = agent.workers.into();
    document["slots"] = agent.slots.into();
    document["busy"] = agent.busy.into();
    document["load"] = agent.load.into();
    document["last_seen"] = time(agent.last_seen_ms).into();
    document
}

fn declared(agent: &AgentDeclaration) -> Value {
    let seconds = |ms: u32| (ms > 0).then(|| f64::from(ms) / 1e3);
    json!({
        "name": agent.name,
        "capabilities": agent.capabilities,
        "skills": agent.skills,
        "domain": agent.domain,
        "description": agent.description,
        "sla_seconds": seconds(agent.sla_ms),
        "progress_timeout_seconds": seconds(agent.progress_timeout_ms),
        "input_schema": parse(agent.input_schema.as_bytes()),
        "output_schema": parse(agent.output_schema.as_bytes()),
    })
}

pub(crate) fn worker(worker: &Worker) -> Value {
    let labels: BTreeMap<&String, &String> = worker.labels.iter().collect();
    json!({
        "session_id": worker.session_id,
        "name": worker.name,
        "agents": worker.agents.iter().map(declared).collect::<Vec<_>>(),
        "slots": worker.slots,
        "busy": worker.busy,
        "labels": labels,
        "build_id": worker.build_id,
        "state": worker.state().word(),
        "connected_at": time(worker.connected_at_ms),
    })
}
