//! A plan and its subtasks, as a client or a worker puts them together.
//!
//! A subtask is done by a worker, unless one of the constructors says otherwise: what those take stands in `gate`
//! (people, signals, times, workflows) and `group` (bodies).

use std::time::Duration;

use serde::Serialize;

use super::{Approval, Loop, Map, SignalGate, Timer, WorkflowCall, json, seconds};
use crate::{
    Error,
    proto::{self, OnFailure, Priority, RunIf, planned_subtask::Does},
};

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

    /// Adds a goal; the control plane's `lint` says which ones no subtask [serves](Subtask::serves).
    pub fn goal(mut self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.plan.goals.push(proto::Goal { name: name.into(), description: description.into() });
        self
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

    /// The message of the contract.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for the first value that could not be written.
    pub fn into_message(self) -> Result<proto::Plan, Error> {
        self.problem.map_or(Ok(self.plan), Err)
    }
}

impl From<proto::Plan> for Plan {
    fn from(plan: proto::Plan) -> Self {
        Self { plan, problem: None }
    }
}

/// One node of a plan.
///
/// ```
/// use downbeat_sdk::{Approval, Loop, Map, Plan, Subtask, proto::RunIf};
///
/// let plan = Plan::new()
///     .subtask(Subtask::new("list").agent("lister"))
///     .subtask(
///         Subtask::map("each", Map::over("outputs.list.files").max_parallel(4).subtask(
///             Subtask::new("read").agent("reader"),
///         ))
///         .depends_on(["list"]),
///     )
///     .subtask(
///         Subtask::repeat("refine", Loop::until("outputs.judge.score >= 8", 5).subtasks([
///             Subtask::new("write").agent("writer"),
///             Subtask::new("judge").agent("judge").depends_on(["write"]),
///         ]))
///         .depends_on(["each"]),
///     )
///     .subtask(Subtask::approval("go", Approval::new().message("Publish it?")).depends_on(["refine"]))
///     .subtask(Subtask::new("publish").agent("publisher").depends_on(["go", "refine"]))
///     .subtask(Subtask::new("tell").agent("pager").depends_on(["publish"]).run_if(RunIf::AnyFailed));
/// ```
#[derive(Debug)]
#[must_use = "a subtask does nothing until it is part of a plan"]
pub struct Subtask {
    subtask: proto::PlannedSubtask,
    problem: Option<Error>,
}

// What it is.
impl Subtask {
    /// A subtask for a worker, with a key that is unique among those beside it: `[A-Za-z0-9][A-Za-z0-9._-]*`.
    pub fn new(key: impl Into<String>) -> Self {
        let subtask = proto::PlannedSubtask { key: key.into(), ..Default::default() };
        Self { subtask, problem: None }
    }

    /// Waits until people have decided.
    pub fn approval(key: impl Into<String>, approval: Approval) -> Self {
        Self::new(key).does(Does::Approval(approval.approval))
    }

    /// Waits for a signal; what that carries is its output.
    pub fn signal(key: impl Into<String>, signal: SignalGate) -> Self {
        Self::new(key).does(Does::Signal(signal.gate))
    }

    /// Waits for a time.
    pub fn timer(key: impl Into<String>, timer: Timer) -> Self {
        Self::new(key).does(Does::Timer(timer.timer))
    }

    /// A whole task of a stored workflow; the outputs of its subtasks by key are its output.
    pub fn workflow(key: impl Into<String>, call: WorkflowCall) -> Self {
        Self::new(key).does(Does::Workflow(call.call))
    }

    /// Runs these once; they may depend on each other, and on what the group depends on. Its output is theirs, by key.
    pub fn group(key: impl Into<String>, subtasks: impl IntoIterator<Item = Subtask>) -> Self {
        let mut group = Self::new(key);
        let subtasks = bodies(subtasks, &mut group.problem);
        group.does(Does::Group(proto::Group { subtasks }))
    }

    /// Runs a body for each element of a list. Its output is the list of theirs, null for what failed.
    pub fn map(key: impl Into<String>, map: Map) -> Self {
        let Map { map, problem } = map;
        Self { problem, ..Self::new(key).does(Does::Map(map)) }
    }

    /// Runs a body again and again: a loop of the plan, whose name Rust keeps for itself. Its output is that of the last
    /// round, by key.
    pub fn repeat(key: impl Into<String>, of: Loop) -> Self {
        let Loop { of, problem } = of;
        Self { problem, ..Self::new(key).does(Does::Loop(of)) }
    }

    fn does(mut self, does: Does) -> Self {
        self.subtask.does = Some(does);
        self
    }

    /// The message of the contract.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for the first value that could not be written.
    pub fn into_message(self) -> Result<proto::PlannedSubtask, Error> {
        self.problem.map_or(Ok(self.subtask), Err)
    }
}

// What holds for any.
impl Subtask {
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

    /// Which ends of its dependencies let it run; otherwise it is skipped. Without it, all have to have succeeded.
    pub fn run_if(mut self, run_if: RunIf) -> Self {
        self.subtask.set_run_if(run_if);
        self
    }

