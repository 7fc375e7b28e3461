//! `downbeat workflow run`.

use downbeat_sdk::{RunWorkflow, proto::Priority};
use serde_json::{Map, Value};

use crate::{
    args::Connection,
    commands::submit::{Shown, show},
    failure::{Failure, Result},
    json,
    out::Out,
    task_file, words,
};

/// Submit a task with the plan of a workflow, and start and follow it if wanted
///
/// The same again changes nothing and shows the task as it is, also when there is a newer version by then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A parameter is read as its schema says: where that wants a text, `--param version=1.10` is one; otherwise what
stands there is JSON if it can be read as such, and a text if not.

Examples:
  downbeat workflow run release release-42 --param repo=billing --param env=prod --execute --follow
  downbeat workflow run release release-43 --version 2 --params-file params.yaml
  downbeat workflow run release release-44 --params-file common.yaml --param env=prod")]
pub(super) struct Args {
    /// The workflow's name
    #[arg(value_name = "WORKFLOW")]
    name: String,
    /// Your own name for the task, so that it is never done twice
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Another version than the newest
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// A parameter; may be given several times
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
    /// Parameters in a file, JSON or YAML, or `-` for standard input; those given by --param win
    #[arg(long, value_name = "FILE")]
    params_file: Option<String>,
    /// A title for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    title: String,
    /// Metadata: JSON, `@FILE` or `@-`
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// low, normal, high or critical
    #[arg(long, value_name = "PRIORITY", value_parser = words::priority)]
    priority: Option<Priority>,
    /// Start it, too
    #[arg(long)]
    execute: bool,
    /// Follow it until it ends
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(super) async fn run(self, out: &mut Out) -> Result {
        let mut parameters = match &self.params_file {
            Some(file) => match task_file::read_document(file)? {
                (_, Value::Object(parameters)) => parameters,
                (name, _) => return Err(Failure::usage(format!("{name} holds no object of parameters"))),
            },
            None => Map::new(),
        };
        let metadata = self.metadata.as_ref().map(|said| task_file::json("--metadata", said)).transpose()?;
        let client = self.connection.client().await?;
        if !self.params.is_empty() {
            let workflow = client.workflow(&self.name, self.version).await?;
            let schema = json::parse(&workflow.definition.unwrap_or_default().parameters);
            for (name, said) in self.params {
                let value = typed(&schema["properties"][&name], said);
                parameters.insert(name, value);
            }
        }
        let mut run = RunWorkflow::new(self.name, self.task_id).title(self.title).parameters(&parameters);
        if let Some(version) = self.version {
            run = run.version(version);
        }
        if let Some(metadata) = &metadata {
            run = run.metadata(metadata);
        }
        if let Some(priority) = self.priority {
            run = run.priority(priority);
        }
        if self.execute {
            run = run.execute();
        }
        let submitted = client.run_workflow(run).await?;
        show(out, &client, submitted, Shown { execute: self.execute, follow: self.follow }).await
    }
}

fn param(said: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = said.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A parameter as its schema wants it; whether it is right is the control plane's to say.
fn typed(schema: &Value, said: String) -> Value {
    let text = Value::from(said.as_str());
    let is_text = schema["type"] == "string"
        || schema["const"] == text
        || schema["enum"].as_array().is_some_and(|choices| choices.contains(&text));
    if is_text { text } else { serde_json::from_str(&said).unwrap_or(text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::typed;

    #[test]
    fn parameters_are_read_as_their_schema_says() {
        for (schema, said, value) in [
            (json!({"type": "string"}), "1.10", json!("1.10")),
            (json!({"type": "number"}), "1.5", json!(1.5)),
            (json!({"type": ["string", "integer"]}), "5", json!(5)),
            (json!({"enum": ["1", "prod"]}), "1", json!("1")),
            (json!({"type": "array"}), "[1]", json!([1])),
            (json!({"type": "integer"}), "many", json!("many")),
            (json!(null), "true", json!(true)),
            (json!(null), "s3://x", json!("s3://x")),
        ] {
            assert_eq!(typed(&schema, said.to_owned()), value, "{schema} {said}");
        }
    }
}
