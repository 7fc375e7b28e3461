//! `downbeat complete`.

use crate::{
    failure::Result,
    out::Out,
    review::{self, By, Subject},
    task_file,
};

/// Supply a subtask's output by hand
///
/// What depends on it goes on with that output, as if a worker had delivered it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat complete feature-1087 testing --output '{\"passed\": 12}'
  downbeat complete feature-1087 testing --output @result.json
  run-the-tests | downbeat complete feature-1087 testing --output @-")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// The output: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", default_value = "null")]
    output: String,
    #[command(flatten)]
    by: By,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let output = task_file::json("--output", &self.output)?;
        let Subject { task_id, subtask, connection } = &self.subject;
        let client = connection.client().await?.by(self.by.name());
        let state = client.complete_subtask(task_id, subtask, &output).await?;
        review::answer(out, &self.subject, state)
    }
}
