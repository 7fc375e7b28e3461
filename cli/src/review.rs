//! What `retry`, `skip`, `fail`, `complete` and `release` share: one subtask, who says so, and the state it is in after.

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

/// Who says so.
#[derive(Debug, Args)]
pub(crate) struct By {
    /// Who decides, for the history; your name on this machine if not given
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
    by: Option<String>,
}

impl By {
    /// Empty: nobody knows.
    pub(crate) fn name(&self) -> &str {
        self.by.as_deref().unwrap_or_default()
    }
}

/// Says where the subtask is now.
pub(crate) fn answer(out: &mut Out, subject: &Subject, state: SubtaskState) -> Result {
    let (task_id, subtask, state) = (&subject.task_id, &subject.subtask, state.word());
    out.either(
        || json!({"task_id": task_id, "subtask": subtask, "state": state}),
        |_| vec![format!("{subtask} of {task_id} is {state}")],
    )
}
