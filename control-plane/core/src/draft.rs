//! A plan as it is asked for: what a client, a rule or a model writes, before it is checked and built.
//!
//! What a subtask does is told by [`Does`], which the built [`Node`](crate::plan::Node) shares: only the bodies of
//! groups differ, drafts here and nodes there.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{task::Priority, time::Time};

/// One subtask as asked for.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub key: String,
    /// Empty: any agent with the capabilities, or none at all where no worker is needed.
    pub agent: String,
    pub capabilities: Vec<String>,
    /// JSON text; `None`: null.
    pub input: Option<Box<RawValue>>,
    /// What it delivers, as JSON Schema; `None`: what its agent declared.
    pub output_schema: Option<Box<RawValue>>,
    /// Goals of the plan, by name.
    pub serves: Vec<String>,
    /// Keys.
    pub depends_on: Vec<String>,
    /// Start to close; `None`: the agent's own.
    pub sla_seconds: Option<u32>,
    pub max_attempts: Option<u16>,
    pub retry: Retry,
    /// Agents that do it when the one before could not: its attempts are used up, or no live worker serves it.
    pub fallback: Vec<String>,
    pub priority: Option<Priority>,
    pub run_if: RunIf,
    /// An expression; not true: skipped.
    pub when: Option<String>,
    /// `None`: a person decides; within a map, it has failed.
    pub on_failure: Option<OnFailure>,
    /// Undoes it, should the task fail, meet its deadline or be cancelled so after it was completed.
    pub compensate: Option<Compensate>,
    /// An approval that a rule of the operator puts before what depends on it: see [`guard`](crate::guard::guard).
    pub guards: bool,
    pub context: ContextKeys,
    pub does: Does<Vec<Draft>>,
}

/// What a plan is to reach. Only the validator looks at it: each goal has to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    pub name: String,
    /// For people.
    pub description: String,
}

/// How attempts follow each other; what is not said is the control plane's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Wait before the second attempt; doubles with each further one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_seconds: Option<u32>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff_seconds: Option<u32>,
    /// Codes of errors after which trying again is no use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<String>,
}

/// Which keys of the shared context a worker finds in its brief, as they are when it gets the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextKeys {
    /// What the task was given, whatever was written since.
    #[default]
    Given,
    All,
    Only(Vec<String>),
}

/// What undoes a subtask. It finds what the subtask delivered among its dependencies.
#[derive(Clone, Debug, Default)]
pub struct Compensate {
    /// Empty: any agent with the capabilities.
    pub agent: String,
    pub capabilities: Vec<String>,
    /// JSON text; `None`: the input of what it undoes.
    pub input: Option<Box<RawValue>>,
}

/// Which ends of its dependencies let a subtask run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RunIf {
    /// Each was completed, or a person went on without it.
    #[default]
    AllSucceeded = 1,
    /// Each is final, however it ended.
    AllDone = 2,
    /// Each is final, and at least one succeeded.
    AnySucceeded = 3,
    /// Each is final, and at least one failed.
    AnyFailed = 4,
}

impl RunIf {
    pub const ALL: [RunIf; 4] = [RunIf::AllSucceeded, RunIf::AllDone, RunIf::AnySucceeded, RunIf::AnyFailed];

    pub fn word(self) -> &'static str {
        match self {
            RunIf::AllSucceeded => "all_succeeded",
            RunIf::AllDone => "all_done",
            RunIf::AnySucceeded => "any_succeeded",
            RunIf::AnyFailed => "any_failed",
        }
    }

    /// Whether a failure is what such a subtask is for, so that it does not fail the whole.
    pub fn handles_failure(self) -> bool {
        match self {
            RunIf::AllSucceeded => false,
            RunIf::AllDone | RunIf::AnySucceeded | RunIf::AnyFailed => true,
        }
    }
}

/// What becomes of a subtask that has failed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum OnFailure {
    /// A person decides.
    #[default]
    Review = 1,
    /// It is failed, and what depends on it goes by its `run_if`.
    Fail = 2,
}

impl OnFailure {
    pub const ALL: [OnFailure; 2] = [OnFailure::Review, OnFailure::Fail];

    pub fn word(self) -> &'static str {
        match self {
            OnFailure::Review => "review",
            OnFailure::Fail => "fail",
        }
    }
}

/// What a subtask does once it may run. All but `Work` needs no worker. `B` is the body of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does<B> {
    /// A worker does it.
    #[default]
    Work,
    /// Waits until people have decided.
    Approval(Approval),
    /// Waits for a signal.
    Signal(SignalGate),
    /// Waits for a time.
    Timer(Timer),
    /// A whole task of a stored workflow; its output is that task's result.
    Workflow(Call),
    /// Runs its body once; its output is an object of theirs by key.
    Group(B),
    /// Runs its body for each element of a list; its output is the list of theirs.
    Map(Map<B>),
    /// Runs its body until an expression holds; its output is that of the last round.
    Loop(Loop<B>),
    /// One element of a map, or one round of a loop: runs the body of what it belongs to. Only plans that have grown
    /// hold it.
    Round,
}

impl<B> Does<B> {
    pub fn is_work(&self) -> bool {
        matches!(self, Does::Work)
    }

    /// Whether it is a task of its own.
    pub fn is_workflow(&self) -> bool {
        matches!(self, Does::Workflow(_))
    }

    /// Whether it is done by what belongs to it.
    pub fn is_group(&self) -> bool {
        match self {
            Does::Group(_) | Does::Map(_) | Does::Loop(_) | Does::Round => true,
            Does::Work | Does::Approval(_) | Does::Signal(_) | Does::Timer(_) | Does::Workflow(_) => false,
        }
    }

