//! Everything that is not a success, as `{"error":{"code","message"},"fields":[...]}`.

use std::any::Any;

use axum::{
    http::{HeaderName, Method, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use downbeat_core::{limits, reject::Reject};

use super::json;
use crate::{
    failure::{Failure, RETRY_AFTER_MS},
    view::Executed,
    wire::{
        answer::{Blocked, ErrorBody},
        problems::{LISTED_MAX, listed, shown, summary},
    },
};

/// When to look again after workers that nobody may have started yet.
const BLOCKED_RETRY_MS: u64 = 5_000;

/// Why a request fails on this face.
#[derive(Debug)]
pub(super) enum Error {
    Failure(Failure),
    /// Not JSON, with line and column.
    InvalidJson(String),
    /// Not JSON, and not said to be.
    NotJson {
        content_type: String,
        issue: String,
    },
    BodyTooLarge,
    /// The client stopped sending.
    BodyUnread(String),
    UnknownRoute {
        method: Method,
        path: String,
    },
    MethodNotAllowed {
        method: Method,
        path: String,
    },
    TimedOut,
    /// The task runs, but what is ready has nobody to do it.
    NoCapableAgent(Box<Executed>),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Failure(failure)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let message = self.message();
        if let Error::NoCapableAgent(executed) = &self {
            let body = Blocked::new(executed, self.code(), &message);
            return later(json(self.status(), &body), BLOCKED_RETRY_MS);
        }
        let fields = match &self {
            Error::Failure(Failure::Invalid(violations)) => listed(violations, LISTED_MAX),
            _ => Vec::new(),
        };
        let response = json(self.status(), &ErrorBody::new(self.code(), &message, fields));
        match self {
            Error::Failure(Failure::Unavailable { retry_after_ms, .. }) => later(response, retry_after_ms),
            Error::Failure(Failure::Reject(Reject::BatchFull)) | Error::TimedOut => {
                later(response, RETRY_AFTER_MS)
            }
            _ => response,
        }
    }
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Error::Failure(failure) => status(failure),
            Error::InvalidJson(_) | Error::BodyUnread(_) => StatusCode::BAD_REQUEST,
            Error::NotJson { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            Error::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Error::TimedOut | Error::NoCapableAgent(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Error::Failure(failure) => failure.code(),
            Error::InvalidJson(_) => "INVALID_JSON",
            Error::BodyUnread(_) => "INCOMPLETE_BODY",
            Error::NotJson { .. } => "UNSUPPORTED_MEDIA_TYPE",
            Error::BodyTooLarge => "REQUEST_TOO_LARGE",
            Error::UnknownRoute { .. } => "ROUTE_UNKNOWN",
            Error::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Error::TimedOut => "TIMED_OUT",
            Error::NoCapableAgent(_) => "NO_CAPABLE_AGENT",
        }
    }

    fn message(&self) -> String {
        match self {
            Error::Failure(Failure::Internal(cause)) => {
                tracing::error!(cause, "a REST request failed");
                "internal error; the control plane's log has the cause".into()
            }
            Error::Failure(Failure::Invalid(violations)) => summary(violations),
            Error::Failure(failure) => shown(&failure.to_string()),
            Error::InvalidJson(issue) => format!("the body is not JSON: {issue}"),
            Error::BodyUnread(issue) => shown(issue),
            Error::NotJson { content_type, issue } => {
                let given = shown(content_type);
                format!(
                    "send JSON, as `application/json`; the body comes as `{given}` and is not JSON: {issue}"
                )
            }
            Error::BodyTooLarge => {
                format!("a body has at most {} bytes (REQUEST_BYTES)", limits::REQUEST_BYTES)
            }
            Error::UnknownRoute { method, path } => {
                format!("there is no `{method} {}`; see /openapi.json", shown(path))
            }
            Error::MethodNotAllowed { method, path } => {
                format!("`{}` does not take {method}; see /openapi.json", shown(path))
            }
            Error::TimedOut => "no answer in time; the request may still take effect".into(),
            Error::NoCapableAgent(executed) => {
                let count = executed.blocked.len();
                format!(
                    "no live worker can do {count} subtask(s) that are ready; they go on by themselves as soon \
                     as a capable one registers"
                )
            }
        }
    }
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Invalid(_) => StatusCode::BAD_REQUEST,
        Failure::NotFound { .. } => StatusCode::NOT_FOUND,
        Failure::Reject(reject) => match reject {
            Reject::TaskUnknown | Reject::SubtaskUnknown | Reject::SessionUnknown => StatusCode::NOT_FOUND,
            Reject::NotAnApprover(_) => StatusCode::FORBIDDEN,
            Reject::OptionUnknown { .. } | Reject::InputUnused(_) => StatusCode::BAD_REQUEST,
            Reject::TaskConflict(_)
            | Reject::DigestMismatch { .. }
            | Reject::VersionConflict { .. }
            | Reject::ContextFull(_)
            | Reject::ChildConflict(_)
            | Reject::SnapshotTaken(_)
            | Reject::TooManySignals(_)
            | Reject::TooManySnapshots(_)
            | Reject::SignalTooCostly
            | Reject::ApprovalRequired(_)
            | Reject::TooManySubtasks(_)
            | Reject::TooDeep { .. }
            | Reject::SessionTaken { .. }
            | Reject::TaskFinished(_)
            | Reject::NotAwaited
            | Reject::TaskNotStarted(_)
            | Reject::SubtaskState { .. } => StatusCode::CONFLICT,
            Reject::BatchFull => StatusCode::SERVICE_UNAVAILABLE,
        },
        Failure::Conflict { .. } => StatusCode::CONFLICT,
        Failure::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Asks the client to come back in so many milliseconds, in whole seconds.
fn later(response: Response, ms: u64) -> Response {
    let after: (HeaderName, String) = (RETRY_AFTER, ms.div_ceil(1_000).to_string());
    ([after], response).into_response()
}

/// For every path that is not there.
pub(super) async fn unknown_route(method: Method, uri: Uri) -> Error {
    Error::UnknownRoute { method, path: uri.path().to_owned() }
}

/// For every path that is there, and another method.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Error {
    Error::MethodNotAllowed { method, path: uri.path().to_owned() }
}

/// A handler that panicked fails its own request and nothing else.
pub(super) fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    Error::Failure(Failure::Internal("panic".into())).into_response()
}

