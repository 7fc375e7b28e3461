//! `downbeat output`.

use serde_json::{Value, json};

use crate::{failure::Result, json, out::Out, review::Subject};

/// Print what a subtask delivered
///
/// A text is printed as it is, anything else as indented JSON. With `--json` one document with the artifacts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat output feature-1087 code-review
  downbeat output feature-1087 code-review --json | jq .artifacts")]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Subject { task_id, subtask, connection } = &self.subject;
        let answer = connection.client().await?.output(task_id, subtask).await?;
        let output = json::parse(&answer.output);
        if out.json {
            let artifacts: Vec<Value> = answer.artifacts.iter().map(json::artifact).collect();
            return out.json(&json!({"output": output, "artifacts": artifacts}));
        }
        match output {
            Value::String(text) => out.line(text),
            other => out.line(format!("{other:#}")),
        }
    }
}
