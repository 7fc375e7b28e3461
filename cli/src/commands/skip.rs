//! `downbeat skip`.

use crate::{
    failure::Result,
    out::Out,
    review::{self, By, Subject},
};

/// Go on without a subtask
///
/// What depends on it sees a null output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat skip feature-1087 documentation --reason 'written by hand'")]
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
        let state = client.skip_subtask(task_id, subtask, &self.reason).await?;
        review::answer(out, &self.subject, state)
    }
}
