//! Request bodies of REST, read into what the engine takes.

use bytes::Bytes;
use downbeat_core::{
    id::TenantNo,
    limits,
    plan::{Draft, Violation},
    task::Mode,
    time::Time,
};
use serde_json::value::RawValue;

use super::{
    check,
    fields::{self, Fields},
    json,
    problems::Problems,
    submission::{self, Entry, Form},
    times,
};
use crate::{engine::Submission, failure::Failure};

/// The fields of each body; whatever else comes is refused.
pub(crate) const SUBMISSION: &[&str] =
    &["task_id", "title", "description", "priority", "metadata", "plan", "deadline"];
pub(crate) const PLAN: &[&str] = &["subtasks"];
pub(crate) const SUBTASK: &[&str] =
    &["key", "agent", "capabilities", "input", "depends_on", "sla_seconds", "max_attempts", "priority"];
pub(crate) const EXECUTION: &[&str] = &["execution_mode", "checkpoints"];
pub(crate) const REASON: &[&str] = &["reason"];
pub(crate) const COMPLETION: &[&str] = &["output"];
pub(crate) const ROUTE: &[&str] = &["agent"];

/// How to execute a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    pub mode: Mode,
    /// Keys or subtask ids.
    pub checkpoints: Vec<String>,
}

/// `POST /orchestrate`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn submission(tenant: TenantNo, body: &RawValue) -> Result<Submission, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, SUBMISSION, &mut problems);
    let form = Form {
        task_id: fields.text("task_id", &mut problems),
        title: fields.text("title", &mut problems),
        description: fields.text("description", &mut problems),
        priority: fields.choice("priority", &mut problems),
        metadata: fields
            .raw("metadata")
            .and_then(|raw| json::document(&fields.at("metadata"), raw, &mut problems)),
        deadline: fields.raw("deadline").and_then(|raw| deadline(raw, &mut problems)),
        plan: fields.raw("plan").map(|raw| plan(raw, &mut problems)),
        execute: false,
    };
    submission::check(tenant, form, problems)
}

/// `POST /execute/{task_id}`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn execution(body: &RawValue) -> Result<Execution, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, EXECUTION, &mut problems);
    let mode = fields.choice("execution_mode", &mut problems).unwrap_or_default();
    let checkpoints =
        fields.texts("checkpoints", limits::PLAN_SUBTASKS, "checkpoints (PLAN_SUBTASKS)", &mut problems);
    problems.finish(Execution { mode, checkpoints })
}

/// A body that may give a reason.
///
/// # Errors
/// `Invalid` with every problem.
pub fn reason(body: &RawValue) -> Result<String, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, REASON, &mut problems);
    let given = fields.text("reason", &mut problems);
    let reason = check::reason(&given, &mut problems);
    problems.finish(reason)
}

/// A body that may only be empty.
///
/// # Errors
/// `Invalid` with every field it has.
pub fn nothing(body: &RawValue) -> Result<(), Failure> {
    let mut problems = Problems::default();
    Fields::read("", body, &[], &mut problems);
    problems.finish(())
}

/// An output supplied by hand. `null` is one.
///
/// # Errors
/// `Invalid` with every problem.
pub fn output(body: &RawValue) -> Result<Bytes, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, COMPLETION, &mut problems);
    let output = match fields.raw("output") {
        Some(raw) => check::output(json::document("output", raw, &mut problems), &mut problems),
        None if fields.has("output") => Bytes::from_static(b"null"),
        None => {
            problems.check(|found| found.push(Violation::new("output", "is required; it may be null")));
            Bytes::new()
        }
    };
    problems.finish(output)
}

/// The agent that a subtask is sent to by hand.
///
/// # Errors
/// `Invalid` with every problem.
pub fn agent(body: &RawValue) -> Result<String, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, ROUTE, &mut problems);
    let agent = fields.text("agent", &mut problems);
    problems.check(|found| check::name("agent", &agent, found));
    problems.finish(agent)
}

fn deadline(raw: &RawValue, problems: &mut Problems) -> Option<Time> {
    let text = fields::text("deadline", raw, problems)?;
    let deadline = times::parse(&text);
    if deadline.is_none() {
        problems.add("deadline", "must be an RFC 3339 time, as in `2027-01-31T18:00:00Z`");
    }
    deadline
}

