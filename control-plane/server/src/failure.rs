//! Why a request fails, whatever face it came through. Each face maps this once, in its `error.rs`.

use downbeat_core::{check::Violation, reject::Reject};
use downbeat_store::StoreError;
use thiserror::Error;

/// What a caller of [`Engine`](crate::engine::Engine) may get instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The request is malformed: every problem, each with its field.
    #[error("{} problem(s) with the request", .0.len())]
    Invalid(Vec<Violation>),
    #[error("no {what} `{name}`")]
    NotFound { what: &'static str, name: String },
    #[error(transparent)]
    Reject(#[from] Reject),
    /// Somebody else was there before: the stable reason, and how things stand.
    #[error("{message}")]
    Conflict { code: &'static str, message: String },
    /// Nothing capable answers right now; try again after so many milliseconds.
    #[error("{message}")]
    Unavailable { message: String, retry_after_ms: u64 },
    /// Ours to fix; the message says no more than the log.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Callers are asked to wait this long when the database is away.
pub const RETRY_AFTER_MS: u64 = 1_000;

impl Failure {
    /// The stable reason on every face.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Invalid(_) => "INVALID_REQUEST",
            Failure::NotFound { what: "task", .. } => "TASK_UNKNOWN",
            Failure::NotFound { what: "subtask", .. } => "SUBTASK_UNKNOWN",
            Failure::NotFound { what: "workflow", .. } => "WORKFLOW_UNKNOWN",
            Failure::NotFound { what: "schedule", .. } => "SCHEDULE_UNKNOWN",
            Failure::NotFound { .. } => "NOT_FOUND",
            Failure::Conflict { code, .. } => code,
            Failure::Reject(reject) => reject.code(),
            Failure::Unavailable { .. } => "UNAVAILABLE",
            Failure::Internal(_) => "INTERNAL",
        }
    }

    /// One violation.
    pub fn invalid(field: impl Into<String>, issue: impl Into<String>) -> Failure {
        Failure::Invalid(vec![Violation::new(field, issue)])
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        if error.is_transient() {
            Failure::Unavailable { message: error.to_string(), retry_after_ms: RETRY_AFTER_MS }
        } else {
            Failure::Internal(error.to_string())
        }
    }
}
