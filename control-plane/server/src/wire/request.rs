//! gRPC requests, read into what the engine takes.

use bytes::Bytes;
use downbeat_core::{
    id::{SessionNo, TenantNo},
    limits,
    plan::Draft,
    task::TaskStatus,
    time::Time,
};
use downbeat_proto::v1 as pb;
use downbeat_store::ListTasks;

use super::{
    body::Execution,
    check,
    filter::AgentFilter,
    json::{self, Document},
    page,
    problems::Problems,
    submission::{self, Entry, Form},
    times,
    words::Word,
};
use crate::{engine::Submission, failure::Failure};

/// # Errors
/// `Invalid` with every problem.
pub fn submission(tenant: TenantNo, request: pb::SubmitTaskRequest) -> Result<Submission, Failure> {
    let mut problems = Problems::default();
    let form = Form {
        task_id: request.task_id,
        title: request.title,
        description: request.description,
        priority: check::choice("priority", request.priority, &mut problems),
        metadata: document("metadata", &request.metadata, &mut problems),
        deadline: deadline(request.deadline_ms, &mut problems),
        plan: request.plan.map(|plan| {
            plan.subtasks.into_iter().enumerate().map(|(i, sub)| entry(i, sub, &mut problems)).collect()
        }),
        execute: request.execute,
    };
    submission::check(tenant, form, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn execution(request: pb::ExecuteTaskRequest) -> Result<Execution, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&request.task_id, found));
    let mode = check::choice("execution_mode", request.execution_mode, &mut problems).unwrap_or_default();
    let count = request.checkpoints.len();
    if count > limits::PLAN_SUBTASKS {
        let issue = format!("at most {} checkpoints (PLAN_SUBTASKS), got {count}", limits::PLAN_SUBTASKS);
        problems.add("checkpoints", issue);
    }
    problems.finish(Execution { mode, checkpoints: request.checkpoints })
}

/// # Errors
/// `Invalid` with every problem.
pub fn tasks(tenant: TenantNo, request: pb::ListTasksRequest) -> Result<ListTasks, Failure> {
    let mut problems = Problems::default();
    let mut statuses = Vec::new();
    for (i, &number) in request.statuses.iter().enumerate() {
        let field = format!("statuses[{i}]");
        match TaskStatus::from_proto(number) {
            Some(status) if statuses.contains(&status) => {}
            Some(status) => statuses.push(status),
            None => problems.add(field, format!("must be {}, got {number}", TaskStatus::choice())),
        }
    }
    problems.check(|found| check::prefix("task_id_prefix", &request.task_id_prefix, found));
    let limit = page::size(request.page_size, page::TASKS_DEFAULT, page::TASKS_MAX, &mut problems);
    let before = page::before(&request.page_token, &mut problems);
    problems.finish(ListTasks { tenant, statuses, id_prefix: request.task_id_prefix, before, limit })
}

/// A page's size.
///
/// # Errors
/// `Invalid` with every problem.
pub fn events(request: &pb::ListEventsRequest) -> Result<u32, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&request.task_id, found));
    check::after(request.after, &mut problems);
    let limit = page::size(request.page_size, page::EVENTS_DEFAULT, page::EVENTS_MAX, &mut problems);
    problems.finish(limit)
}

/// # Errors
/// `Invalid` with every problem.
pub fn watch(request: &pb::WatchTaskRequest) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&request.task_id, found));
    check::after(request.after, &mut problems);
    problems.finish(())
}

/// A task and the reason for what is done to it.
///
/// # Errors
/// `Invalid` with every problem.
pub fn task_reason(task: &str, given: &str) -> Result<String, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(task, found));
    let reason = check::reason(given, &mut problems);
    problems.finish(reason)
}

/// A subtask and the reason for what is done to it.
///
/// # Errors
/// `Invalid` with every problem.
pub fn subtask_reason(task: &str, subtask: &str, given: &str) -> Result<String, Failure> {
    let mut problems = named(task, subtask);
    let reason = check::reason(given, &mut problems);
    problems.finish(reason)
}

/// An output supplied by hand; nothing is null.
///
/// # Errors
/// `Invalid` with every problem.
pub fn completion(request: &pb::CompleteSubtaskRequest) -> Result<Bytes, Failure> {
    let mut problems = named(&request.task_id, &request.subtask_id);
    let output = if request.output.is_empty() {
        Bytes::from_static(b"null")
    } else {
        check::output(json::read("output", &request.output, &mut problems), &mut problems)
    };
    problems.finish(output)
}

/// # Errors
/// `Invalid` with every problem.
pub fn route(request: &pb::RouteSubtaskRequest) -> Result<(), Failure> {
    let mut problems = named(&request.task_id, &request.subtask_id);
    problems.check(|found| check::name("agent", &request.agent, found));
    problems.finish(())
}

/// # Errors
/// `Invalid` with every problem.
pub fn agents(request: pb::ListAgentsRequest) -> Result<AgentFilter, Failure> {
    let mut problems = Problems::default();
    let health = check::choice("health", request.health, &mut problems);
    problems.finish(AgentFilter { domain: request.domain, capability: request.capability, health })
}

/// # Errors
/// `Invalid` when it is no agent's name.
pub fn agent(name: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::name("name", name, found));
    problems.finish(())
}

/// # Errors
/// `Invalid` when it cannot be a session's number.
pub fn session(number: i64) -> Result<SessionNo, Failure> {
    if number > 0 {
        Ok(SessionNo(number))
    } else {
        Err(Failure::invalid("session_id", format!("must be above 0, got {number}")))
    }
}

fn named(task: &str, subtask: &str) -> Problems {
    let mut problems = Problems::default();
    problems.check(|found| {
        check::task_id(task, found);
        check::subtask_id(subtask, found);
    });
    problems
}

/// Nothing and `null` are the same.
fn document(field: &str, text: &[u8], problems: &mut Problems) -> Option<Document> {
    let read = if text.is_empty() { None } else { json::read(field, text, problems) };
    read.filter(|document| document.text.get() != "null")
}

fn deadline(ms: i64, problems: &mut Problems) -> Option<Time> {
    match ms {
        0 => None,
        1.. if times::is_writable(Time(ms)) => Some(Time(ms)),
        _ => {
            problems.add("deadline_ms", format!("must be milliseconds since 1970 in UTC, got {ms}"));
            None
        }
    }
}

fn entry(i: usize, sub: pb::PlannedSubtask, problems: &mut Problems) -> Entry {
    let at = |field: &str| format!("plan.subtasks[{i}].{field}");
    let mut within = |field: &str, number: u32, max: u32, limit: &str| {
        let token = number.to_string();
        (number > 0).then(|| check::number(&at(field), &token, 1..=max.into(), limit, problems)).flatten()
    };
    let sla_seconds = within("sla_seconds", sub.sla_seconds, limits::SLA_SECONDS, " (SLA_SECONDS)");
    let max_attempts = within("max_attempts", sub.max_attempts, limits::ATTEMPTS.into(), " (ATTEMPTS)");
    let draft = Draft {
        key: sub.key,
        agent: sub.agent,
        capabilities: sub.capabilities,
        input: None,
        depends_on: sub.depends_on,
        sla_seconds,
        max_attempts: max_attempts.and_then(|attempts: u32| u16::try_from(attempts).ok()),
        priority: check::choice(&at("priority"), sub.priority, problems),
    };
    let input = document(&at("input"), &sub.input, problems);
    Entry { draft, input }
}
