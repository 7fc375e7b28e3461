//! A submission, checked as a whole: the one validator of both faces.
//!
//! A face fills a [`Form`] as well as it can and notes what it could not read. [`check`] adds everything
//! else that is wrong, the plan's problems included, and either gives a [`Submission`] or all problems.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::{check::Violation, id::TenantNo, limits, task::Priority, time::Time};
use serde_json::value::RawValue;

use super::{
    check,
    json::{Document, bytes_of},
    plan::{self, Written, digest::Encoding},
    problems::Problems,
    times,
    words::Word,
};
use crate::{engine::Submission, failure::Failure};

/// Changes whenever the encoding below does: a digest is compared with stored ones.
const DIGEST_CONTEXT: &str = "downbeat 2026 submission 1";

/// What a client asks for, as far as it could be read.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) task_id: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) priority: Option<Priority>,
    pub(crate) metadata: Option<Document>,
    pub(crate) deadline: Option<Time>,
    /// `None`: the planner decomposes the request.
    pub(crate) plan: Option<Written>,
    pub(crate) execute: bool,
}

/// Checks a form. `problems` are those of reading it.
///
/// # Errors
/// `Invalid` with everything that is wrong, each with its field.
pub(crate) fn check(tenant: TenantNo, form: Form, mut problems: Problems) -> Result<Submission, Failure> {
    let digest = digest(&form);
    let mut found = Vec::new();
    check::task_id(&form.task_id, &mut found);
    check::text("title", &form.title, limits::TITLE_BYTES, "TITLE_BYTES", &mut found);
    let (description, limit) = (&form.description, "DESCRIPTION_BYTES");
    check::text("description", description, limits::DESCRIPTION_BYTES, limit, &mut found);
    if form.plan.is_none() && form.title.trim().is_empty() && form.description.trim().is_empty() {
        found
            .push(Violation::new("title", "give a title, a description or a plan: there is nothing to plan"));
    }
    let due_at = form.metadata.as_ref().and_then(|metadata| check_metadata(&metadata.text, &mut found));
    problems.merge(found);
    let plan = form.plan.map(|plan| plan::finish_plan(plan, &mut problems));
    let (goals, plan) = plan.map_or_else(Default::default, |(goals, drafts)| (goals, Some(drafts)));
    problems.finish(Submission {
        tenant,
        id: form.task_id,
        digest,
        title: form.title,
        description: form.description,
        priority: form.priority.unwrap_or_default(),
        metadata: form.metadata.map_or_else(empty_object, |metadata| bytes_of(metadata.text)),
        deadline: form.deadline,
        due_at,
        plan,
        workflow: None,
        inside: None,
        goals,
        execute: form.execute,
    })
}

fn empty_object() -> Bytes {
    Bytes::from_static(b"{}")
}

/// Gives the due date.
fn check_metadata(metadata: &RawValue, found: &mut Vec<Violation>) -> Option<Time> {
    let text = metadata.get();
    if text.len() > limits::METADATA_BYTES {
        let issue = format!("at most {} bytes (METADATA_BYTES), got {}", limits::METADATA_BYTES, text.len());
        found.push(Violation::new("metadata", issue));
    }
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        found.push(Violation::new("metadata", "must be an object"));
        return None;
    };
    if members.get("context").is_some_and(|context| !context.get().starts_with('{')) {
        found.push(Violation::new("metadata.context", "must be an object"));
    }
    let due = members.get("due_date").filter(|due| due.get() != "null")?;
    let due_at = serde_json::from_str::<String>(due.get()).ok().and_then(|due| times::parse_or_date(&due));
    if due_at.is_none() {
        let issue = "must be an RFC 3339 time or a date, as in `2025-11-22T18:00:00Z` or `2025-11-22`";
        found.push(Violation::new("metadata.due_date", issue));
    }
    due_at
}

/// The same for the same request, whatever face it came through and however its JSON was written.
fn digest(form: &Form) -> [u8; 32] {
    let mut encoding = Encoding::new(DIGEST_CONTEXT);
    encoding.text(&form.task_id);
    encoding.text(&form.title);
    encoding.text(&form.description);
    encoding.number(Some(form.priority.unwrap_or_default().proto().into()));
    // No metadata and an empty object are the same.
    let metadata = form.metadata.as_ref().filter(|metadata| metadata.text.get() != "{}");
    encoding.document(metadata);
    encoding.number(form.deadline.map(|deadline| deadline.0));
    match &form.plan {
        Some(plan) => encoding.plan(plan),
        None => encoding.number(None),
    }
    encoding.finish()
}
