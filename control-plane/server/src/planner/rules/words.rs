//! Whole words and phrases: what a request says, compared without regard to case and punctuation.

use serde_json::Value;

use crate::planner::PlanRequest;

/// A part of a request that words are looked for in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Title,
    Description,
    /// Every text in the metadata below this path; an empty path is all of it.
    Metadata(Vec<String>),
}

impl Part {
    /// `title`, `description`, `metadata` or `metadata.some.member`.
    pub(super) fn parse(text: &str) -> Option<Part> {
        match text {
            "title" => Some(Part::Title),
            "description" => Some(Part::Description),
            "metadata" => Some(Part::Metadata(Vec::new())),
            _ => {
                let path: Vec<String> =
                    text.strip_prefix("metadata.")?.split('.').map(str::to_owned).collect();
                (!path.iter().any(String::is_empty)).then_some(Part::Metadata(path))
            }
        }
    }
}

/// One or more words in a row, in lower case; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrase(Vec<String>);

impl Phrase {
    /// `None` when the text holds no word.
    pub(super) fn parse(text: &str) -> Option<Phrase> {
        let words = split(text);
        (!words.is_empty()).then_some(Phrase(words))
    }
}

/// The words of some parts of a request. A phrase never reaches from one part into the next.
pub(super) struct Text {
    runs: Vec<Vec<String>>,
}

impl Text {
    pub(super) fn of(parts: &[Part], request: &PlanRequest<'_>, metadata: &Value) -> Text {
        let mut runs = Vec::new();
        for part in parts {
            match part {
                Part::Title => runs.push(split(request.title)),
                Part::Description => runs.push(split(request.description)),
                Part::Metadata(path) => {
                    if let Some(value) = member(metadata, path) {
                        texts(value, &mut runs);
                    }
                }
            }
        }
        Text { runs }
    }

    pub(super) fn says(&self, Phrase(words): &Phrase) -> bool {
        self.runs.iter().any(|run| run.windows(words.len()).any(|window| window == words))
    }
}

/// The member that a path leads to.
pub(super) fn member<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

fn texts(value: &Value, runs: &mut Vec<Vec<String>>) {
    match value {
        Value::String(text) => runs.push(split(text)),
        Value::Array(items) => items.iter().for_each(|item| texts(item, runs)),
        Value::Object(members) => members.values().for_each(|member| texts(member, runs)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}
