//! Builders for what a client asks: tasks, executions, decisions, signals, repetitions, filters. Plans have a file of
//! their own, and so have their documents.
//!
//! They only put messages together; every rule about plans is checked by the control plane. A value that
//! cannot be written as JSON is remembered and reported when the request is sent, so that a chain of calls
//! needs no `?` inside.

mod document;
mod gate;
mod group;
mod plan;
mod schedule;
mod workflow;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

pub use self::{
    gate::{Approval, Approvers, SignalGate, Timer, WorkflowCall},
    group::{Loop, Map},
    plan::{Backoff, Compensation, Plan, Subtask},
    schedule::{ScheduleSpec, Timing},
    workflow::{RunWorkflow, Workflow},
};
use crate::{
    Error,
    proto::{self, AgentHealth, ExecutionMode, Priority, TaskStatus},
};

/// A task to submit.
///
/// ```
/// use downbeat_sdk::{Plan, Subtask, SubmitTask};
/// use serde_json::json;
///
/// let task = SubmitTask::new("release-42").title("Release 42").plan(
///     Plan::new()
///         .subtask(Subtask::new("build").agent("builder").input(&json!({"ref": "v42"})))
///         .subtask(Subtask::new("review").agent("code-review").depends_on(["build"])),
/// );
/// ```
#[derive(Debug)]
#[must_use = "a task does nothing until it is submitted"]
pub struct SubmitTask {
    request: proto::SubmitTaskRequest,
    problem: Option<Error>,
}

impl SubmitTask {
    /// A task under the client's own name for it. Submitting the same task again changes nothing.
    pub fn new(task_id: impl Into<String>) -> Self {
        let request = proto::SubmitTaskRequest { task_id: task_id.into(), ..Default::default() };
        Self { request, problem: None }
    }

    /// A title for people.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.request.title = title.into();
        self
    }

    /// What the task is about; the planner reads it when there is no plan.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.request.description = description.into();
        self
    }

    /// The priority of all subtasks that have none of their own.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.request.set_priority(priority);
        self
    }

    /// Metadata, a JSON object. Its member `context` is handed to every subtask.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        match json("metadata", metadata) {
            Ok(metadata) => self.request.metadata = metadata,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// The explicit plan. Without one the planner decomposes the request.
    pub fn plan(mut self, plan: Plan) -> Self {
        match plan.into_message() {
            Ok(plan) => self.request.plan = Some(plan),
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// When the task fails if it has not ended. Rounded down to milliseconds.
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        self.request.deadline_ms = millis(deadline);
        self
    }

    /// Starts it, too: as [`Client::execute`](crate::Client::execute) would, in the same commit.
    pub fn execute(mut self) -> Self {
        self.request.execute = true;
        self
    }

    /// The message to send.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for the first value that could not be written.
    pub fn into_request(self) -> Result<proto::SubmitTaskRequest, Error> {
        self.problem.map_or(Ok(self.request), Err)
    }
}

impl From<proto::SubmitTaskRequest> for SubmitTask {
    fn from(request: proto::SubmitTaskRequest) -> Self {
        Self { request, problem: None }
    }
}

/// Starts a planned task, resumes a paused one, or lets held subtasks go on.
#[derive(Debug, Clone)]
#[must_use = "nothing is executed until it is sent"]
pub struct ExecuteTask {
    pub(crate) request: proto::ExecuteTaskRequest,
}

impl ExecuteTask {
    /// Runs the task by itself from start to end.
    pub fn new(task_id: impl Into<String>) -> Self {
        let mut request = proto::ExecuteTaskRequest { task_id: task_id.into(), ..Default::default() };
        request.set_execution_mode(ExecutionMode::Auto);
        Self { request }
    }

    /// Holds every subtask until a person releases it.
    pub fn manual(mut self) -> Self {
        self.request.set_execution_mode(ExecutionMode::Manual);
        self
    }

    /// Holds these subtasks, named by key or id, until they are released.
    pub fn hold_before<K: Into<String>>(mut self, subtasks: impl IntoIterator<Item = K>) -> Self {
        self.request.checkpoints.extend(subtasks.into_iter().map(Into::into));
        self
    }
}

