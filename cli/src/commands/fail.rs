//! `downbeat fail`.

use crate::{
    failure::Result,
    out::Out,
    review::{self, By, Subject},
};

/// Give a subtask up: the task fails
///
/// What depends on it is skipped, and the task ends as failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat fail feature-1087 testing --reason 'the feature is withdrawn'")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    by: By,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Subject { task_id, subtask, connection } = &self.subject;
        let client = connection.client().await?.by(self.by.name());
        let state = client.fail_subtask(task_id, subtask, &self.reason).await?;
        review::answer(out, &self.subject, state)
    }
}
