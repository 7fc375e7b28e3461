//! What people, and systems outside, say about a task that runs: decisions, signals, what is to run again. A face
//! fills a form as well as it can and notes what it could not read; here stands what else may be wrong with it.

use std::collections::BTreeMap;

use downbeat_core::{
    check::Violation,
    command::{Decision, Sent},
    limits,
};

use super::{
    check,
    json::{Document, bytes_of},
    problems::Problems,
};
use crate::{engine::RerunRequest, failure::Failure};

/// A digest in hexadecimal, or anything that is not much longer.
const DIGEST_BYTES: usize = 100;
/// The sender's own name for a signal.
const SIGNAL_ID_BYTES: usize = limits::TASK_ID_BYTES;

/// A signal as it was read.
#[derive(Debug, Default)]
pub(crate) struct SignalForm {
    pub(crate) name: String,
    pub(crate) payload: Option<Document>,
    pub(crate) by: String,
    pub(crate) id: String,
}

/// What is to run again, as it was read.
#[derive(Debug, Default)]
pub(crate) struct RerunForm {
    /// What the face calls the list of subtasks.
    pub(crate) field: &'static str,
    pub(crate) subtasks: Vec<String>,
    /// By subtask; `None`: null.
    pub(crate) inputs: BTreeMap<String, Option<Document>>,
    pub(crate) by: String,
    pub(crate) reason: String,
}

/// # Errors
/// `Invalid` with every problem.
pub(crate) fn decision(form: Decision, mut problems: Problems) -> Result<Decision, Failure> {
    let comment = check::message("comment", &form.comment, &mut problems);
    problems.check(|found| {
        check::name("option", &form.option, found);
        if form.digest.is_empty() {
            let issue = "must not be empty: it says what was looked at, and stands in the subtask's gate";
            found.push(Violation::new("digest", issue));
        }
        check::bytes("digest", &form.digest, DIGEST_BYTES, "DIGEST_BYTES", found);
        check::person("by", &form.by, found);
        if form.roles.len() > limits::APPROVERS {
            let (most, got) = (limits::APPROVERS, form.roles.len());
            found.push(Violation::new("roles", format!("at most {most} roles (APPROVERS), got {got}")));
        }
        for (i, role) in form.roles.iter().take(limits::APPROVERS).enumerate() {
            check::person(&format!("roles[{i}]"), role, found);
        }
    });
    problems.finish(Decision { comment, ..form })
}

/// # Errors
/// `Invalid` with every problem.
pub(crate) fn signal(form: SignalForm, mut problems: Problems) -> Result<Sent, Failure> {
    let payload = form.payload.map(|document| bytes_of(document.text)).unwrap_or_default();
    problems.check(|found| {
        check::name("name", &form.name, found);
        if payload.len() > limits::SIGNAL_BYTES {
            let (most, got) = (limits::SIGNAL_BYTES, payload.len());
            found.push(Violation::new("payload", format!("at most {most} bytes (SIGNAL_BYTES), got {got}")));
        }
        check::person_or_nobody("by", &form.by, found);
        check::bytes("signal_id", &form.id, SIGNAL_ID_BYTES, "SIGNAL_ID_BYTES", found);
        check::control("signal_id", &form.id, found);
    });
    problems.finish(Sent { name: form.name, payload, by: form.by, id: form.id })
}

/// # Errors
/// `Invalid` with every problem.
pub(crate) fn rerun(form: RerunForm, mut problems: Problems) -> Result<RerunRequest, Failure> {
    let RerunForm { field, subtasks, inputs, by, reason } = form;
    let reason = check::message("reason", &reason, &mut problems);
    problems.check(|found| {
        if subtasks.is_empty() && inputs.is_empty() {
            found.push(Violation::new(field, "must name at least one subtask"));
        }
        if subtasks.len() > limits::PLAN_SUBTASKS {
            let (most, got) = (limits::PLAN_SUBTASKS, subtasks.len());
            found.push(Violation::new(field, format!("at most {most} subtasks (PLAN_SUBTASKS), got {got}")));
        }
        if inputs.len() > limits::PLAN_SUBTASKS {
            let (most, got) = (limits::PLAN_SUBTASKS, inputs.len());
            found.push(Violation::new("inputs", format!("at most {most} inputs (PLAN_SUBTASKS), got {got}")));
        }
        let sizes =
            inputs.iter().map(|(name, input)| (name, input.as_ref().map_or(0, |d| d.text.get().len())));
        for (name, bytes) in sizes.filter(|(_, bytes)| *bytes > limits::INPUT_BYTES) {
            let issue = format!("at most {} bytes (INPUT_BYTES), got {bytes}", limits::INPUT_BYTES);
            found.push(Violation::new(format!("inputs.{}", name.escape_debug()), issue));
        }
        check::person_or_nobody("by", &by, found);
    });
    let text = |(name, input): (String, Option<Document>)| {
        let null = || serde_json::value::RawValue::NULL.to_owned();
        (name, input.map_or_else(null, |document| document.text))
    };
    let inputs = inputs.into_iter().map(text).collect();
    problems.finish(RerunRequest { subtasks, inputs, by, reason })
}