/// An answer that cannot be printed; an error's own text always can.
pub(super) fn unprintable(error: &serde_json::Error) -> Response {
    tracing::error!(%error, "a REST answer cannot be printed");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use downbeat_core::{
        check::{Code, Violation},
        subtask::SubtaskState,
        task::TaskStatus,
    };
    use serde_json::{Value, json};

    use super::*;

    async fn told(error: Error) -> (u16, Option<String>, Value) {
        let response = error.into_response();
        let status = response.status().as_u16();
        let retry = response.headers().get(RETRY_AFTER).map(|v| v.to_str().expect("digits").to_owned());
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, retry, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn every_error_has_its_status_and_code() {
        let state = Reject::SubtaskState { action: "retry", state: SubtaskState::Running, hint: "wait" };
        let unavailable = Failure::Unavailable { message: "away".into(), retry_after_ms: 1_500 };
        let (method, path) = (Method::GET, "/x".to_owned());
        let rows: Vec<(Error, u16, &str, Option<&str>)> = vec![
            (Failure::invalid("title", "bad").into(), 400, "INVALID_REQUEST", None),
            (Failure::NotFound { what: "task", name: "t".into() }.into(), 404, "TASK_UNKNOWN", None),
            (Failure::Reject(Reject::TaskConflict("t".into())).into(), 409, "TASK_CONFLICT", None),
            (Failure::Conflict { code: "X", message: "w".into() }.into(), 409, "X", None),
            (Failure::Reject(Reject::TaskUnknown).into(), 404, "TASK_UNKNOWN", None),
            (Failure::Reject(Reject::TaskFinished(TaskStatus::Failed)).into(), 409, "TASK_FINISHED", None),
            (
                Failure::Reject(Reject::TaskNotStarted(TaskStatus::Planned)).into(),
                409,
                "TASK_NOT_STARTED",
                None,
            ),
            (Failure::Reject(Reject::NotAwaited).into(), 409, "NOT_AWAITED", None),
            (Failure::Reject(Reject::SubtaskUnknown).into(), 404, "SUBTASK_UNKNOWN", None),
            (Failure::Reject(state).into(), 409, "SUBTASK_STATE", None),
            (
                Failure::Reject(Reject::DigestMismatch { digest: "a".into(), got: "b".into() }).into(),
                409,
                "DIGEST_MISMATCH",
                None,
            ),
            (Failure::Reject(Reject::NotAnApprover("ann".into())).into(), 403, "NOT_AN_APPROVER", None),
            (
                Failure::Reject(Reject::OptionUnknown { got: "a".into(), known: "b".into() }).into(),
                400,
                "OPTION_UNKNOWN",
                None,
            ),
            (Failure::Reject(Reject::TooManySignals(100)).into(), 409, "TOO_MANY_SIGNALS", None),
            (Failure::Reject(Reject::SignalTooCostly).into(), 409, "SIGNAL_TOO_COSTLY", None),
            (Failure::Reject(Reject::InputUnused("a".into())).into(), 400, "INPUT_UNUSED", None),
            (Failure::Reject(Reject::ApprovalRequired("a".into())).into(), 409, "APPROVAL_REQUIRED", None),
            (Failure::Reject(Reject::SnapshotTaken("s".into())).into(), 409, "SNAPSHOT_TAKEN", None),
            (Failure::Reject(Reject::TooManySnapshots(100)).into(), 409, "TOO_MANY_SNAPSHOTS", None),
            (Failure::Reject(Reject::TooManySubtasks("many".into())).into(), 409, "TOO_MANY_SUBTASKS", None),
            (
                Failure::Reject(Reject::VersionConflict { key: "k".into(), version: 2, expected: 1 }).into(),
                409,
                "VERSION_CONFLICT",
                None,
            ),
            (Failure::Reject(Reject::ContextFull("full".into())).into(), 409, "CONTEXT_FULL", None),
            (Failure::Reject(Reject::TooDeep { got: 9 }).into(), 409, "TOO_DEEP", None),
            (Failure::Reject(Reject::ChildConflict("k".into())).into(), 409, "CHILD_CONFLICT", None),
            (Failure::Reject(Reject::SessionUnknown).into(), 404, "SESSION_UNKNOWN", None),
            (
                Failure::Reject(Reject::SessionTaken { connection: 3, got: 2 }).into(),
                409,
                "SESSION_TAKEN",
                None,
            ),
            (Failure::Reject(Reject::BatchFull).into(), 503, "BATCH_FULL", Some("1")),
            (unavailable.into(), 503, "UNAVAILABLE", Some("2")),
            (Failure::Internal("secret".into()).into(), 500, "INTERNAL", None),
            (Error::InvalidJson("bad".into()), 400, "INVALID_JSON", None),
            (Error::BodyUnread("gone".into()), 400, "INCOMPLETE_BODY", None),
            (Error::BodyTooLarge, 413, "REQUEST_TOO_LARGE", None),
            (
                Error::NotJson { content_type: "text/csv".into(), issue: "bad".into() },
                415,
                "UNSUPPORTED_MEDIA_TYPE",
                None,
            ),
            (Error::UnknownRoute { method: method.clone(), path: path.clone() }, 404, "ROUTE_UNKNOWN", None),
            (Error::MethodNotAllowed { method, path }, 405, "METHOD_NOT_ALLOWED", None),
            (Error::TimedOut, 503, "TIMED_OUT", Some("1")),
        ];
        for (error, status, code, retry) in rows {
            let name = format!("{error:?}");
            let (got, after, body) = told(error).await;
            assert_eq!((got, after.as_deref()), (status, retry), "{name}");
            assert_eq!(body["error"]["code"], code, "{name}");
            assert!(body["fields"].is_array(), "{name}");
            assert!(!body.to_string().contains("secret"), "{name}");
        }
    }

    #[tokio::test]
    async fn fields_are_listed() {
        let cycle = Violation::coded(Code::Cycle, "b[0]", "worse");
        let failure = Failure::Invalid(vec![Violation::new("a", "bad"), cycle]);
        let (_, _, body) = told(failure.into()).await;
        let expected = json!({
            "error": {"code": "INVALID_REQUEST", "message": "a: bad (and 1 more)"},
            "fields": [
                {"field": "a", "issue": "bad", "code": "FIELD", "hint": Code::Field.hint()},
                {"field": "b[0]", "issue": "worse", "code": "CYCLE", "hint": Code::Cycle.hint()},
            ],
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn a_long_list_is_cut() {
        let many = (0..5_000).map(|i| Violation::new(format!("f{i}"), "x".repeat(10_000))).collect();
        let (_, _, body) = told(Failure::Invalid(many).into()).await;
        assert_eq!(body["fields"].as_array().map(Vec::len), Some(LISTED_MAX + 1));
        assert_eq!(body["fields"][LISTED_MAX]["issue"], "many more not listed");
    }
}
