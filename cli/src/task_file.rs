//! A task as a file: JSON or YAML of the same shape as the body of `POST /orchestrate`.
//!
//! Here the shape is read, and everything that does not fit is told at once with the name of its field. What
//! the values mean is the control plane's to judge.

use std::{fs, io::Read, path::Path};

use downbeat_sdk::{
    SubmitTask,
    proto::{Plan, PlannedSubtask, Priority, SubmitTaskRequest},
};
use serde_json::{Map, Value};

use crate::{
    failure::{Failure, Result},
    words,
};

const TASK_FIELDS: [&str; 7] =
    ["task_id", "title", "description", "priority", "metadata", "plan", "deadline"];
const SUBTASK_FIELDS: [&str; 8] =
    ["key", "agent", "capabilities", "input", "depends_on", "sla_seconds", "max_attempts", "priority"];

/// Reads a task from a file, or from standard input for `-`.
pub(crate) fn read(path: &str) -> Result<SubmitTask> {
    let (name, text) = read_text(path)?;
    let document = parse(path, &name, &text)?;
    let mut shape = Shape::default();
    let request = shape.task(&document);
    if shape.problems.is_empty() {
        return Ok(request.into());
    }
    Err(Failure::usage(format!("{name} is no task: {} problem(s)", shape.problems.len()))
        .details(shape.problems))
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
    // YAML 1.1 would read a task called `y` or `no` as a truth value.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet().to_string();
        Failure::usage(format!("{name} is not YAML: {error}"))
    })
}

/// Takes a document apart and collects what does not fit.
#[derive(Default)]
struct Shape {
    problems: Vec<String>,
}

impl Shape {
    fn task(&mut self, document: &Value) -> SubmitTaskRequest {
        let mut request = SubmitTaskRequest::default();
        let Some(fields) = self.object("", document, &TASK_FIELDS) else { return request };
        request.task_id = self.text("task_id", fields.get("task_id"));
        if !fields.contains_key("task_id") {
            self.add("task_id", "is missing: your own name for the task, so that it is never done twice");
        }
        request.title = self.text("title", fields.get("title"));
        request.description = self.text("description", fields.get("description"));
        request.priority = self.priority("priority", fields.get("priority"));
        match fields.get("metadata") {
            None | Some(Value::Null) => {}
            Some(metadata @ Value::Object(_)) => request.metadata = metadata.to_string().into(),
            Some(other) => self.expected("metadata", "an object", other),
        }
        request.plan = match fields.get("plan") {
            None | Some(Value::Null) => None,
            Some(plan) => Some(self.plan(plan)),
        };
        request.deadline_ms = self.time("deadline", fields.get("deadline"));
        request
    }

    fn plan(&mut self, document: &Value) -> Plan {
        let mut plan = Plan::default();
        let Some(fields) = self.object("plan", document, &["subtasks"]) else { return plan };
        match fields.get("subtasks") {
            Some(Value::Array(subtasks)) => {
                let read = |(i, subtask)| self.subtask(&format!("plan.subtasks[{i}]"), subtask);
                plan.subtasks = subtasks.iter().enumerate().map(read).collect();
            }
            Some(other) => self.expected("plan.subtasks", "a list", other),
            None => self.add("plan.subtasks", "is missing: a list of subtasks"),
        }
        plan
    }

    fn subtask(&mut self, at: &str, document: &Value) -> PlannedSubtask {
        let mut subtask = PlannedSubtask::default();
        let Some(fields) = self.object(at, document, &SUBTASK_FIELDS) else { return subtask };
        let field = |name: &str| format!("{at}.{name}");
        subtask.key = self.text(&field("key"), fields.get("key"));
        if !fields.contains_key("key") {
            self.add(&field("key"), "is missing: a name that is unique in the plan");
        }
        subtask.agent = self.text(&field("agent"), fields.get("agent"));
        subtask.capabilities = self.texts(&field("capabilities"), fields.get("capabilities"));
        subtask.depends_on = self.texts(&field("depends_on"), fields.get("depends_on"));
        subtask.input = match fields.get("input") {
            None | Some(Value::Null) => Default::default(),
            Some(input) => input.to_string().into(),
        };
        subtask.sla_seconds = self.number(&field("sla_seconds"), fields.get("sla_seconds"));
        subtask.max_attempts = self.number(&field("max_attempts"), fields.get("max_attempts"));
        subtask.priority = self.priority(&field("priority"), fields.get("priority"));
        subtask
    }

