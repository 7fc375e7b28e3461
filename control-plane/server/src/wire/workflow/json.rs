//! The JSON bodies of `/v1/workflows`.

use downbeat_core::{id::TenantNo, limits};
use serde_json::value::RawValue;

use super::{Form, NewVersion, Rollback, check};
use crate::{
    engine::Start,
    failure::Failure,
    wire::{
        body,
        check::by,
        fields::Fields,
        json::{self, Document},
        problems::Problems,
    },
};

/// The fields of each body; whatever else comes is refused.
pub(crate) const CREATION: &[&str] = &["name", "description", "parameters", "secrets", "plan", "by"];
pub(crate) const UPDATE: &[&str] =
    &["description", "parameters", "secrets", "plan", "expected_version", "by"];
pub(crate) const ROLLBACK: &[&str] = &["version", "expected_version", "by"];
pub(crate) const RUN: &[&str] =
    &["task_id", "version", "title", "parameters", "metadata", "priority", "deadline", "execute"];

/// `POST /v1/workflows`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn creation(body: &RawValue) -> Result<NewVersion, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, CREATION, &mut problems);
    let name = fields.text("name", &mut problems);
    let form = form(name, &fields, &mut problems);
    check(form, problems)
}

/// `POST /v1/workflows/{name}/versions`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn update(name: String, body: &RawValue) -> Result<NewVersion, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, UPDATE, &mut problems);
    let form = form(name, &fields, &mut problems);
    check(form, problems)
}

/// `POST /v1/workflows/{name}/rollback`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn rollback(body: &RawValue) -> Result<Rollback, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, ROLLBACK, &mut problems);
    let to = version(&fields, "version", &mut problems);
    if to.is_none() {
        problems.check(|found| found.push(downbeat_core::check::Violation::new("version", "is required")));
    }
    let expected = version(&fields, "expected_version", &mut problems);
    let by = by(fields.text("by", &mut problems), &mut problems);
    problems.finish(Rollback { version: to.unwrap_or_default(), expected, by })
}

/// `POST /v1/workflows/{name}/run`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn run(tenant: TenantNo, workflow: String, body: &RawValue) -> Result<Start, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, RUN, &mut problems);
    let start = Start {
        tenant,
        workflow,
        version: version(&fields, "version", &mut problems),
        task_id: fields.text("task_id", &mut problems),
        title: fields.text("title", &mut problems),
        parameters: fields.raw("parameters").map(RawValue::to_owned),
        metadata: fields.raw("metadata").map(RawValue::to_owned),
        priority: fields.choice("priority", &mut problems).unwrap_or_default(),
        deadline: fields.raw("deadline").and_then(|raw| body::deadline(raw, &mut problems)),
        execute: fields.flag("execute", &mut problems).unwrap_or_default(),
    };
    problems.finish(start)
}

fn form(name: String, fields: &Fields<'_>, problems: &mut Problems) -> Form {
    let document = |name: &str, problems: &mut Problems| -> Option<Document> {
        fields.raw(name).and_then(|raw| json::document(name, raw, problems))
    };
    Form {
        name,
        description: fields.text("description", problems),
        parameters: document("parameters", problems),
        secrets: fields.texts("secrets", limits::SECRETS, "secrets (SECRETS)", problems),
        plan: document("plan", problems),
        expected: version(fields, "expected_version", problems),
        by: fields.text("by", problems),
    }
}

fn version(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<u32> {
    fields.number(name, 1..=i32::MAX.unsigned_abs().into(), "", problems)
}
