//! Failures as gRPC statuses with `google.rpc` details: `ErrorInfo` with a stable reason on every one,
//! `BadRequest` with the fields, `RetryInfo` where trying again helps.

use std::{any::Any, collections::HashMap, time::Duration};

use axum::response::Response;
use downbeat_core::{check::Violation, limits, reject::Reject};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{
    failure::Failure,
    wire::problems::{listed, shown, summary},
};

/// `ErrorInfo.domain`.
const DOMAIN: &str = "downbeat";
/// Details travel as a header, which many clients take only up to 8 KiB with all others.
const VIOLATION_BYTES_MAX: usize = 3_000;
const VIOLATIONS_MAX: usize = 50;

/// A failure, as its caller sees it.
pub(super) fn status(failure: Failure) -> Status {
    let code = code(&failure);
    let mut details = ErrorDetails::new();
    details.set_error_info(failure.code(), DOMAIN, HashMap::new());
    match &failure {
        Failure::Invalid(violations) => {
            details.set_bad_request(fields(violations));
        }
        Failure::Unavailable { retry_after_ms, .. } => {
            details.set_retry_info(Some(Duration::from_millis(*retry_after_ms)));
        }
        Failure::Reject(Reject::BatchFull) => {
            details.set_retry_info(Some(Duration::from_millis(crate::failure::RETRY_AFTER_MS)));
        }
        Failure::NotFound { .. } | Failure::Conflict { .. } | Failure::Reject(_) | Failure::Internal(_) => {}
    }
    Status::with_error_details(code, message(&failure), details)
}

fn code(failure: &Failure) -> Code {
    match failure {
        Failure::Invalid(_) => Code::InvalidArgument,
        Failure::NotFound { .. } => Code::NotFound,
        Failure::Reject(reject) => match reject {
            Reject::TaskConflict(_) | Reject::ChildConflict(_) | Reject::SnapshotTaken(_) => {
                Code::AlreadyExists
            }
            Reject::DigestMismatch { .. } | Reject::VersionConflict { .. } => Code::Aborted,
            Reject::NotAnApprover(_) => Code::PermissionDenied,
            Reject::OptionUnknown { .. } | Reject::InputUnused(_) => Code::InvalidArgument,
            Reject::TooManySignals(_)
            | Reject::TooManySnapshots(_)
            | Reject::SignalTooCostly
            | Reject::TooManySubtasks(_)
            | Reject::ContextFull(_)
            | Reject::TooDeep { .. } => Code::ResourceExhausted,
            Reject::TaskUnknown | Reject::SubtaskUnknown | Reject::SessionUnknown => Code::NotFound,
            Reject::SessionTaken { .. } => Code::Aborted,
            Reject::TaskFinished(_)
            | Reject::TaskNotStarted(_)
            | Reject::NotAwaited
            | Reject::SubtaskState { .. }
            | Reject::ApprovalRequired(_) => Code::FailedPrecondition,
            Reject::BatchFull => Code::Unavailable,
        },
        Failure::Conflict { .. } => Code::Aborted,
        Failure::Unavailable { .. } => Code::Unavailable,
        Failure::Internal(_) => Code::Internal,
    }
}

/// For people.
fn message(failure: &Failure) -> String {
    match failure {
        Failure::Invalid(violations) => summary(violations),
        Failure::Internal(cause) => {
            tracing::error!(cause, "a gRPC request failed");
            "internal error; the control plane's log has the cause".into()
        }
        Failure::NotFound { .. }
        | Failure::Conflict { .. }
        | Failure::Reject(_)
        | Failure::Unavailable { .. } => shown(&failure.to_string()),
    }
}

/// As many as fit into a header, and a count of the others.
fn fields(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut room = VIOLATION_BYTES_MAX;
    let fits = |violation: &&Violation| {
        let bytes = shown(&violation.field).len() + shown(&violation.issue).len();
        room = room.saturating_sub(bytes);
        room > 0
    };
    let count = violations.iter().take(VIOLATIONS_MAX).take_while(fits).count();
    let field = |violation: Violation| FieldViolation::new(violation.field, violation.issue);
    listed(violations, count).into_iter().map(field).collect()
}

