//! Why a command is refused. Nothing was changed; the batch goes on.

use thiserror::Error;

use crate::{id::TaskId, subtask::SubtaskState, task::TaskStatus};

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
            Reject::SessionUnknown => "SESSION_UNKNOWN",
            Reject::SessionTaken { .. } => "SESSION_TAKEN",
            Reject::BatchFull => "BATCH_FULL",
        }
    }
}
