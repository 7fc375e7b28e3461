//! gRPC requests, read into what the engine takes.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::{
    command::{Decision, Sent},
    draft::{Draft, Goal},
    id::{SessionNo, TenantNo},
    limits,
    task::TaskStatus,
    time::Time,
};
use downbeat_proto::v1 as pb;
use downbeat_store::ListTasks;

use super::{
    body::Execution,
    check,
    filter::AgentFilter,
    forms::{self, RerunForm, SignalForm},
    json::{self, Document},
    page,
    plan::{self, Reader},
    problems::Problems,
    submission::{self, Form},
    times,
    words::Word,
};
use crate::{
    engine::{RerunRequest, Submission},
    failure::Failure,
};

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
        plan: request.plan.map(|plan| plan::proto::plan(plan, &mut Reader::new(plan::PLAN, &mut problems))),
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

/// A plan that is only looked at.
///
/// # Errors
/// `Invalid` with every problem.
pub fn lint(request: pb::LintPlanRequest) -> Result<(Vec<Goal>, Vec<Draft>), Failure> {
    let mut problems = Problems::default();
    let plan = request.plan.unwrap_or_default();
    let plan = plan::proto::plan(plan, &mut Reader::new(plan::PLAN, &mut problems));
    let plan = plan::finish_plan(plan, &mut problems);
    problems.finish(plan)
}

/// What a worker adds to the subtask it has.
///
/// # Errors
/// `Invalid` with every problem.
pub fn children(children: Vec<pb::PlannedSubtask>) -> Result<Vec<Draft>, Failure> {
    let root = plan::CHILDREN;
    let mut problems = Problems::default();
    let entries = plan::proto::read(root, children, &mut Reader::new(root, &mut problems));
    let drafts = plan::finish(root, entries, &mut problems);
    problems.finish(drafts)
}

/// Who does something, if that is said.
///
/// # Errors
/// `Invalid` with every problem.
pub fn by(by: &str) -> Result<String, Failure> {
    let mut problems = Problems::default();
    let by = check::by(by.to_owned(), &mut problems);
    problems.finish(by)
}

/// What somebody chooses at an approval.
///
/// # Errors
/// `Invalid` with every problem.
pub fn decision(request: pb::DecideSubtaskRequest) -> Result<Decision, Failure> {
    let problems = named(&request.task_id, &request.subtask_id);
    let pb::DecideSubtaskRequest { option, digest, by, roles, comment, .. } = request;
    forms::decision(Decision { by, roles, option, digest, comment }, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn signal(request: pb::SignalTaskRequest) -> Result<Sent, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&request.task_id, found));
    let payload = document("payload", &request.payload, &mut problems);
    let form = SignalForm { name: request.name, payload, by: request.by, id: request.signal_id };
    forms::signal(form, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn rerun(request: pb::RerunTaskRequest) -> Result<RerunRequest, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&request.task_id, found));
    let inputs: BTreeMap<_, _> = request.inputs.into_iter().collect();
    let read = |(name, text): (String, Bytes)| {
        let field = format!("inputs.{}", name.escape_debug());
        let input = document(&field, &text, &mut problems);
        (name, input)
    };
    let inputs = inputs.into_iter().map(read).collect();
    let (subtasks, by, reason) = (request.subtask_ids, request.by, request.reason);
    forms::rerun(RerunForm { field: "subtask_ids", subtasks, inputs, by, reason }, problems)
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
pub(super) fn document(field: &str, text: &[u8], problems: &mut Problems) -> Option<Document> {
    let read = if text.is_empty() { None } else { json::read(field, text, problems) };
    read.filter(|document| document.text.get() != "null")
}

pub(super) fn deadline(ms: i64, problems: &mut Problems) -> Option<Time> {
    match ms {
        0 => None,
        1.. if times::is_writable(Time(ms)) => Some(Time(ms)),
        _ => {
            problems.add("deadline_ms", format!("must be milliseconds since 1970 in UTC, got {ms}"));
            None
        }
    }
}