fn plan(raw: &RawValue, problems: &mut Problems) -> Vec<Entry> {
    let fields = Fields::read("plan", raw, PLAN, problems);
    let subtasks = fields.list("subtasks", limits::PLAN_SUBTASKS, "subtasks (PLAN_SUBTASKS)", problems);
    subtasks.unwrap_or_default().into_iter().map(|(path, raw)| entry(&path, raw, problems)).collect()
}

fn entry(path: &str, raw: &RawValue, problems: &mut Problems) -> Entry {
    let fields = Fields::read(path, raw, SUBTASK, problems);
    let tags = ("capabilities", limits::CAPABILITIES, "tags (CAPABILITIES)");
    let keys = ("depends_on", limits::PLAN_DEPENDENCIES, "dependencies (PLAN_DEPENDENCIES)");
    let draft = Draft {
        key: fields.text("key", problems),
        agent: fields.text("agent", problems),
        capabilities: fields.texts(tags.0, tags.1, tags.2, problems),
        input: None,
        depends_on: fields.texts(keys.0, keys.1, keys.2, problems),
        sla_seconds: fields.number("sla_seconds", 1..=limits::SLA_SECONDS.into(), " (SLA_SECONDS)", problems),
        max_attempts: fields.number("max_attempts", 1..=limits::ATTEMPTS.into(), " (ATTEMPTS)", problems),
        priority: fields.choice("priority", problems),
    };
    let input = fields.raw("input").and_then(|raw| json::document(&fields.at("input"), raw, problems));
    Entry { draft, input }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::problems::refused;

    fn raw(text: &str) -> Box<RawValue> {
        json::parse(text.as_bytes()).expect("the test's body is JSON").to_owned()
    }

    #[test]
    fn executions() {
        let read = execution(&raw(r#"{"execution_mode":"manual","checkpoints":["a","b"]}"#));
        assert_eq!(read, Ok(Execution { mode: Mode::Manual, checkpoints: vec!["a".into(), "b".into()] }));
        assert_eq!(execution(&raw("{}")), Ok(Execution::default()));
        refused(
            execution(&raw(r#"{"execution_mode":"fast","checkpoints":[1],"x":1}"#)),
            &[
                ("x", "unknown field; known are: execution_mode, checkpoints"),
                ("execution_mode", "must be `auto` or `manual`, got `fast`"),
                ("checkpoints[0]", "must be a string, got a number"),
            ],
            "execution",
        );
    }

    #[test]
    fn reasons_are_cut_and_nothing_is_nothing() {
        let long = serde_json::json!({"reason": "é".repeat(limits::MESSAGE_BYTES)}).to_string();
        let read = reason(&raw(&long)).expect("accepted");
        assert!(read.len() <= limits::MESSAGE_BYTES && read.ends_with('…'));
        refused(reason(&raw(r#"{"reason":"\u0000"}"#)), &[("reason", "must not hold \\u0000")], "reason");
        assert_eq!(nothing(&raw("{}")), Ok(()));
        refused(nothing(&raw(r#"{"a":1}"#)), &[("a", "unknown field; there are none here")], "nothing");
    }

    #[test]
    fn outputs() {
        let read = output(&raw(r#"{"output": {"a": [1, null]} }"#));
        assert_eq!(read.as_deref(), Ok(br#"{"a":[1,null]}"#.as_slice()));
        assert_eq!(output(&raw(r#"{"output":null}"#)).as_deref(), Ok(b"null".as_slice()));
        refused(output(&raw("{}")), &[("output", "is required; it may be null")], "output");
        refused(output(&raw("5")), &[("body", "must be an object, got a number")], "body");
        let large = serde_json::json!({"output": "x".repeat(limits::OUTPUT_BYTES - 1)}).to_string();
        let issue = "at most 1048576 bytes (OUTPUT_BYTES), got 1048577";
        refused(output(&raw(&large)), &[("output", issue)], "large output");
    }

    #[test]
    fn agents() {
        assert_eq!(agent(&raw(r#"{"agent":"code-review"}"#)), Ok("code-review".into()));
        refused(agent(&raw("{}")), &[("agent", "must not be empty")], "absent");
        refused(agent(&raw(r#"{"agent":5}"#)), &[("agent", "must be a string, got a number")], "number");
    }
}
