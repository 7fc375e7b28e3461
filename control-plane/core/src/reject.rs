//! Why a command is refused. Nothing was changed; the batch goes on.

use thiserror::Error;

use crate::{id::TaskId, limits, subtask::SubtaskState, task::TaskStatus};

/// A refusal, with what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reject {
    #[error("task `{0}` exists with a different request; submit it under another task_id")]
    TaskConflict(TaskId),
    #[error("no such task")]
    TaskUnknown,
    #[error("the task is already {}", .0.word())]
    TaskFinished(TaskStatus),
    #[error("the task is {}; execute it first", .0.word())]
    TaskNotStarted(TaskStatus),
    #[error("no such subtask")]
    SubtaskUnknown,
    #[error("cannot {action} a subtask that is {}; {hint}", .state.word())]
    SubtaskState { action: &'static str, state: SubtaskState, hint: &'static str },
    #[error("what is to be approved has changed: its digest is {digest}, got `{got}`; look at it again")]
    DigestMismatch { digest: String, got: String },
    #[error("`{0}` may not decide this; the approval names who may")]
    NotAnApprover(String),
    #[error("`{got}` cannot be chosen; the options are: {known}")]
    OptionUnknown { got: String, known: String },
    #[error("{0} signals wait already that nobody has taken (SIGNALS)")]
    TooManySignals(usize),
    #[error("there is a snapshot `{0}`; choose another name")]
    SnapshotTaken(String),
    #[error("the task has {0} snapshots already (SNAPSHOTS)")]
    TooManySnapshots(usize),
    #[error("a rule asks for an approval of this that it does not have: {0}; submit it as a task of its own")]
    ApprovalRequired(String),
    #[error("an input for what does not run again, or begins anew with its group: `{0}`")]
    InputUnused(String),
    #[error("to ask all gates that wait for this signal takes more than {max} steps (SIGNAL_STEPS); \
             send less, or wait for signals of other names", max = limits::SIGNAL_STEPS)]
    SignalTooCostly,
    #[error("{0}")]
    TooManySubtasks(String),
    #[error("at most {max} levels of groups (GROUP_DEPTH), got {got}", max = limits::GROUP_DEPTH)]
    TooDeep { got: usize },
    #[error("the subtask has another child with the key `{0}`")]
    ChildConflict(String),
    #[error("the subtask does not wait for this task")]
    NotAwaited,
    #[error("`{key}` has version {version}, expected {expected} (0: there is none); read it again")]
    VersionConflict { key: String, version: u64, expected: u64 },
    #[error("{0}")]
    ContextFull(String),
    #[error("the session is gone; open a new one")]
    SessionUnknown,
    #[error("connection {connection} of this session is taken up; connect with a higher number, got {got}")]
    SessionTaken { connection: u32, got: u32 },
    #[error("the batch ran out of ids; try again")]
    BatchFull,
}

impl Reject {
    /// The stable reason on every face (`google.rpc.ErrorInfo.reason`).
    pub fn code(&self) -> &'static str {
        match self {
            Reject::TaskConflict(_) => "TASK_CONFLICT",
            Reject::TaskUnknown => "TASK_UNKNOWN",
            Reject::TaskFinished(_) => "TASK_FINISHED",
            Reject::TaskNotStarted(_) => "TASK_NOT_STARTED",
            Reject::SubtaskUnknown => "SUBTASK_UNKNOWN",
            Reject::SubtaskState { .. } => "SUBTASK_STATE",
            Reject::DigestMismatch { .. } => "DIGEST_MISMATCH",
            Reject::NotAnApprover(_) => "NOT_AN_APPROVER",
            Reject::OptionUnknown { .. } => "OPTION_UNKNOWN",
            Reject::TooManySignals(_) => "TOO_MANY_SIGNALS",
            Reject::SnapshotTaken(_) => "SNAPSHOT_TAKEN",
            Reject::TooManySnapshots(_) => "TOO_MANY_SNAPSHOTS",
            Reject::ApprovalRequired(_) => "APPROVAL_REQUIRED",
            Reject::InputUnused(_) => "INPUT_UNUSED",
            Reject::SignalTooCostly => "SIGNAL_TOO_COSTLY",
            Reject::TooManySubtasks(_) => "TOO_MANY_SUBTASKS",
            Reject::TooDeep { .. } => "TOO_DEEP",
            Reject::ChildConflict(_) => "CHILD_CONFLICT",
            Reject::NotAwaited => "NOT_AWAITED",
            Reject::VersionConflict { .. } => "VERSION_CONFLICT",
            Reject::ContextFull(_) => "CONTEXT_FULL",
            Reject::SessionUnknown => "SESSION_UNKNOWN",
            Reject::SessionTaken { .. } => "SESSION_TAKEN",
            Reject::BatchFull => "BATCH_FULL",
        }
    }
}
