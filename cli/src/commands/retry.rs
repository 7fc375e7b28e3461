//! `downbeat retry`.

use crate::{
    failure::Result,
    out::Out,
    review::{self, By, Subject},
};

/// Give a subtask in review another round of attempts
///
/// For a subtask whose attempts are used up, or that failed in a way that no attempt could mend.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat retry feature-1087 testing")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    by: By,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Subject { task_id, subtask, connection } = &self.subject;
        let client = connection.client().await?.by(self.by.name());
        let state = client.retry_subtask(task_id, subtask).await?;
        review::answer(out, &self.subject, state)
    }
}