impl<T: Into<String>> From<T> for ExecuteTask {
    fn from(task_id: T) -> Self {
        Self::new(task_id)
    }
}

/// What somebody chooses at an approval.
///
/// ```
/// use downbeat_sdk::DecideSubtask;
///
/// # let digest = "";
/// let decision = DecideSubtask::new("release-42", "go", "approve").digest(digest).by("ada").role("release-manager");
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is decided until it is sent"]
pub struct DecideSubtask {
    pub(crate) request: proto::DecideSubtaskRequest,
}

impl DecideSubtask {
    /// Chooses `option` at the approval `subtask`, named by its id or key.
    pub fn new(task_id: impl Into<String>, subtask: impl Into<String>, option: impl Into<String>) -> Self {
        let request = proto::DecideSubtaskRequest {
            task_id: task_id.into(),
            subtask_id: subtask.into(),
            option: option.into(),
            ..Default::default()
        };
        Self { request }
    }

    /// The digest of what was looked at, from [`Subtask.gate`](proto::Subtask::gate). Where that has changed since,
    /// the decision is refused.
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.request.digest = digest.into();
        self
    }

    /// Who decides. Without it, as whom the client speaks: [`Client::by`](crate::Client::by).
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.request.by = by.into();
        self
    }

    /// Adds a role of that person.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.request.roles.push(role.into());
        self
    }

    /// Why, for the history.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.request.comment = comment.into();
        self
    }
}

/// Tells a task that something happened.
///
/// ```
/// use downbeat_sdk::SignalTask;
/// use serde_json::json;
///
/// let signal = SignalTask::new("order-7", "paid").payload(&json!({"amount": 100})).id("payment-5501");
/// ```
#[derive(Debug)]
#[must_use = "a signal does nothing until it is sent"]
pub struct SignalTask {
    request: proto::SignalTaskRequest,
    problem: Option<Error>,
}

impl SignalTask {
    /// The signal `name` for a task.
    pub fn new(task_id: impl Into<String>, name: impl Into<String>) -> Self {
        let request =
            proto::SignalTaskRequest { task_id: task_id.into(), name: name.into(), ..Default::default() };
        Self { request, problem: None }
    }

    /// What it carries, at most 64 KiB of JSON; the output of the subtask that takes it. Without one it is `null`.
    pub fn payload<T: Serialize + ?Sized>(mut self, payload: &T) -> Self {
        match json("the payload of the signal", payload) {
            Ok(payload) => self.request.payload = payload,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// Who sends it. Without it, as whom the client speaks: [`Client::by`](crate::Client::by).
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.request.by = by.into();
        self
    }

    /// The sender's own id: the same one again changes nothing. Without it every call is another signal.
    pub fn id(mut self, signal_id: impl Into<String>) -> Self {
        self.request.signal_id = signal_id.into();
        self
    }

    /// The message to send.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for a payload that could not be written.
    pub fn into_request(self) -> Result<proto::SignalTaskRequest, Error> {
        self.problem.map_or(Ok(self.request), Err)
    }
}

/// Runs subtasks again, and all that depends on them.
///
/// ```
/// use downbeat_sdk::RerunTask;
/// use serde_json::json;
///
/// let rerun = RerunTask::new("release-42").subtask("build").input("test", &json!({"all": true})).reason("flaky");
/// ```
#[derive(Debug)]
#[must_use = "nothing runs again until it is sent"]
pub struct RerunTask {
    request: proto::RerunTaskRequest,
    problem: Option<Error>,
}

impl RerunTask {
    /// Of this task; name at least one subtask.
    pub fn new(task_id: impl Into<String>) -> Self {
        let request = proto::RerunTaskRequest { task_id: task_id.into(), ..Default::default() };
        Self { request, problem: None }
    }

    /// Adds a subtask, by id or key.
    pub fn subtask(mut self, subtask: impl Into<String>) -> Self {
        self.request.subtask_ids.push(subtask.into());
        self
    }