    /// The body of a group.
    pub fn body(&self) -> Option<&B> {
        match self {
            Does::Work
            | Does::Approval(_)
            | Does::Signal(_)
            | Does::Timer(_)
            | Does::Workflow(_)
            | Does::Round => None,
            Does::Group(body) | Does::Map(Map { body, .. }) | Does::Loop(Loop { body, .. }) => Some(body),
        }
    }

    /// The expression that it goes by.
    pub(crate) fn expression(&self) -> Option<&str> {
        match self {
            Does::Signal(gate) => gate.matches.as_deref(),
            Does::Map(map) => Some(&map.over),
            Does::Loop(of) => Some(&of.until),
            Does::Workflow(call) => call.parameters_from.as_deref(),
            Does::Work | Does::Approval(_) | Does::Timer(_) | Does::Group(_) | Does::Round => None,
        }
    }

    /// The same with another form of body.
    pub(crate) fn map_body<C>(&self, body: impl FnOnce(&B) -> C) -> Does<C> {
        match self {
            Does::Work => Does::Work,
            Does::Approval(approval) => Does::Approval(approval.clone()),
            Does::Signal(signal) => Does::Signal(signal.clone()),
            Does::Timer(timer) => Does::Timer(*timer),
            Does::Workflow(call) => Does::Workflow(call.clone()),
            Does::Round => Does::Round,
            Does::Group(of) => Does::Group(body(of)),
            Does::Map(Map { over, max_parallel, failures, body: of }) => Does::Map(Map {
                over: over.clone(),
                max_parallel: *max_parallel,
                failures: *failures,
                body: body(of),
            }),
            Does::Loop(Loop { until, max_iterations, on_limit, body: of }) => Does::Loop(Loop {
                until: until.clone(),
                max_iterations: *max_iterations,
                on_limit: *on_limit,
                body: body(of),
            }),
        }
    }
}

/// A decision that people take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who may decide: first those of the first level; after each timeout also those of the next. None: anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Approvers>,
    /// So many different people have to choose the same.
    pub quorum: u32,
    /// At least one.
    pub options: Vec<Choice>,
    /// Of each level; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

/// Some people: each of these names, and whoever has one of these roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvers {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// What can be chosen, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub name: String,
    pub then: Then,
}

/// What a choice makes of the approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Then {
    /// Completed: dependents see the choice.
    Complete = 1,
    /// Refused: failed at once, as somebody decided so.
    Fail = 2,
    Skip = 3,
}

impl Then {
    pub const ALL: [Then; 3] = [Then::Complete, Then::Fail, Then::Skip];

    pub fn word(self) -> &'static str {
        match self {
            Then::Complete => "complete",
            Then::Fail => "fail",
            Then::Skip => "skip",
        }
    }
}

/// What becomes of an approval that nobody of the last level took in time. Whatever it is, it counts as expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum OnTimeout {
    /// As `on_failure` says.
    #[default]
    Fail = 1,
    /// As if the first choice that completes had been taken.
    Approve = 2,
    /// As if the first choice that fails had been taken.
    Reject = 3,
}

impl OnTimeout {
    pub const ALL: [OnTimeout; 3] = [OnTimeout::Fail, OnTimeout::Approve, OnTimeout::Reject];

    pub fn word(self) -> &'static str {
        match self {
            OnTimeout::Fail => "fail",
            OnTimeout::Approve => "approve",
            OnTimeout::Reject => "reject",
        }
    }
}

/// Waits for a named signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalGate {
    pub name: String,
    /// An expression over `signal` (its payload) beside the usual ones; only a signal for which it is true counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// Waits for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// From when it may run.
    Seconds(u32),
    Until(Time),
}

/// Which workflow a subtask is a task of, and with what. Parameters are the subtask's input, an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub name: String,
    /// `None`: the newest when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// An expression that gives an object: its members are parameters too, before those of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_from: Option<String>,
}

/// One run of the body for each element.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Map<B> {
    /// An expression that gives a list.
    pub over: String,
    /// Elements at the same time; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    #[serde(default)]
    pub failures: Failures,
    pub body: B,
}

/// How many elements of a map may fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failures {
    /// None: with the first failure the others are cancelled, and the map has failed.
    #[default]
    FailFast,
    /// So many; with one more it is as above.
    Tolerate(u32),
    /// All.
    Continue,
}

impl Failures {
    /// Whether so many are too many.
    pub(crate) fn exceeded_by(self, failed: u32) -> bool {
        match self {
            Failures::FailFast => failed > 0,
            Failures::Tolerate(most) => failed > most,
            Failures::Continue => false,
        }
    }
}

/// The body again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loop<B> {
    /// An expression over the outputs of the round that has just ended.
    pub until: String,
    pub max_iterations: u32,
    #[serde(default)]
    pub on_limit: OnLimit,
    pub body: B,
}

/// What becomes of a loop that reached its limit before its `until` held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum OnLimit {
    /// As `on_failure` says.
    #[default]
    Fail = 1,
    /// It goes on with what the last round delivered.
    Complete = 2,
}

impl OnLimit {
    pub const ALL: [OnLimit; 2] = [OnLimit::Fail, OnLimit::Complete];

    pub fn word(self) -> &'static str {
        match self {
            OnLimit::Fail => "fail",
            OnLimit::Complete => "complete",
        }
    }
}
