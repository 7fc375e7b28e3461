//! `downbeat release`.

use crate::{
    failure::Result,
    out::Out,
    review::{self, By, Subject},
};

/// Let a held subtask go on
///
/// Held are the subtasks of a task executed with `--manual`, and those named by `--checkpoint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat release feature-1087 release")]
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
        let state = client.release_subtask(task_id, subtask).await?;
        review::answer(out, &self.subject, state)
    }
}