    /// Adds subtasks, by id or key.
    pub fn subtasks<K: Into<String>>(self, subtasks: impl IntoIterator<Item = K>) -> Self {
        subtasks.into_iter().fold(self, Self::subtask)
    }

    /// Adds a subtask that runs again with another input.
    pub fn input<T: Serialize + ?Sized>(mut self, subtask: impl Into<String>, input: &T) -> Self {
        let subtask = subtask.into();
        match json(&format!("the input of subtask {subtask:?}"), input) {
            Ok(input) => drop(self.request.inputs.insert(subtask, input)),
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// Who wants it. Without it, as whom the client speaks: [`Client::by`](crate::Client::by).
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.request.by = by.into();
        self
    }

    /// Why, for the history.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.request.reason = reason.into();
        self
    }

    /// The message to send.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for the first input that could not be written.
    pub fn into_request(self) -> Result<proto::RerunTaskRequest, Error> {
        self.problem.map_or(Ok(self.request), Err)
    }
}

/// A new task from any point of an old one's history: what was completed by then is taken over.
///
/// ```
/// use downbeat_sdk::ForkTask;
///
/// let fork = ForkTask::new("release-42", "release-42-again").at_snapshot("before go").execute();
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is forked until it is sent"]
pub struct ForkTask {
    pub(crate) request: proto::ForkTaskRequest,
}

impl ForkTask {
    /// From the present state of a task.
    pub fn new(task_id: impl Into<String>, new_task_id: impl Into<String>) -> Self {
        let request = proto::ForkTaskRequest {
            task_id: task_id.into(),
            new_task_id: new_task_id.into(),
            ..Default::default()
        };
        Self { request }
    }

    /// From what it was after the event with that number.
    pub fn at_event(mut self, number: u64) -> Self {
        self.request.at = Some(proto::fork_task_request::At::Event(number));
        self
    }

    /// From what it was when that snapshot was taken.
    pub fn at_snapshot(mut self, name: impl Into<String>) -> Self {
        self.request.at = Some(proto::fork_task_request::At::Snapshot(name.into()));
        self
    }

    /// Starts it, too.
    pub fn execute(mut self) -> Self {
        self.request.execute = true;
        self
    }
}

/// Which tasks to list; newest first.
#[derive(Debug, Clone, Default)]
pub struct ListTasks {
    pub(crate) request: proto::ListTasksRequest,
}

impl ListTasks {
    /// All tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tasks with this status, or another one added before.
    pub fn status(mut self, status: TaskStatus) -> Self {
        self.request.statuses.push(status.into());
        self
    }

    /// Only tasks whose id starts so.
    pub fn prefix(mut self, task_id_prefix: impl Into<String>) -> Self {
        self.request.task_id_prefix = task_id_prefix.into();
        self
    }

    /// Tasks per page; at most 500, and 50 when not set.
    pub fn page_size(mut self, tasks: u32) -> Self {
        self.request.page_size = tasks;
        self
    }

    /// Goes on after an earlier page, with its `next_page_token`.
    pub fn page_token(mut self, token: impl Into<String>) -> Self {
        self.request.page_token = token.into();
        self
    }
}

/// Which agents to list; by name.
#[derive(Debug, Clone, Default)]
pub struct ListAgents {
    pub(crate) request: proto::ListAgentsRequest,
}

impl ListAgents {
    /// All agents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only agents of this domain.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.request.domain = domain.into();
        self
    }

    /// Only agents with this capability.
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.request.capability = capability.into();
        self
    }

    /// Only agents in this health.
    pub fn health(mut self, health: AgentHealth) -> Self {
        self.request.set_health(health);
        self
    }
}

/// Writes `value` as JSON; `what` names it in the error.
pub(crate) fn json<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Bytes, Error> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|source| Error::InvalidJson { what: what.to_owned(), source })
}

/// Whole seconds of the contract, rounded up.
fn seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// A time of the contract, rounded down.
pub(crate) fn millis(at: SystemTime) -> i64 {
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
