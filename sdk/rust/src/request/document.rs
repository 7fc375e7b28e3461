//! The one plan document: tasks, plans and subtasks as JSON (or YAML read as such), of the same shape as the body of
//! `POST /orchestrate`.
//!
//! Here the shape is read, and everything that does not fit is told at once with the path of its field. What the
//! values mean is the control plane's to judge.

mod schedule;
#[cfg(test)]
mod tests;
mod workflow;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map as Object, Value};

use super::{Plan, SubmitTask, Subtask};
use crate::{
    Error, FieldViolation,
    proto::{
        self, OnFailure, OnLimit, OnTimeout, OptionOutcome, PlannedSubtask, Priority, RunIf, map::Failures,
        planned_subtask::Does, timer::At,
    },
};

const TASK_FIELDS: [&str; 7] =
    ["task_id", "title", "description", "priority", "metadata", "plan", "deadline"];
const SUBTASK_FIELDS: [&str; 24] = [
    "key",
    "agent",
    "capabilities",
    "input",
    "output_schema",
    "serves",
    "depends_on",
    "sla_seconds",
    "max_attempts",
    "retry",
    "fallback",
    "compensate",
    "priority",
    "run_if",
    "when",
    "on_failure",
    "context",
    "approval",
    "signal",
    "timer",
    "workflow",
    "group",
    "map",
    "loop",
];
/// Of those above, what says that no worker does it.
const DOES: [&str; 7] = ["approval", "signal", "timer", "workflow", "group", "map", "loop"];

const PRIORITIES: [(&str, Priority); 4] = [
    ("low", Priority::Low),
    ("normal", Priority::Normal),
    ("high", Priority::High),
    ("critical", Priority::Critical),
];
const RUN_IFS: [(&str, RunIf); 4] = [
    ("all_succeeded", RunIf::AllSucceeded),
    ("all_done", RunIf::AllDone),
    ("any_succeeded", RunIf::AnySucceeded),
    ("any_failed", RunIf::AnyFailed),
];
const ON_FAILURES: [(&str, OnFailure); 2] = [("review", OnFailure::Review), ("fail", OnFailure::Fail)];
const ON_TIMEOUTS: [(&str, OnTimeout); 3] =
    [("fail", OnTimeout::Fail), ("approve", OnTimeout::Approve), ("reject", OnTimeout::Reject)];
const ON_LIMITS: [(&str, OnLimit); 2] = [("fail", OnLimit::Fail), ("complete", OnLimit::Complete)];
const OUTCOMES: [(&str, OptionOutcome); 3] =
    [("complete", OptionOutcome::Complete), ("fail", OptionOutcome::Fail), ("skip", OptionOutcome::Skip)];

impl SubmitTask {
    /// Reads a task as a document.
    ///
    /// # Errors
    /// [`Error::InvalidDocument`] with everything that does not fit: unknown fields, values of another kind.
    ///
    /// ```
    /// use downbeat_sdk::SubmitTask;
    /// use serde_json::json;
    ///
    /// let task = SubmitTask::from_document(&json!({
    ///     "task_id": "words-1",
    ///     "plan": {"subtasks": [
    ///         {"key": "write", "agent": "writer"},
    ///         {"key": "go", "approval": {"message": "Print it?"}, "depends_on": ["write"]},
    ///     ]},
    /// }));
    /// assert!(task.is_ok());
    ///
    /// let error = SubmitTask::from_document(&json!({"task_id": "words-1", "titel": "Words"})).unwrap_err();
    /// assert!(error.to_string().contains("titel: unknown field"));
    /// ```
    pub fn from_document(document: &Value) -> Result<Self, Error> {
        read(|shape| shape.task(document)).map(Self::from)
    }
}

impl Plan {
    /// Reads a plan as a document: `{"subtasks": [...]}`.
    ///
    /// # Errors
    /// [`Error::InvalidDocument`] with everything that does not fit; paths begin with `plan`.
    pub fn from_document(document: &Value) -> Result<Self, Error> {
        read(|shape| shape.plan(document)).map(Self::from)
    }
}

