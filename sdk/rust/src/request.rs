//! Builders for what a client asks: tasks and their plans, executions, filters.
//!
//! They only put messages together; every rule about plans is checked by the control plane. A value that
//! cannot be written as JSON is remembered and reported when the request is sent, so that a chain of calls
//! needs no `?` inside.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

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
        self.problem = self.problem.or(plan.problem);
        self.request.plan = Some(plan.plan);
        self
    }

    /// When the task fails if it has not ended. Rounded down to milliseconds.
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        let since_epoch = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.request.deadline_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
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

/// The task graph: subtasks and what they depend on.
#[derive(Debug, Default)]
#[must_use = "a plan does nothing until it is submitted with a task"]
pub struct Plan {
    plan: proto::Plan,
    problem: Option<Error>,
}

impl Plan {
    /// A plan without subtasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subtask.
    pub fn subtask(mut self, subtask: Subtask) -> Self {
        self.problem = self.problem.or(subtask.problem);
        self.plan.subtasks.push(subtask.subtask);
        self
    }

    /// Adds subtasks.
    pub fn subtasks(self, subtasks: impl IntoIterator<Item = Subtask>) -> Self {
        subtasks.into_iter().fold(self, Self::subtask)
    }
}

/// One node of a plan.
#[derive(Debug)]
#[must_use = "a subtask does nothing until it is part of a plan"]
pub struct Subtask {
    subtask: proto::PlannedSubtask,
    problem: Option<Error>,
}

impl Subtask {
    /// A subtask with a key that is unique in the plan: `[A-Za-z0-9][A-Za-z0-9._-]*`.
    pub fn new(key: impl Into<String>) -> Self {
        let subtask = proto::PlannedSubtask { key: key.into(), ..Default::default() };
        Self { subtask, problem: None }
    }

    /// The agent that shall do it. Without one, any agent with the capabilities may.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.subtask.agent = agent.into();
        self
    }

    /// Adds a capability that the agent must have declared.
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.subtask.capabilities.push(capability.into());
        self
    }

    /// Adds keys of subtasks that have to finish first. Their outputs are handed to this one.
    pub fn depends_on<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.subtask.depends_on.extend(keys.into_iter().map(Into::into));
        self
    }

    /// The input. Without one it is `null`.
    pub fn input<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        match json(&format!("the input of subtask {:?}", self.subtask.key), input) {
            Ok(input) => self.subtask.input = input,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// How long an attempt may take, from start to close; rounded up to seconds. Without one the agent's own
    /// SLA counts.
    pub fn sla(mut self, sla: Duration) -> Self {
        let seconds = sla.as_secs() + u64::from(sla.subsec_nanos() > 0);
        self.subtask.sla_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self
    }

    /// How many attempts it gets before a person is asked. The default is 3.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.subtask.max_attempts = attempts;
        self
    }

    /// The priority of this subtask. Without one the task's counts.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.subtask.set_priority(priority);
        self
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
