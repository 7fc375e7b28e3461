//! `downbeat lint`.

use downbeat_sdk::proto::PlanIssue;
use serde_json::{Value, json};

use crate::{
    args::Connection,
    failure::{Exit, Failure, Result},
    json,
    out::Out,
    task_file,
    term::{Paint, printable},
};

/// Say what is wrong with a plan, without submitting it
///
/// The file is a task as for `submit`, or a plan alone (`subtasks` at the top). The control plane checks it: errors
/// would be refused, warnings are allowed and look like mistakes. With errors the exit code is 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat lint plan.yaml
  downbeat lint plan.yaml --json | jq -r '.errors[].field'")]
pub(crate) struct Args {
    /// The plan, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let plan = task_file::read_plan(&self.file)?;
        let client = self.connection.client().await.map_err(|failure| failure.in_vain("lint a plan"))?;
        let answer = client.lint(plan).await;
        let answer = answer.map_err(|error| Failure::from(error).in_vain("lint a plan"))?;
        let (errors, warnings) = (&answer.errors, &answer.warnings);
        if out.json {
            let all = |issues: &[PlanIssue]| issues.iter().map(json::issue).collect::<Vec<Value>>();
            out.json(&json!({"errors": all(errors), "warnings": all(warnings)}))?;
        } else {
            let errors = errors.iter().map(|issue| ("error", Paint::Red, issue));
            let warnings = warnings.iter().map(|issue| ("warning", Paint::Yellow, issue));
            let mut all = errors.chain(warnings).peekable();
            while let Some((word, paint, PlanIssue { field, issue, code, hint })) = all.next() {
                let said = printable(&format!("{field}: {issue}"));
                out.line(format!("{} {said}", out.term.paint(paint, word)))?;
                // What is to be done about several of a kind is said once, below them.
                let same = all.peek().is_some_and(|(next, _, issue)| *next == word && issue.code == *code);
                if !same && !hint.is_empty() {
                    out.line(format!("  {}", out.term.paint(Paint::Dim, &printable(hint))))?;
                }
            }
        }
        match (errors.len(), warnings.len()) {
            (0, 0) if !out.json => out.line("nothing is wrong with this plan"),
            (0, _) => Ok(()),
            (count, _) => Err(Failure::new(Exit::Refused, format!("this plan has {count} error(s)"))),
        }
    }
}
