//! Request bodies of REST, read into what the engine takes.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::{
    check::Violation,
    command::{Decision, Sent},
    draft::{Draft, Goal},
    id::TenantNo,
    limits,
    task::Mode,
    time::Time,
};
use serde_json::value::RawValue;

use super::{
    check,
    fields::{self, Fields},
    forms::{self, RerunForm, SignalForm},
    json,
    plan::{self, Reader},
    problems::Problems,
    submission::{self, Form},
    times,
};
use crate::{
    engine::{RerunRequest, Submission},
    failure::Failure,
};

/// The fields of each body; whatever else comes is refused.
pub(crate) const SUBMISSION: &[&str] =
    &["task_id", "title", "description", "priority", "metadata", "plan", "deadline"];
pub(crate) const EXECUTION: &[&str] = &["execution_mode", "checkpoints"];
pub(crate) const CANCEL: &[&str] = &["reason", "compensate"];
pub(crate) const COMPLETION: &[&str] = &["output", "by"];
pub(crate) const BY: &[&str] = &["by"];
pub(crate) const DECIDED: &[&str] = &["reason", "by"];
pub(crate) const DECISION: &[&str] = &["option", "digest", "by", "roles", "comment"];
pub(crate) const SIGNAL: &[&str] = &["payload", "by", "signal_id"];
pub(crate) const RERUN: &[&str] = &["subtasks", "inputs", "by", "reason"];
pub(crate) const LINT: &[&str] = &["plan"];
pub(crate) const ROUTE: &[&str] = &["agent"];

/// Why something is decided, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub reason: String,
    pub by: String,
}

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
        plan: fields
            .raw("plan")
            .map(|raw| plan::json::read(raw, &mut Reader::new(plan::PLAN, &mut problems))),
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

/// Why a task is cancelled, and whether what was done is undone before.
///
/// # Errors
/// `Invalid` with every problem.
pub fn cancel(body: &RawValue) -> Result<(String, bool), Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, CANCEL, &mut problems);
    let given = fields.text("reason", &mut problems);
    let reason = check::reason(&given, &mut problems);
    let compensate = fields.flag("compensate", &mut problems).unwrap_or(false);
    problems.finish((reason, compensate))
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

/// A body that may say who does something.
///
/// # Errors
/// `Invalid` with every problem.
pub fn by(body: &RawValue) -> Result<String, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, BY, &mut problems);
    let by = check::by(fields.text("by", &mut problems), &mut problems);
    problems.finish(by)
}

/// A body that may say why and who.
///
/// # Errors
/// `Invalid` with every problem.
pub fn decided(body: &RawValue) -> Result<Decided, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, DECIDED, &mut problems);
    let given = fields.text("reason", &mut problems);
    let reason = check::reason(&given, &mut problems);
    let by = check::by(fields.text("by", &mut problems), &mut problems);
    problems.finish(Decided { reason, by })
}

/// An output supplied by hand, and by whom. `null` is one.
///
/// # Errors
/// `Invalid` with every problem.
pub fn completion(body: &RawValue) -> Result<(Bytes, String), Failure> {
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
    let by = check::by(fields.text("by", &mut problems), &mut problems);
    problems.finish((output, by))
}

/// What somebody chooses at an approval.
///
/// # Errors
/// `Invalid` with every problem.
pub fn decision(body: &RawValue) -> Result<Decision, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, DECISION, &mut problems);
    let decision = Decision {
        by: fields.text("by", &mut problems),
        roles: fields.texts("roles", limits::APPROVERS, "roles (APPROVERS)", &mut problems),
        option: fields.text("option", &mut problems),
        digest: fields.text("digest", &mut problems),
        comment: fields.text("comment", &mut problems),
    };
    forms::decision(decision, problems)
}

/// What a signal of that name carries.
///
/// # Errors
/// `Invalid` with every problem.
pub fn signal(name: &str, body: &RawValue) -> Result<Sent, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, SIGNAL, &mut problems);
    let payload = fields.raw("payload").and_then(|raw| json::document("payload", raw, &mut problems));
    let form = SignalForm {
        name: name.to_owned(),
        payload,
        by: fields.text("by", &mut problems),
        id: fields.text("signal_id", &mut problems),
    };
    forms::signal(form, problems)
}

/// What is to run again.
///
/// # Errors
/// `Invalid` with every problem.
pub fn rerun(body: &RawValue) -> Result<RerunRequest, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, RERUN, &mut problems);
    let mut inputs = BTreeMap::new();
    if let Some(raw) = fields.raw("inputs") {
        match serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) {
            Ok(members) => {
                for (name, raw) in members {
                    let field = format!("inputs.{}", name.escape_debug());
                    let input = json::document(&field, raw, &mut problems);
                    inputs.insert(name, input);
                }
            }
            Err(_) => problems.add("inputs", "must be an object of inputs by key or id"),
        }
    }
    let form = RerunForm {
        field: "subtasks",
        subtasks: fields.texts("subtasks", limits::PLAN_SUBTASKS, "subtasks (PLAN_SUBTASKS)", &mut problems),
        inputs,
        by: fields.text("by", &mut problems),
        reason: fields.text("reason", &mut problems),
    };
    forms::rerun(form, problems)
}

/// A plan that is only looked at.
///
/// # Errors
/// `Invalid` with every problem.
pub fn lint(body: &RawValue) -> Result<(Vec<Goal>, Vec<Draft>), Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, LINT, &mut problems);
    let plan =
        fields.raw("plan").map(|raw| plan::json::read(raw, &mut Reader::new(plan::PLAN, &mut problems)));
    let plan = plan::finish_plan(plan.unwrap_or_default(), &mut problems);
    problems.finish(plan)
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

pub(super) fn deadline(raw: &RawValue, problems: &mut Problems) -> Option<Time> {
    let text = fields::text("deadline", raw, problems)?;
    let deadline = times::parse(&text);
    if deadline.is_none() {
        problems.add("deadline", times::EXPECTED);
    }
    deadline
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
        let (read, compensate) = cancel(&raw(&long)).expect("accepted");
        assert!(read.len() <= limits::MESSAGE_BYTES && read.ends_with('…') && !compensate);
        refused(cancel(&raw(r#"{"reason":"\u0000"}"#)), &[("reason", "must not hold \\u0000")], "cancel");
        assert_eq!(nothing(&raw("{}")), Ok(()));
        refused(nothing(&raw(r#"{"a":1}"#)), &[("a", "unknown field; there are none here")], "nothing");
    }

    #[test]
    fn outputs() {
        let output = |body: &RawValue| completion(body).map(|(output, _)| output);
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