impl Subtask {
    /// Reads a list of subtasks, each as in a plan's document. Paths of problems begin with `at`.
    ///
    /// # Errors
    /// [`Error::InvalidDocument`] with everything that does not fit.
    pub fn list_from_document(at: &str, document: &Value) -> Result<Vec<Self>, Error> {
        let subtasks = read(|shape| shape.subtasks(at, Some(document)))?;
        Ok(subtasks.into_iter().map(Self::from).collect())
    }
}

fn read<T>(of: impl FnOnce(&mut Shape) -> T) -> Result<T, Error> {
    let mut shape = Shape::default();
    let read = of(&mut shape);
    if shape.problems.is_empty() { Ok(read) } else { Err(Error::InvalidDocument { fields: shape.problems }) }
}

/// JSON text; empty for null, as the contract has it.
fn json(value: Option<&Value>) -> Bytes {
    value.filter(|value| !value.is_null()).map_or_else(Bytes::new, |value| value.to_string().into())
}

/// Takes a document apart and collects what does not fit.
#[derive(Default)]
struct Shape {
    problems: Vec<FieldViolation>,
}

// What there is.
impl Shape {
    fn task(&mut self, document: &Value) -> proto::SubmitTaskRequest {
        let mut request = proto::SubmitTaskRequest::default();
        let Some(fields) = self.object("", document, &TASK_FIELDS) else { return request };
        request.task_id = self.text("task_id", fields.get("task_id"));
        if !fields.contains_key("task_id") {
            self.add("task_id", "is missing: your own name for the task, so that it is never done twice");
        }
        request.title = self.text("title", fields.get("title"));
        request.description = self.text("description", fields.get("description"));
        request.priority = self.word("priority", fields.get("priority"), &PRIORITIES);
        match fields.get("metadata") {
            None | Some(Value::Null) => {}
            Some(metadata @ Value::Object(_)) => request.metadata = metadata.to_string().into(),
            Some(other) => self.expected("metadata", "an object", other),
        }
        request.plan = match fields.get("plan") {
            None | Some(Value::Null) => None,
            Some(plan) => Some(self.plan(plan)),
        };
        request.deadline_ms = self.time("deadline", fields.get("deadline"));
        request
    }

    fn plan(&mut self, document: &Value) -> proto::Plan {
        let Some(fields) = self.object("plan", document, &["goals", "subtasks"]) else {
            return proto::Plan::default();
        };
        proto::Plan {
            subtasks: self.subtasks("plan.subtasks", fields.get("subtasks")),
            goals: self.list("plan.goals", fields.get("goals"), "a list of {name, description}", Self::goal),
        }
    }

    fn goal(&mut self, at: &str, document: &Value) -> proto::Goal {
        let Some(fields) = self.object(at, document, &["name", "description"]) else {
            return proto::Goal::default();
        };
        proto::Goal {
            name: self.text(&format!("{at}.name"), fields.get("name")),
            description: self.text(&format!("{at}.description"), fields.get("description")),
        }
    }

    fn subtasks(&mut self, at: &str, document: Option<&Value>) -> Vec<PlannedSubtask> {
        if document.is_none() {
            self.add(at, "is missing: a list of subtasks");
        }
        self.list(at, document, "a list of subtasks", Self::subtask)
    }

    fn subtask(&mut self, at: &str, document: &Value) -> PlannedSubtask {
        let Some(fields) = self.object(at, document, &SUBTASK_FIELDS) else {
            return PlannedSubtask::default();
        };
        let field = |name: &str| format!("{at}.{name}");
        let get = |name: &str| fields.get(name);
        if !fields.contains_key("key") {
            self.add(&field("key"), "is missing: a name that is unique in the plan");
        }
        PlannedSubtask {
            key: self.text(&field("key"), get("key")),
            agent: self.text(&field("agent"), get("agent")),
            capabilities: self.texts(&field("capabilities"), get("capabilities")),
            depends_on: self.texts(&field("depends_on"), get("depends_on")),
            input: json(get("input")),
            output_schema: self.schema(&field("output_schema"), get("output_schema")),
            serves: self.texts(&field("serves"), get("serves")),
            sla_seconds: self.number(&field("sla_seconds"), get("sla_seconds")),
            max_attempts: self.number(&field("max_attempts"), get("max_attempts")),
            retry: self.retry(&field("retry"), get("retry")),
            fallback: self.texts(&field("fallback"), get("fallback")),
            compensate: self.compensation(&field("compensate"), get("compensate")),
            priority: self.word(&field("priority"), get("priority"), &PRIORITIES),
            run_if: self.word(&field("run_if"), get("run_if"), &RUN_IFS),
            when: self.text(&field("when"), get("when")),
            on_failure: self.word(&field("on_failure"), get("on_failure"), &ON_FAILURES),
            context: self.context(&field("context"), get("context")),
            does: self.does(at, fields),
        }
    }

