//! What `retry`, `skip`, `fail`, `complete` and `release` share: one subtask, and the state it is in after.

use clap::Args;
use downbeat_sdk::proto::SubtaskState;
use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out, words::Word};

/// Which subtask.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The task's id
    #[arg(value_name = "TASK")]
    pub(crate) task_id: String,
    /// The subtask's key or full id
    #[arg(value_name = "SUBTASK")]
    pub(crate) subtask: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Says where the subtask is now.
pub(crate) fn answer(out: &mut Out, subject: &Subject, state: SubtaskState) -> Result {
    let (task_id, subtask, state) = (&subject.task_id, &subject.subtask, state.word());
    out.either(
        || json!({"task_id": task_id, "subtask": subtask, "state": state}),
        |_| vec![format!("{subtask} of {task_id} is {state}")],
    )
}