/// An answer that no message can hold.
pub(super) fn too_large(bytes: usize) -> Status {
    let max = super::ENCODE_BYTES_MAX;
    let message = format!(
        "the answer has {bytes} bytes, a message at most {max}: ask again with omit_outputs, and for single \
         outputs with GetOutput"
    );
    reasoned(Code::ResourceExhausted, "ANSWER_TOO_LARGE", message)
}

/// Gives the failures that happen before a request reaches its service a type as well.
pub(super) async fn typed(response: Response) -> Response {
    match Status::from_header_map(response.headers()).as_ref().and_then(retyped) {
        Some(status) => status.into_http(),
        None => response,
    }
}

/// What the transport says of a message that is too large, or is none.
fn retyped(status: &Status) -> Option<Status> {
    match status.code() {
        Code::OutOfRange if status.message().contains("message length too large") => {
            let message = format!("a request has at most {} bytes (REQUEST_BYTES)", limits::REQUEST_BYTES);
            Some(reasoned(Code::ResourceExhausted, "REQUEST_TOO_LARGE", message))
        }
        Code::Internal if status.message().starts_with("failed to decode Protobuf message") => {
            Some(reasoned(Code::InvalidArgument, "INVALID_MESSAGE", shown(status.message())))
        }
        _ => None,
    }
}

/// A handler that panicked fails its own request and nothing else.
pub(super) fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a gRPC request panicked");
    status(Failure::Internal("panic".into())).into_http()
}