    fn schema(&mut self, at: &str, document: Option<&Value>) -> String {
        match document {
            None | Some(Value::Null) => String::new(),
            Some(schema @ (Value::Object(_) | Value::Bool(_))) => schema.to_string(),
            Some(other) => {
                self.expected(at, "a JSON Schema", other);
                String::new()
            }
        }
    }

    fn retry(&mut self, at: &str, document: Option<&Value>) -> Option<proto::Retry> {
        const FIELDS: [&str; 3] = ["backoff_seconds", "max_backoff_seconds", "non_retryable"];
        let document = document.filter(|document| !document.is_null())?;
        let fields = self.object(at, document, &FIELDS)?;
        let field = |name: &str| format!("{at}.{name}");
        Some(proto::Retry {
            backoff_seconds: self.whole(&field("backoff_seconds"), fields.get("backoff_seconds"), 0),
            max_backoff_seconds: self.whole(
                &field("max_backoff_seconds"),
                fields.get("max_backoff_seconds"),
                0,
            ),
            non_retryable: self.texts(&field("non_retryable"), fields.get("non_retryable")),
        })
    }

    fn compensation(&mut self, at: &str, document: Option<&Value>) -> Option<proto::Compensation> {
        let document = document.filter(|document| !document.is_null())?;
        let fields = self.object(at, document, &["agent", "capabilities", "input"])?;
        Some(proto::Compensation {
            agent: self.text(&format!("{at}.agent"), fields.get("agent")),
            capabilities: self.texts(&format!("{at}.capabilities"), fields.get("capabilities")),
            input: json(fields.get("input")),
        })
    }

    /// `true`, or a list of keys.
    fn context(&mut self, at: &str, document: Option<&Value>) -> Option<proto::ContextKeys> {
        match document? {
            Value::Null | Value::Bool(false) => None,
            Value::Bool(true) => Some(proto::ContextKeys { all: true, keys: Vec::new() }),
            keys @ Value::Array(_) => {
                Some(proto::ContextKeys { all: false, keys: self.texts(at, Some(keys)) })
            }
            other => {
                self.expected(at, "true, or a list of keys", other);
                None
            }
        }
    }

    fn does(&mut self, at: &str, fields: &Object<String, Value>) -> Option<Does> {
        let said = |name: &&str| fields.get(*name).is_some_and(|value| !value.is_null());
        let said: Vec<&str> = DOES.into_iter().filter(said).collect();
        if said.len() > 1 {
            self.add(at, format!("expected at most one of {}, got {}", DOES.join(", "), said.join(" and ")));
        }
        let mut does = None;
        for name in said {
            let (at, value) = (format!("{at}.{name}"), &fields[name]);
            does = match name {
                "approval" => self.approval(&at, value).map(Does::Approval),
                "signal" => self.signal(&at, value).map(Does::Signal),
                "timer" => self.timer(&at, value).map(Does::Timer),
                "workflow" => self.call(&at, value).map(Does::Workflow),
                "group" => self.group(&at, value).map(Does::Group),
                "map" => self.map(&at, value).map(Does::Map),
                _ => self.loop_of(&at, value).map(Does::Loop),
            };
        }
        does
    }

