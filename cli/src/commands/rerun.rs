//! `downbeat rerun`.

use downbeat_sdk::RerunTask;
use serde_json::{Value, json};

use crate::{
    args::Connection,
    failure::{Failure, Result},
    out::Out,
    review::By,
    task_file,
    words::Word,
};

/// Run subtasks again, and all that depends on them
///
/// Also of a task that has ended. What other subtasks delivered is used again; what these did before stays in the
/// history.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat rerun release-42 test
  downbeat rerun release-42 build test --reason 'the cache was stale'
  downbeat rerun release-42 --input 'build={\"ref\": \"v43\"}'
  downbeat rerun release-42 --input build=@input.json && downbeat follow release-42")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// A subtask's key or full id
    #[arg(value_name = "SUBTASK", required_unless_present = "inputs")]
    subtasks: Vec<String>,
    /// Another input for a subtask, which runs again with it: JSON, @FILE, or @-; may be given several times
    #[arg(long = "input", value_name = "SUBTASK=JSON")]
    inputs: Vec<String>,
    #[command(flatten)]
    by: By,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let task_id = &self.task_id;
        let mut rerun =
            RerunTask::new(task_id).subtasks(&self.subtasks).by(self.by.name()).reason(&self.reason);
        for said in &self.inputs {
            let (subtask, input) = pair(said)?;
            rerun = rerun.input(subtask, &input);
        }
        let answer = self.connection.client().await?.rerun(rerun).await?;
        let (status, again) = (answer.status().word(), &answer.subtask_ids);
        out.either(
            || json!({"task_id": task_id, "status": status, "subtask_ids": again}),
            |_| vec![format!("{task_id} is {status}: {} run(s) again", again.join(", "))],
        )
    }
}

fn pair(said: &str) -> Result<(&str, Value)> {
    match said.split_once('=') {
        Some((subtask, json)) if !subtask.is_empty() => {
            Ok((subtask, task_file::json(&format!("--input {subtask}="), json)?))
        }
        _ => Err(Failure::usage(format!("expected SUBTASK=JSON such as build=1, got {said:?}"))),
    }
}
