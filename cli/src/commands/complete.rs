//! `downbeat complete`.

use serde_json::{Value, json};

use crate::{
    failure::{Failure, Result},
    out::Out,
    review::{self, Subject},
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
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let output = self.read_output()?;
        let Subject { task_id, subtask, connection } = &self.subject;
        let state = connection.client().await?.complete_subtask(task_id, subtask, &output).await?;
        review::answer(out, &self.subject, state)
    }

    fn read_output(&self) -> Result<Value> {
        let (name, text) = match self.output.strip_prefix('@') {
            Some(path) => task_file::read_text(path)?,
            None => ("--output".to_owned(), self.output.clone()),
        };
        serde_json::from_str(&text).map_err(|error| {
            let example = json!("a text").to_string();
            Failure::usage(format!("{name} is not JSON: {error}"))
                .hint(format!("a text needs quotes of its own: --output '{example}'"))
        })
    }
}