fn reasoned(code: Code, reason: &str, message: String) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use downbeat_core::{subtask::SubtaskState, task::TaskStatus};

    use super::*;

    fn state() -> Reject {
        Reject::SubtaskState { action: "retry", state: SubtaskState::Running, hint: "wait" }
    }

    #[test]
    fn every_failure_has_its_code_and_reason() {
        let unavailable = Failure::Unavailable { message: "away".into(), retry_after_ms: 1_500 };
        let rows: Vec<(Failure, Code, &str, Option<u64>)> = vec![
            (Failure::invalid("title", "bad"), Code::InvalidArgument, "INVALID_REQUEST", None),
            (Failure::NotFound { what: "task", name: "t".into() }, Code::NotFound, "TASK_UNKNOWN", None),
            (Failure::NotFound { what: "agent", name: "a".into() }, Code::NotFound, "NOT_FOUND", None),
            (Reject::TaskConflict("t".into()).into(), Code::AlreadyExists, "TASK_CONFLICT", None),
            (Reject::TaskUnknown.into(), Code::NotFound, "TASK_UNKNOWN", None),
            (
                Reject::TaskFinished(TaskStatus::Failed).into(),
                Code::FailedPrecondition,
                "TASK_FINISHED",
                None,
            ),
            (
                Reject::TaskNotStarted(TaskStatus::Planned).into(),
                Code::FailedPrecondition,
                "TASK_NOT_STARTED",
                None,
            ),
            (Reject::SubtaskUnknown.into(), Code::NotFound, "SUBTASK_UNKNOWN", None),
            (state().into(), Code::FailedPrecondition, "SUBTASK_STATE", None),
            (
                Reject::DigestMismatch { digest: "a".into(), got: "b".into() }.into(),
                Code::Aborted,
                "DIGEST_MISMATCH",
                None,
            ),
            (Reject::NotAnApprover("ann".into()).into(), Code::PermissionDenied, "NOT_AN_APPROVER", None),
            (
                Reject::OptionUnknown { got: "a".into(), known: "b".into() }.into(),
                Code::InvalidArgument,
                "OPTION_UNKNOWN",
                None,
            ),
            (Reject::TooManySignals(100).into(), Code::ResourceExhausted, "TOO_MANY_SIGNALS", None),
            (Reject::SignalTooCostly.into(), Code::ResourceExhausted, "SIGNAL_TOO_COSTLY", None),
            (Reject::InputUnused("a".into()).into(), Code::InvalidArgument, "INPUT_UNUSED", None),
            (
                Reject::ApprovalRequired("a".into()).into(),
                Code::FailedPrecondition,
                "APPROVAL_REQUIRED",
                None,
            ),
            (Reject::SnapshotTaken("s".into()).into(), Code::AlreadyExists, "SNAPSHOT_TAKEN", None),
            (Reject::TooManySnapshots(100).into(), Code::ResourceExhausted, "TOO_MANY_SNAPSHOTS", None),
            (
                Reject::TooManySubtasks("many".into()).into(),
                Code::ResourceExhausted,
                "TOO_MANY_SUBTASKS",
                None,
            ),
            (
                Reject::VersionConflict { key: "k".into(), version: 2, expected: 1 }.into(),
                Code::Aborted,
                "VERSION_CONFLICT",
                None,
            ),
            (Reject::ContextFull("full".into()).into(), Code::ResourceExhausted, "CONTEXT_FULL", None),
            (Reject::TooDeep { got: 9 }.into(), Code::ResourceExhausted, "TOO_DEEP", None),
            (Reject::ChildConflict("k".into()).into(), Code::AlreadyExists, "CHILD_CONFLICT", None),
            (Reject::NotAwaited.into(), Code::FailedPrecondition, "NOT_AWAITED", None),
            (Reject::SessionUnknown.into(), Code::NotFound, "SESSION_UNKNOWN", None),
            (Reject::SessionTaken { connection: 3, got: 2 }.into(), Code::Aborted, "SESSION_TAKEN", None),
            (Reject::BatchFull.into(), Code::Unavailable, "BATCH_FULL", Some(1_000)),
            (unavailable, Code::Unavailable, "UNAVAILABLE", Some(1_500)),
            (Failure::Internal("secret".into()), Code::Internal, "INTERNAL", None),
        ];
        for (failure, code, reason, retry_ms) in rows {
            let status = status(failure.clone());
            let details = status.get_error_details();
            assert_eq!(status.code(), code, "{failure:?}");
            let info = details.error_info().expect("every status has its reason");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, DOMAIN));
            let retry = details.retry_info().and_then(|info| info.retry_delay);
            assert_eq!(retry, retry_ms.map(Duration::from_millis), "{failure:?}");
            assert!(!status.message().contains("secret"));
        }
    }

    #[test]
    fn fields_are_listed_and_the_first_one_told() {
        let failure = Failure::Invalid(vec![Violation::new("a", "bad"), Violation::new("b[0]", "worse")]);
        let status = status(failure);
        assert_eq!(status.message(), "a: bad (and 1 more)");
        let details = status.get_error_details();
        let found: Vec<(&str, &str)> = details
            .bad_request()
            .expect("violations")
            .field_violations
            .iter()
            .map(|violation| (violation.field.as_str(), violation.description.as_str()))
            .collect();
        assert_eq!(found, [("a", "bad"), ("b[0]", "worse")]);
    }

    #[test]
    fn details_fit_into_a_header_however_much_is_wrong() {
        let long = "é".repeat(10_000);
        let many = (0..5_000).map(|i| Violation::new(format!("plan.subtasks[{i}].key"), &long)).collect();
        let status = status(Failure::Invalid(many));
        let headers = status.into_http::<()>().into_parts().0.headers;
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes < 8 * 1024, "{bytes} bytes of headers");
    }

    #[test]
    fn transport_errors_get_a_type() {
        let decode =
            Status::internal("failed to decode Protobuf message: SubmitTaskRequest.title: not UTF-8");
        let large = Status::out_of_range("Error, decoded message length too large: found 9 bytes");
        for (status, code, reason) in [
            (decode, Code::InvalidArgument, "INVALID_MESSAGE"),
            (large, Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
        ] {
            let typed = retyped(&status).expect("is typed");
            assert_eq!(typed.code(), code);
            assert_eq!(typed.get_error_details().error_info().map(|info| info.reason.as_str()), Some(reason));
        }
        assert!(retyped(&Status::internal("else")).is_none());
    }
}
