//! What REST answers instead of what was asked for.

use downbeat_core::check::Violation;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Shown, TaskStatusWord};
use crate::view::Executed;

/// Every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error, example = json!({
    "error": {"code": "INVALID_REQUEST", "message": "task_id: must not be empty (and 1 more)"},
    "fields": [
        {"field": "task_id", "issue": "must not be empty", "code": "FIELD",
         "hint": "Write the field as `/openapi.json` and `/schemas/plan.json` describe it."},
        {"field": "plan.subtasks[2].depends_on[0]", "issue": "no subtask of this plan has the key `tset`",
         "code": "DEPENDENCY_UNKNOWN",
         "hint": "Name the key of a subtask beside it, or of one that the group around it depends on."},
    ],
}))]
pub(crate) struct ErrorBody<'a> {
    error: ErrorSummary<'a>,
    /// Every problem of a request, each with the field it is about; empty for other errors.
    fields: Vec<Problem>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorSummary<'a> {
    /// Stable, UPPER_SNAKE_CASE.
    code: &'a str,
    /// For people.
    message: &'a str,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FieldProblem)]
pub(crate) struct Problem {
    field: String,
    issue: String,
    /// The kind of problem: stable, UPPER_SNAKE_CASE.
    code: &'static str,
    /// What to do about it.
    hint: &'static str,
}

impl From<Violation> for Problem {
    fn from(Violation { code, field, issue }: Violation) -> Problem {
        Problem { field, issue, code: code.word(), hint: code.hint() }
    }
}

impl<'a> ErrorBody<'a> {
    /// `fields` as they are to be shown.
    pub(crate) fn new(code: &'a str, message: &'a str, fields: Vec<Violation>) -> ErrorBody<'a> {
        let fields = fields.into_iter().map(Problem::from).collect();
        ErrorBody { error: ErrorSummary { code, message }, fields }
    }
}

/// The task runs, and subtasks that are ready have nobody to do them. They go on by themselves as soon as a
/// capable worker registers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NoCapableAgent)]
pub(crate) struct Blocked<'a> {
    #[serde(flatten)]
    error: ErrorBody<'a>,
    task_id: &'a str,
    status: TaskStatusWord,
    blocked: Vec<BlockedSubtask<'a>>,
}

/// A subtask that no live worker can do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockedSubtask<'a> {
    subtask_id: &'a str,
    key: &'a str,
    agent: &'a str,
    capabilities: &'a [String],
}

impl<'a> Blocked<'a> {
    pub(crate) fn new(executed: &'a Executed, code: &'a str, message: &'a str) -> Blocked<'a> {
        let nodes = executed.blocked.iter().filter_map(|index| executed.record.plan.node(*index));
        let blocked = nodes.map(|node| BlockedSubtask {
            subtask_id: &node.id,
            key: &node.key,
            agent: &node.agent,
            capabilities: &node.capabilities,
        });
        Blocked {
            error: ErrorBody::new(code, message, Vec::new()),
            task_id: &executed.id,
            status: Shown(executed.status),
            blocked: blocked.collect(),
        }
    }
}