    fn approval(&mut self, at: &str, document: &Value) -> Option<proto::Approval> {
        const FIELDS: [&str; 6] =
            ["message", "approvers", "quorum", "options", "timeout_seconds", "on_timeout"];
        let fields = self.object(at, document, &FIELDS)?;
        let field = |name: &str| format!("{at}.{name}");
        Some(proto::Approval {
            message: self.text(&field("message"), fields.get("message")),
            approvers: self.list(
                &field("approvers"),
                fields.get("approvers"),
                "a list of {names, roles}",
                Self::approvers,
            ),
            quorum: self.number(&field("quorum"), fields.get("quorum")),
            options: self.list(&field("options"), fields.get("options"), "a list of options", Self::option),
            timeout_seconds: self.number(&field("timeout_seconds"), fields.get("timeout_seconds")),
            on_timeout: self.word(&field("on_timeout"), fields.get("on_timeout"), &ON_TIMEOUTS),
        })
    }

    fn approvers(&mut self, at: &str, document: &Value) -> proto::Approvers {
        let Some(fields) = self.object(at, document, &["names", "roles"]) else {
            return proto::Approvers::default();
        };
        proto::Approvers {
            names: self.texts(&format!("{at}.names"), fields.get("names")),
            roles: self.texts(&format!("{at}.roles"), fields.get("roles")),
        }
    }

    /// A name alone is an option that completes.
    fn option(&mut self, at: &str, document: &Value) -> proto::ApprovalOption {
        if let Value::String(name) = document {
            return proto::ApprovalOption { name: name.clone(), then: OptionOutcome::Complete.into() };
        }
        let Some(fields) = self.object(at, document, &["name", "then"]) else {
            return proto::ApprovalOption::default();
        };
        proto::ApprovalOption {
            name: self.text(&format!("{at}.name"), fields.get("name")),
            then: self.word(&format!("{at}.then"), fields.get("then"), &OUTCOMES),
        }
    }

    fn signal(&mut self, at: &str, document: &Value) -> Option<proto::SignalGate> {
        let fields = self.object(at, document, &["name", "matches", "timeout_seconds"])?;
        Some(proto::SignalGate {
            name: self.text(&format!("{at}.name"), fields.get("name")),
            matches: self.text(&format!("{at}.matches"), fields.get("matches")),
            timeout_seconds: self.number(&format!("{at}.timeout_seconds"), fields.get("timeout_seconds")),
        })
    }

    fn timer(&mut self, at: &str, document: &Value) -> Option<proto::Timer> {
        let fields = self.object(at, document, &["seconds", "until"])?;
        let at_time = match (fields.get("seconds"), fields.get("until")) {
            (Some(seconds), None) => At::Seconds(self.number(&format!("{at}.seconds"), Some(seconds))),
            (None, Some(until)) => At::UntilMs(self.time(&format!("{at}.until"), Some(until))),
            (None, None) | (Some(_), Some(_)) => {
                self.add(at, "expected either seconds or until");
                return None;
            }
        };
        Some(proto::Timer { at: Some(at_time) })
    }

    fn call(&mut self, at: &str, document: &Value) -> Option<proto::WorkflowCall> {
        let fields = self.object(at, document, &["name", "version", "parameters_from"])?;
        Some(proto::WorkflowCall {
            name: self.text(&format!("{at}.name"), fields.get("name")),
            version: self.number(&format!("{at}.version"), fields.get("version")),
            parameters_from: self.text(&format!("{at}.parameters_from"), fields.get("parameters_from")),
        })
    }

    fn group(&mut self, at: &str, document: &Value) -> Option<proto::Group> {
        let fields = self.object(at, document, &["subtasks"])?;
        Some(proto::Group { subtasks: self.subtasks(&format!("{at}.subtasks"), fields.get("subtasks")) })
    }

    fn map(&mut self, at: &str, document: &Value) -> Option<proto::Map> {
        let fields = self.object(at, document, &["over", "max_parallel", "failures", "subtasks"])?;
        Some(proto::Map {
            over: self.text(&format!("{at}.over"), fields.get("over")),
            max_parallel: self.number(&format!("{at}.max_parallel"), fields.get("max_parallel")),
            failures: self.failures(&format!("{at}.failures"), fields.get("failures")),
            subtasks: self.subtasks(&format!("{at}.subtasks"), fields.get("subtasks")),
        })
    }

