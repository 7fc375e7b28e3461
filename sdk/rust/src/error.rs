//! Everything that can go wrong at this boundary, told so that the reader knows what to do next.
//!
//! gRPC statuses are turned into [`Error`] here and nowhere else.

use std::{error::Error as _, io, time::Duration};

use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt;

/// What a call, a watch or a worker can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The control plane answered, and said no.
    #[error("{}", rejection(.code, .reason, .message, .fields))]
    Rejected {
        /// The gRPC status code.
        code: Code,
        /// The stable `UPPER_SNAKE_CASE` reason (google.rpc.ErrorInfo), such as `TASK_CONFLICT`; empty when
        /// none was sent.
        reason: String,
        /// For people.
        message: String,
        /// What is wrong with which field of the request; empty when no field is to blame.
        fields: Vec<FieldViolation>,
        /// How long to wait before trying again (google.rpc.RetryInfo), when the server said so.
        retry_after: Option<Duration>,
    },
    /// Nobody answered: no connection could be made, or it broke.
    #[error("cannot reach control plane at {addr}: {problem}")]
    Unavailable {
        /// The address that was tried last.
        addr: String,
        /// What happened to the connection.
        problem: String,
    },
    /// The deadline of the call passed. What it asked for may have happened all the same; asking again is safe.
    #[error("control plane at {addr} gave no answer within {after:?}")]
    DeadlineExceeded {
        /// The address that was asked.
        addr: String,
        /// The deadline of the call.
        after: Duration,
    },
    /// A message is larger than what the control plane takes; it was not sent.
    #[error(
        "{what} has {size} bytes, and the limit is {limit}: pass large data by reference, as an artifact"
    )]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// The size in bytes.
        size: usize,
    },
    /// An address that cannot be used.
    #[error("invalid address {addr:?}: {problem}; expected something like \"http://127.0.0.1:9083\"")]
    InvalidAddress {
        /// The address as given.
        addr: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that cannot be written as JSON.
    #[error("cannot write {what} as JSON: {source}")]
    InvalidJson {
        /// Which value.
        what: String,
        /// What serde_json said.
        source: serde_json::Error,
    },
    /// A task, plan or subtask, written as a document, that does not have its shape.
    #[error("{} problem(s) with the document{}", .fields.len(), listed(.fields))]
    InvalidDocument {
        /// What does not fit; never empty.
        fields: Vec<FieldViolation>,
    },
    /// The attempt shall stop, or its lease is no longer its own: what it asked for counts for nothing.
    #[error("the lease of this attempt is lost, or it shall stop")]
    LeaseLost,
    /// The control plane does not add these children.
    #[error("the control plane refused the children: {message}")]
    SpawnRefused {
        /// What was expected and what came.
        message: String,
    },
    /// A key of the shared context has another version than expected: somebody else wrote it.
    #[error(
        "the key {key:?} of the shared context has version {version} (0: there is none), another one was expected"
    )]
    VersionConflict {
        /// The key.
        key: String,
        /// That it has.
        version: u64,
    },
    /// The control plane does not write this to the shared context.
    #[error("the control plane refused the write to the shared context: {message}")]
    ContextRefused {
        /// What was expected and what came.
        message: String,
    },
    /// A value of the shared context that has another shape.
    #[error("the value of {key:?} in the shared context does not fit: {source}")]
    InvalidValue {
        /// The key.
        key: String,
        /// What serde_json said.
        source: serde_json::Error,
    },
    /// A worker that cannot be built as declared.
    #[error("invalid worker: {problem}")]
    InvalidWorker {
        /// What was expected and what came.
        problem: String,
    },
    /// An answer without the part that the contract promises; most likely the versions do not fit together.
    #[error("{rpc} answered without {missing}: does the version of the control plane fit this SDK?")]
    Incomplete {
        /// The rpc that was called.
        rpc: &'static str,
        /// The missing field.
        missing: &'static str,
    },
    /// The thread of a worker's connection could not be started, or died.
    #[error("the worker's connection thread failed: {source}")]
    Thread {
        /// What the operating system or the thread said.
        source: io::Error,
    },
}

/// One field of a request that the control plane did not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, such as `plan.subtasks[2].depends_on`.
    pub field: String,
    /// What is wrong with it.
    pub issue: String,
}

impl Error {
    /// The gRPC code of a rejection; `None` when the control plane did not answer.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rejected { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The stable reason of a rejection, such as `TASK_NOT_FOUND`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Rejected { reason, .. } if !reason.is_empty() => Some(reason),
            _ => None,
        }
    }

    /// Whether the same call may succeed later: nobody answered, or the control plane was overloaded.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Rejected { code, .. } => matches!(code, Code::Unavailable | Code::ResourceExhausted),
            _ => false,
        }
    }

    /// How long the control plane asked to wait before the next try.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Reads a status that came from, or on the way to, `addr`; `deadline` is the one the call had.
    pub(crate) fn from_status(addr: &str, deadline: Duration, status: &Status) -> Self {
        let addr = addr.to_owned();
        // A status with a source was made on this side, by the transport; the server's own have none.
        if let Some(source) = status.source() {
            if in_chain::<TimeoutExpired>(source) {
                return Self::DeadlineExceeded { addr, after: deadline };
            }
            return Self::Unavailable { addr, problem: transport_problem(source) };
        }
        if status.code() == Code::DeadlineExceeded {
            return Self::DeadlineExceeded { addr, after: deadline };
        }
        let details = status.get_error_details();
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            let violations = bad.field_violations.iter();
            violations
                .map(|v| FieldViolation { field: v.field.clone(), issue: v.description.clone() })
                .collect()
        });
        Self::Rejected {
            code: status.code(),
            reason: details.error_info().map_or_else(String::new, |info| info.reason.clone()),
            message: status.message().to_owned(),
            fields,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }

    /// Reads a failure to connect to `addr`.
    pub(crate) fn from_transport(addr: &str, error: &tonic::transport::Error) -> Self {
        Self::Unavailable { addr: addr.to_owned(), problem: transport_problem(error) }
    }
}

/// The text of a rejection: what the server said, then every field it did not like.
fn rejection(code: &Code, reason: &str, message: &str, fields: &[FieldViolation]) -> String {
    let mut text = if message.is_empty() { code.description().to_lowercase() } else { message.to_owned() };
    text.push_str(&listed(fields));
    if !reason.is_empty() {
        text.push_str(&format!(" ({reason})"));
    }
    text
}

/// `; field: issue` for each.
fn listed(fields: &[FieldViolation]) -> String {
    fields.iter().map(|FieldViolation { field, issue }| format!("; {field}: {issue}")).collect()
}

/// The innermost cause says what happened ("connection refused"); what is around it only names layers.
fn transport_problem(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let problem = innermost.to_string().to_lowercase();
    if in_chain::<ConnectError>(error) { format!("{problem}: is `downbeat dev` running?") } else { problem }
}

fn in_chain<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}
