//! A task, a plan or a workflow as a file: JSON or YAML of the same shape as the bodies of REST.
//!
//! Here files are read; what stands in them is the SDK's to read, and the control plane's to judge.

use std::{fs, io::Read, path::Path};

use downbeat_sdk::{Error, Plan, ScheduleSpec, SubmitTask, Workflow};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// Reads a task from a file, or from standard input for `-`.
pub(crate) fn read(path: &str) -> Result<SubmitTask> {
    let (name, text) = read_text(path)?;
    let document = parse(path, &name, &text)?;
    SubmitTask::from_document(&document).map_err(|error| no(&name, "task", error))
}

/// Reads a plan from a file, or from standard input for `-`: one that stands alone, or that of a task.
pub(crate) fn read_plan(path: &str) -> Result<Plan> {
    let (name, text) = read_text(path)?;
    let document = parse(path, &name, &text)?;
    let alone = document.get("subtasks").is_some();
    if alone {
        return Plan::from_document(&document).map_err(|error| no(&name, "plan", error));
    }
    let task = SubmitTask::from_document(&document).and_then(SubmitTask::into_request);
    let task = task.map_err(|error| no(&name, "task", error))?;
    task.plan.map(Plan::from).ok_or_else(|| {
        Failure::usage(format!("{name} has no plan: expected `plan` with `subtasks`, or `subtasks` alone"))
    })
}

/// Reads any document from a file, or from standard input for `-`, with a name for it.
pub(crate) fn read_document(path: &str) -> Result<(String, Value)> {
    let (name, text) = read_text(path)?;
    let document = parse(path, &name, &text)?;
    Ok((name, document))
}

/// A document as a workflow.
pub(crate) fn workflow((name, document): &(String, Value)) -> Result<Workflow> {
    Workflow::from_document(document).map_err(|error| no(name, "workflow", error))
}

/// Reads a schedule, with its name, from a file, or from standard input for `-`.
pub(crate) fn read_schedule(path: &str) -> Result<(String, ScheduleSpec)> {
    let (name, document) = read_document(path)?;
    ScheduleSpec::from_document(&document).map_err(|error| no(&name, "schedule", error))
}

fn no(name: &str, what: &str, error: Error) -> Failure {
    match error {
        Error::InvalidDocument { fields } => {
            Failure::usage(format!("{name} is no {what}: {} problem(s)", fields.len()))
                .details(fields.into_iter().map(|bad| format!("{}: {}", bad.field, bad.issue)))
        }
        other => other.into(),
    }
}

/// A text from a file, or from standard input for `-`, with a name for it.
pub(crate) fn read_text(path: &str) -> Result<(String, String)> {
    let name = if path == "-" { "standard input".to_owned() } else { path.to_owned() };
    let mut bytes = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(Failure::usage(format!("{name} is not UTF-8: byte {at} is the first that does not fit")))
        }
    }
}

fn parse(path: &str, name: &str, text: &str) -> Result<Value> {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let json = match extension {
        "json" => true,
        "yaml" | "yml" => false,
        _ => text.trim_start().starts_with('{'),
    };
    if json {
        return serde_json::from_str(text)
            .map_err(|error| Failure::usage(format!("{name} is not JSON: {error}")));
    }
    parse_yaml(name, text)
}

/// YAML; `name` says in errors what it is.
pub(crate) fn parse_yaml(name: &str, text: &str) -> Result<Value> {
    // YAML 1.1 would read a task called `y` or `no` as a truth value.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet().to_string();
        Failure::usage(format!("{name} is not YAML: {error}"))
    })
}

/// JSON from the command line: the text itself, `@FILE`, or `@-` for standard input. `option` names it in errors.
pub(crate) fn json(option: &str, said: &str) -> Result<Value> {
    let (name, text) = match said.strip_prefix('@') {
        Some(path) => read_text(path)?,
        None => (option.to_owned(), said.to_owned()),
    };
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{name} is not JSON: {error}"))
            .hint(format!("a text needs quotes of its own: {option} '\"a text\"'"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn words_stay_words_in_yaml() {
        let document =
            parse("task.yaml", "task.yaml", "task_id: no\ndescription: y\nmetadata: {on: true}\n").unwrap();
        assert_eq!(document, json!({"task_id": "no", "description": "y", "metadata": {"on": true}}));
    }
}
