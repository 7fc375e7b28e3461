//! `downbeat context`.

use clap::ValueEnum;
use downbeat_sdk::proto::ContextEntry;
use serde_json::{Value, json};

use crate::{
    args::Connection,
    failure::{Failure, Result},
    json,
    out::Out,
    review::By,
    table::{self, cell},
    task_file,
};

/// Read or write what the subtasks of a task share
///
/// JSON values by key, each with a version. What the task was given as `metadata.context` is there from the start, at
/// version 1; workers read and write the same keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat context release-42
  downbeat context release-42 get findings
  downbeat context release-42 put findings '{\"open\": 3}' --expect 2     only where it has version 2
  downbeat context release-42 put lock '\"mine\"' --expect 0              only where there is none
  downbeat context release-42 delete findings")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// What to do
    #[arg(value_name = "ACTION", value_enum, default_value_t = Action::List)]
    action: Action,
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// To put: JSON, @FILE, or @- for standard input
    #[arg(value_name = "VALUE")]
    value: Option<String>,
    /// Only where the key has this version; 0: only where there is none
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    List,
    Get,
    Put,
    Delete,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let Args { task_id, action, key, value, expect, by, connection } = self;
        let usage = |what: &str| Err(Failure::usage(format!("context: {what}")));
        let value = match (action, &key, value) {
            (Action::List, None, None) => None,
            (Action::List, _, _) => return usage("`list` takes no key; `get` does"),
            (Action::Put, Some(_), Some(value)) => Some(task_file::json("VALUE", &value)?),
            (Action::Put, _, _) => return usage("`put` takes a key and a value"),
            (Action::Get | Action::Delete, Some(_), None) => None,
            (Action::Get | Action::Delete, _, _) => {
                return usage("`get` and `delete` take a key, and no value");
            }
        };
        if expect.is_some() && matches!(action, Action::List | Action::Get) {
            return usage("only `put` and `delete` expect a version");
        }
        let client = connection.client().await?.by(by.name());
        let key = key.unwrap_or_default();
        match action {
            Action::List => list(out, &task_id, &client.context(&task_id).await?),
            Action::Get => get(out, &client.context_key(&task_id, &key).await?),
            Action::Put => {
                let value = value.unwrap_or_default();
                let version = client.put_context(&task_id, &key, &value, expect).await?;
                written(out, &key, version, "has")
            }
            Action::Delete => {
                let version = client.delete_context(&task_id, &key, expect).await?;
                written(out, &key, version, "was deleted, and had")
            }
        }
    }
}

fn list(out: &mut Out, task_id: &str, entries: &[ContextEntry]) -> Result {
    if out.json {
        return out.json(&json!({"entries": entries.iter().map(json::context).collect::<Vec<_>>()}));
    }
    if entries.is_empty() {
        return out.line(format!("{task_id} has no context"));
    }
    let row = |entry: &ContextEntry| {
        let value = json::parse(&entry.value).to_string();
        vec![cell(&entry.key), cell(entry.version.to_string()), cell(value)]
    };
    let lines = table::titled(&out.term, &["key", "version", "value"], entries.iter().map(row).collect());
    lines.into_iter().try_for_each(|line| out.line(line))
}

fn get(out: &mut Out, entry: &ContextEntry) -> Result {
    if out.json {
        return out.json(&json::context(entry));
    }
    match json::parse(&entry.value) {
        Value::String(text) => out.line(text),
        other => out.line(format!("{other:#}")),
    }
}

fn written(out: &mut Out, key: &str, version: u64, what: &str) -> Result {
    out.either(
        || json!({"key": key, "version": version}),
        |_| vec![format!("{key} {what} version {version}")],
    )
}