    fn failures(&mut self, at: &str, document: Option<&Value>) -> Option<Failures> {
        match document {
            None | Some(Value::Null) => None,
            Some(Value::String(word)) if word == "fail_fast" => None,
            Some(Value::String(word)) if word == "continue" => Some(Failures::Continue(true)),
            Some(document @ Value::Object(_)) => {
                let fields = self.object(at, document, &["tolerate"])?;
                let most = self.whole(&format!("{at}.tolerate"), fields.get("tolerate"), 0);
                Some(Failures::Tolerate(most.unwrap_or(0)))
            }
            Some(other) => {
                self.expected(at, "fail_fast, continue or {tolerate: NUMBER}", other);
                None
            }
        }
    }

    fn loop_of(&mut self, at: &str, document: &Value) -> Option<proto::Loop> {
        let fields = self.object(at, document, &["until", "max_iterations", "on_limit", "subtasks"])?;
        Some(proto::Loop {
            until: self.text(&format!("{at}.until"), fields.get("until")),
            max_iterations: self.number(&format!("{at}.max_iterations"), fields.get("max_iterations")),
            on_limit: self.word(&format!("{at}.on_limit"), fields.get("on_limit"), &ON_LIMITS),
            subtasks: self.subtasks(&format!("{at}.subtasks"), fields.get("subtasks")),
        })
    }
}

// What it is made of.
impl Shape {
    fn object<'v>(
        &mut self,
        at: &str,
        value: &'v Value,
        known: &[&str],
    ) -> Option<&'v Object<String, Value>> {
        let Value::Object(fields) = value else {
            self.expected(if at.is_empty() { "the document" } else { at }, "an object", value);
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let dot = if at.is_empty() { "" } else { "." };
            self.add(&format!("{at}{dot}{name}"), format!("unknown field; there are {}", known.join(", ")));
        }
        Some(fields)
    }

    fn list<T>(
        &mut self,
        at: &str,
        value: Option<&Value>,
        what: &str,
        mut read: impl FnMut(&mut Self, &str, &Value) -> T,
    ) -> Vec<T> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(i, item)| read(self, &format!("{at}[{i}]"), item)).collect()
            }
            Some(other) => {
                self.expected(at, what, other);
                Vec::new()
            }
        }
    }

    fn text(&mut self, at: &str, value: Option<&Value>) -> String {
        match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                self.expected(at, "a text", other);
                String::new()
            }
        }
    }

    fn texts(&mut self, at: &str, value: Option<&Value>) -> Vec<String> {
        self.list(at, value, "a list of texts", |shape, at, item| shape.text(at, Some(item)))
    }

    /// Zero means "not said" in the contract, so nobody may say it.
    fn number(&mut self, at: &str, value: Option<&Value>) -> u32 {
        self.whole(at, value, 1).unwrap_or(0)
    }

    fn whole(&mut self, at: &str, value: Option<&Value>, least: u32) -> Option<u32> {
        let value = value.filter(|value| !value.is_null())?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|n| *n >= least);
        if number.is_none() {
            self.expected(at, &format!("a whole number from {least} to {}", u32::MAX), value);
        }
        number
    }

    fn word<T: Copy + Into<i32>>(&mut self, at: &str, value: Option<&Value>, all: &[(&str, T)]) -> i32 {
        let word = self.text(at, value);
        if word.is_empty() {
            return 0;
        }
        let found = all.iter().find(|(name, _)| *name == word.to_lowercase());
        if found.is_none() {
            let known: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            self.add(at, format!("expected one of {}, got {word:?}", known.join(", ")));
        }
        found.map_or(0, |(_, value)| (*value).into())
    }

    fn time(&mut self, at: &str, value: Option<&Value>) -> i64 {
        let text = self.text(at, value);
        if text.is_empty() {
            return 0;
        }
        match text.parse::<Timestamp>() {
            Ok(time) => time.as_millisecond(),
            Err(_) => {
                self.add(at, format!("expected a time such as 2026-01-31T12:00:00Z, got {text:?}"));
                0
            }
        }
    }

    fn expected(&mut self, at: &str, what: &str, got: &Value) {
        let kind = match got {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("the text {text:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.add(at, format!("expected {what}, got {kind}"));
    }

    fn add(&mut self, at: &str, issue: impl Into<String>) {
        self.problems.push(FieldViolation { field: at.to_owned(), issue: issue.into() });
    }
}