    /// A CEL expression over `outputs` and `states` of its dependencies by key, `input`, `context` and `item`: where it
    /// is not true the subtask is skipped.
    pub fn when(mut self, expression: impl Into<String>) -> Self {
        self.subtask.when = expression.into();
        self
    }

    /// What becomes of it once it has failed for good. Without it a person decides; within a map it has failed.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.subtask.set_on_failure(on_failure);
        self
    }

    /// The input. Without one it is `null`; of an element of a map, the element.
    pub fn input<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        match json(&format!("the input of subtask {:?}", self.subtask.key), input) {
            Ok(input) => self.subtask.input = input,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// What it delivers, as JSON Schema: expressions over its output are checked against it. Without one counts what
    /// its agent declared.
    pub fn output_schema(mut self, schema: &serde_json::Value) -> Self {
        self.subtask.output_schema = schema.to_string();
        self
    }

    /// A goal of the plan that it serves; may be said several times.
    pub fn serves(mut self, goal: impl Into<String>) -> Self {
        self.subtask.serves.push(goal.into());
        self
    }

    /// How long an attempt may take, from start to close; rounded up to seconds. Without one the agent's own
    /// SLA counts.
    pub fn sla(mut self, sla: Duration) -> Self {
        self.subtask.sla_seconds = seconds(sla);
        self
    }

    /// How many attempts it gets before a person is asked. The default is 3.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.subtask.max_attempts = attempts;
        self
    }

    /// How attempts follow each other. What it does not say is as the control plane is set.
    pub fn retry(mut self, retry: Backoff) -> Self {
        self.subtask.retry = Some(retry.retry);
        self
    }

    /// Adds agents that do it, one after the other, when whoever is before could not: its attempts are used up, or no
    /// live worker serves it.
    pub fn fallback<A: Into<String>>(mut self, agents: impl IntoIterator<Item = A>) -> Self {
        self.subtask.fallback.extend(agents.into_iter().map(Into::into));
        self
    }

    /// What undoes it, should the task fail, meet its deadline or be cancelled so after it was completed. Of several the
    /// last one completed is undone first.
    pub fn compensate(mut self, with: Compensation) -> Self {
        self.problem = self.problem.or(with.problem);
        self.subtask.compensate = Some(with.compensation);
        self
    }

    /// Adds keys of the shared context that the worker is handed, as they are when it gets the lease
    /// ([`Context::handed`](crate::Context::handed)). Without any it is handed what the task was given.
    pub fn context<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        let asked = self.subtask.context.get_or_insert_default();
        asked.keys.extend(keys.into_iter().map(Into::into));
        self
    }

    /// As [`Subtask::context`], with all keys.
    pub fn whole_context(mut self) -> Self {
        self.subtask.context.get_or_insert_default().all = true;
        self
    }

    /// The priority of this subtask. Without one the task's counts.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.subtask.set_priority(priority);
        self
    }
}

impl From<proto::PlannedSubtask> for Subtask {
    fn from(subtask: proto::PlannedSubtask) -> Self {
        Self { subtask, problem: None }
    }
}

/// How the attempts of a subtask follow each other.
#[derive(Debug, Clone, Default)]
#[must_use = "a backoff does nothing until it is part of a subtask"]
pub struct Backoff {
    retry: proto::Retry,
}

impl Backoff {
    /// As the control plane is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wait before the second attempt, which doubles with each further one; rounded up to seconds.
    pub fn first(mut self, wait: Duration) -> Self {
        self.retry.backoff_seconds = Some(seconds(wait));
        self
    }

    /// The longest wait; rounded up to seconds.
    pub fn longest(mut self, wait: Duration) -> Self {
        self.retry.max_backoff_seconds = Some(seconds(wait));
        self
    }

    /// Adds the code of an error after which trying again is no use.
    pub fn not_after(mut self, code: impl Into<String>) -> Self {
        self.retry.non_retryable.push(code.into());
        self
    }
}

/// Undoes a subtask that was completed, before the task has failed. The worker finds what the subtask delivered among
/// its dependencies.
#[derive(Debug, Default)]
#[must_use = "a compensation does nothing until it is part of a subtask"]
pub struct Compensation {
    compensation: proto::Compensation,
    problem: Option<Error>,
}

impl Compensation {
    /// By any agent with the capabilities to be added.
    pub fn new() -> Self {
        Self::default()
    }

    /// The agent that shall do it.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.compensation.agent = agent.into();
        self
    }

    /// Adds a capability that the agent must have declared.
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.compensation.capabilities.push(capability.into());
        self
    }

    /// The input. Without one it is that of the subtask.
    pub fn input<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        match json("the input of a compensation", input) {
            Ok(input) => self.compensation.input = input,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }
}

/// The messages of a body; the first problem of any is kept in `problem`.
pub(super) fn bodies(
    subtasks: impl IntoIterator<Item = Subtask>,
    problem: &mut Option<Error>,
) -> Vec<proto::PlannedSubtask> {
    let mut message = |Subtask { subtask, problem: of_it }| {
        if problem.is_none() {
            *problem = of_it;
        }
        subtask
    };
    subtasks.into_iter().map(&mut message).collect()
}
