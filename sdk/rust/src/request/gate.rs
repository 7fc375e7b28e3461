//! What a subtask may wait for without a worker: people, a signal, a time, a task of its own.

use std::time::{Duration, SystemTime};

use super::{millis, seconds};
use crate::proto::{self, OnTimeout, OptionOutcome, timer};

/// A decision that people take.
///
/// ```
/// use std::time::Duration;
/// use downbeat_sdk::{Approval, Approvers, Subtask, proto::{OnTimeout, OptionOutcome}};
///
/// let go = Subtask::approval(
///     "go",
///     Approval::new()
///         .message("Release v42 to everybody?")
///         .approvers(Approvers::new().name("ada").role("release-manager"))
///         .approvers(Approvers::new().role("director"))
///         .timeout(Duration::from_secs(3600), OnTimeout::Reject)
///         .option("everybody", OptionOutcome::Complete)
///         .option("nobody", OptionOutcome::Fail),
/// );
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "an approval does nothing until it is part of a plan"]
pub struct Approval {
    pub(super) approval: proto::Approval,
}

impl Approval {
    /// Anybody may `approve`, which completes it, or `reject`, which fails it; for ever.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it is about, for people; at most 4 KiB.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.approval.message = message.into();
        self
    }

    /// Adds a level of people who may decide: those of the first level, after each timeout also those of the next.
    pub fn approvers(mut self, approvers: Approvers) -> Self {
        self.approval.approvers.push(approvers.approvers);
        self
    }

    /// So many different people have to choose the same. The default is 1.
    pub fn quorum(mut self, people: u32) -> Self {
        self.approval.quorum = people;
        self
    }

    /// Adds an option. The first one replaces `approve` and `reject`.
    pub fn option(mut self, name: impl Into<String>, then: OptionOutcome) -> Self {
        self.approval.options.push(proto::ApprovalOption { name: name.into(), then: then.into() });
        self
    }

    /// How long each level has, rounded up to seconds, and what follows when the last one's time is over.
    pub fn timeout(mut self, each: Duration, on_timeout: OnTimeout) -> Self {
        self.approval.timeout_seconds = seconds(each);
        self.approval.set_on_timeout(on_timeout);
        self
    }
}

/// People who may decide: each of these names, and whoever has one of these roles.
#[derive(Debug, Clone, Default)]
#[must_use = "approvers do nothing until they are part of an approval"]
pub struct Approvers {
    approvers: proto::Approvers,
}

impl Approvers {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a person.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.approvers.names.push(name.into());
        self
    }

    /// Adds a role.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.approvers.roles.push(role.into());
        self
    }
}

/// A wait for a signal of one name.
#[derive(Debug, Clone)]
#[must_use = "a gate does nothing until it is part of a plan"]
pub struct SignalGate {
    pub(super) gate: proto::SignalGate,
}

impl SignalGate {
    /// Any signal of that name, for ever.
    pub fn new(name: impl Into<String>) -> Self {
        Self { gate: proto::SignalGate { name: name.into(), ..Default::default() } }
    }

    /// Only a signal for which this CEL expression is true; it finds what the signal carries as `signal`.
    pub fn matches(mut self, expression: impl Into<String>) -> Self {
        self.gate.matches = expression.into();
        self
    }

    /// How long it waits before it has failed; rounded up to seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.gate.timeout_seconds = seconds(timeout);
        self
    }
}

/// A wait for a time.
#[derive(Debug, Clone, Copy)]
#[must_use = "a timer does nothing until it is part of a plan"]
pub struct Timer {
    pub(super) timer: proto::Timer,
}

impl Timer {
    /// So long from when it may run; rounded up to seconds.
    pub fn after(wait: Duration) -> Self {
        Self { timer: proto::Timer { at: Some(timer::At::Seconds(seconds(wait))) } }
    }

    /// Until then; rounded down to milliseconds.
    pub fn until(at: SystemTime) -> Self {
        Self { timer: proto::Timer { at: Some(timer::At::UntilMs(millis(at))) } }
    }
}

/// A task of a stored workflow. Parameters are the input of the subtask that it is.
///
/// ```
/// use downbeat_sdk::{Subtask, WorkflowCall};
/// use serde_json::json;
///
/// let release = Subtask::workflow(
///     "release",
///     WorkflowCall::new("release").version(3).parameters_from("{'ref': outputs.build.ref}"),
/// )
/// .input(&json!({"env": "prod"}))
/// .depends_on(["build"]);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a workflow does nothing until it is part of a plan"]
pub struct WorkflowCall {
    pub(super) call: proto::WorkflowCall,
}

impl WorkflowCall {
    /// The workflow of that name, in its newest version when the subtask begins.
    pub fn new(name: impl Into<String>) -> Self {
        Self { call: proto::WorkflowCall { name: name.into(), ..Default::default() } }
    }

    /// That version.
    pub fn version(mut self, version: u32) -> Self {
        self.call.version = version;
        self
    }

    /// A CEL expression that gives an object: more parameters, before those of the input.
    pub fn parameters_from(mut self, expression: impl Into<String>) -> Self {
        self.call.parameters_from = expression.into();
        self
    }
}
