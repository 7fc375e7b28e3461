//! How workflows are shown, to programs and to people.

use downbeat_sdk::proto::Workflow;
use serde_json::{Value, json};

use crate::{
    failure::Result,
    json,
    out::Out,
    table::{self, cell},
    term::{Paint, Term, printable},
    words::{now_ms, span, time},
};

/// A version in a list, for programs.
pub(super) fn line(workflow: &Workflow) -> Value {
    let description = workflow.definition.as_ref().map(|definition| definition.description.as_str());
    json!({
        "name": workflow.name,
        "version": workflow.version,
        "description": description.unwrap_or_default(),
        "restores": (workflow.restores > 0).then_some(workflow.restores),
        "created_at": time(workflow.created_at_ms),
        "by": workflow.by,
    })
}

/// A whole version, for programs.
pub(super) fn whole(workflow: &Workflow) -> Value {
    let definition = workflow.definition.clone().unwrap_or_default();
    let mut document = line(workflow);
    document["parameters"] = json::parse(&definition.parameters);
    document["secrets"] = definition.secrets.into();
    document["plan"] = json::parse(&definition.plan);
    document
}

/// A whole version for people: where it comes from, and the document that `update` would take.
pub(super) fn document(workflow: &Workflow) -> Vec<String> {
    let mut document = whole(workflow);
    for beside in ["version", "restores", "created_at", "by"] {
        document.as_object_mut().map(|members| members.remove(beside));
    }
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    let restores = restores(workflow);
    let by = if workflow.by.is_empty() { String::new() } else { format!(" by {}", workflow.by) };
    let when = time(workflow.created_at_ms).unwrap_or_default();
    let head = format!("# {}@{}, {when}{by}{restores}", workflow.name, workflow.version);
    [printable(&head)].into_iter().chain(text.lines().map(str::to_owned)).collect()
}

/// Versions in a table.
pub(super) fn table(out: &mut Out, all: &[Workflow]) -> Result {
    let rows = all.iter().map(|workflow| {
        let ago = format!("{} ago", span(now_ms() - workflow.created_at_ms));
        let definition = workflow.definition.clone().unwrap_or_default();
        let said = format!("{}{}", definition.description, restores(workflow));
        vec![
            cell(&workflow.name),
            cell(workflow.version.to_string()),
            cell(ago),
            cell(&workflow.by),
            cell(said),
        ]
    });
    let head = ["workflow", "version", "created", "by", "description"];
    let lines = table::titled(&out.term, &head, rows.collect());
    lines.into_iter().try_for_each(|line| out.line(line))
}

fn restores(workflow: &Workflow) -> String {
    match workflow.restores {
        0 => String::new(),
        version => format!(" (back to version {version})"),
    }
}

/// A line of a diff.
pub(super) fn changed(term: &Term, line: &str) -> String {
    let paint = match line.as_bytes().first() {
        Some(b'+') => Paint::Green,
        Some(b'-') => Paint::Red,
        Some(b'@') => Paint::Dim,
        _ => Paint::Plain,
    };
    term.paint(paint, &printable(line))
}