    fn object<'v>(&mut self, at: &str, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(fields) = value else {
            self.expected(if at.is_empty() { "the document" } else { at }, "an object", value);
            return None;
        };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let dot = if at.is_empty() { "" } else { "." };
            self.add(&format!("{at}{dot}{name}"), format!("unknown field; there are {}", known.join(", ")));
        }
        Some(fields)
    }

    fn text(&mut self, at: &str, value: Option<&Value>) -> String {
        match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                self.expected(at, "a text", other);
                String::new()
            }
        }
    }

    fn texts(&mut self, at: &str, value: Option<&Value>) -> Vec<String> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(i, item)| self.text(&format!("{at}[{i}]"), Some(item)))
                .collect(),
            Some(other) => {
                self.expected(at, "a list of texts", other);
                Vec::new()
            }
        }
    }

    /// Zero means "not said" in the contract, so nobody may say it.
    fn number(&mut self, at: &str, value: Option<&Value>) -> u32 {
        match value {
            None | Some(Value::Null) => 0,
            Some(value) => {
                match value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0) {
                    Some(number) => number,
                    None => {
                        self.expected(at, &format!("a whole number from 1 to {}", u32::MAX), value);
                        0
                    }
                }
            }
        }
    }

    fn priority(&mut self, at: &str, value: Option<&Value>) -> i32 {
        let word = self.text(at, value);
        if word.is_empty() {
            return Priority::Unspecified.into();
        }
        words::parse(&word, &words::PRIORITIES).map_or_else(
            |issue| {
                self.add(at, issue);
                Priority::Unspecified.into()
            },
            i32::from,
        )
    }

    fn time(&mut self, at: &str, value: Option<&Value>) -> i64 {
        let text = self.text(at, value);
        if text.is_empty() {
            return 0;
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => time.as_millisecond(),
            Err(_) => {
                self.add(at, format!("expected a time such as 2026-01-31T12:00:00Z, got {text:?}"));
                0
            }
        }
    }

    fn expected(&mut self, at: &str, what: &str, got: &Value) {
        let kind = match got {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("the text {text:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.add(at, format!("expected {what}, got {kind}"));
    }

    fn add(&mut self, at: &str, issue: impl Into<String>) {
        self.problems.push(format!("{at}: {}", issue.into()));
    }
}

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{Priority, SubmitTaskRequest};
    use serde_json::json;

    use super::{Shape, parse};

    fn shape(document: &serde_json::Value) -> Result<SubmitTaskRequest, Vec<String>> {
        let mut shape = Shape::default();
        let request = shape.task(document);
        if shape.problems.is_empty() { Ok(request) } else { Err(shape.problems) }
    }

    #[test]
    fn a_whole_task_is_read() {
        let yaml = "task_id: t\npriority: high\nmetadata: {a: 1}\ndeadline: 2026-01-31T12:00:00Z\nplan:\n  subtasks:\n    - {key: a, agent: x, input: {n: 1}}\n    - {key: b, capabilities: [c], depends_on: [a], sla_seconds: 5, max_attempts: 2}\n";
        let request = shape(&parse("task.yaml", "task.yaml", yaml).unwrap()).unwrap();
        assert_eq!((request.task_id.as_str(), request.priority()), ("t", Priority::High));
        assert_eq!(request.metadata, r#"{"a":1}"#.as_bytes());
        assert_eq!(request.deadline_ms, 1_769_860_800_000);
        let subtasks = request.plan.unwrap().subtasks;
        assert_eq!(subtasks[0].input, r#"{"n":1}"#.as_bytes());
        assert_eq!(
            (subtasks[1].depends_on.as_slice(), subtasks[1].sla_seconds),
            (["a".to_owned()].as_slice(), 5)
        );
    }

    #[test]
    fn words_stay_words_in_yaml() {
        let document =
            parse("task.yaml", "task.yaml", "task_id: no\ndescription: y\nmetadata: {on: true}\n").unwrap();
        assert_eq!(document, json!({"task_id": "no", "description": "y", "metadata": {"on": true}}));
    }

    #[test]
    fn everything_that_does_not_fit_is_told_at_once() {
        let document = json!({
            "titel": "x",
            "priority": "urgent",
            "metadata": [],
            "deadline": "tomorrow",
            "plan": {"subtasks": [{"key": 1, "agnt": "x", "depends_on": ["a", 2], "sla_seconds": 0}, 3]},
        });
        let problems = shape(&document).unwrap_err();
        let fields: Vec<&str> =
            problems.iter().filter_map(|p| p.split_once(": ")).map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            [
                "titel",
                "task_id",
                "priority",
                "metadata",
                "plan.subtasks[0].agnt",
                "plan.subtasks[0].key",
                "plan.subtasks[0].depends_on[1]",
                "plan.subtasks[0].sla_seconds",
                "plan.subtasks[1]",
                "deadline",
            ],
            "{problems:#?}"
        );
    }
}
