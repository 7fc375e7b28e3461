//! Inputs with placeholders: `{{title}}`, `{{description}}`, `{{task_id}}`, `{{priority}}` and
//! `{{metadata.some.member}}`. A text that is one placeholder becomes the value itself, whatever its type;
//! within a longer text the value is written out. What the request does not hold is left out. What was put in
//! is never looked through again.

use downbeat_core::task::Priority;
use serde_json::{Map, Value};

use super::words;
use crate::planner::PlanRequest;

/// A placeholder's name, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Title,
    Description,
    TaskId,
    Priority,
    Metadata(Vec<String>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Words(String),
    Place(Name),
}

/// An input as the rule writes it, with its placeholders found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    Fixed(Value),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Finds the placeholders of a value.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub(super) fn parse(value: Value) -> Result<Template, String> {
        Ok(match value {
            Value::String(text) if text.contains("{{") => Template::Text(pieces(&text)?),
            Value::Array(items) => {
                Template::List(items.into_iter().map(Template::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => Template::Object(
                members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Template::parse(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
            fixed @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                Template::Fixed(fixed)
            }
        })
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, behind) = after
            .split_once("}}")
            .ok_or_else(|| format!("`{{{{{}` has no closing `}}}}`", after.escape_debug()))?;
        if !before.is_empty() {
            pieces.push(Piece::Words(before.to_owned()));
        }
        pieces.push(Piece::Place(parse_name(name.trim())?));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Words(rest.to_owned()));
    }
    Ok(pieces)
}

fn parse_name(name: &str) -> Result<Name, String> {
    match name {
        "title" => Ok(Name::Title),
        "description" => Ok(Name::Description),
        "task_id" => Ok(Name::TaskId),
        "priority" => Ok(Name::Priority),
        "metadata" => Ok(Name::Metadata(Vec::new())),
        _ => {
            let path =
                name.strip_prefix("metadata.").map(|path| path.split('.').map(str::to_owned).collect());
            path.filter(|path: &Vec<String>| !path.iter().any(String::is_empty))
                .map(Name::Metadata)
                .ok_or_else(|| {
                    format!(
                        "no placeholder is called `{}`: there are {{{{title}}}}, {{{{description}}}}, \
                         {{{{task_id}}}}, {{{{priority}}}} and {{{{metadata.NAME}}}}",
                        name.escape_debug()
                    )
                })
        }
    }
}

/// What placeholders stand for.
pub(super) struct Values<'a> {
    pub(super) request: &'a PlanRequest<'a>,
    pub(super) metadata: &'a Value,
}

impl Values<'_> {
    /// The input, or `None` when it comes to nothing.
    pub(super) fn fill(&self, template: &Template) -> Option<Value> {
        match template {
            Template::Fixed(Value::Null) => None,
            Template::Fixed(value) => Some(value.clone()),
            Template::Text(pieces) => match pieces.as_slice() {
                [Piece::Place(name)] => self.value(name),
                pieces => Some(Value::String(pieces.iter().map(|piece| self.written(piece)).collect())),
            },
            Template::List(items) => {
                Some(items.iter().map(|item| self.fill(item).unwrap_or(Value::Null)).collect())
            }
            Template::Object(members) => {
                let filled = members.iter().filter_map(|(name, t)| Some((name.clone(), self.fill(t)?)));
                Some(Value::Object(filled.collect::<Map<_, _>>()))
            }
        }
    }

    fn value(&self, name: &Name) -> Option<Value> {
        let text = match name {
            Name::Title => self.request.title,
            Name::Description => self.request.description,
            Name::TaskId => self.request.task_id,
            Name::Priority => match self.request.priority {
                Priority::Low => "low",
                Priority::Normal => "normal",
                Priority::High => "high",
                Priority::Critical => "critical",
            },
            Name::Metadata(path) => return words::member(self.metadata, path).cloned(),
        };
        (!text.is_empty()).then(|| Value::from(text))
    }

    fn written(&self, piece: &Piece) -> String {
        match piece {
            Piece::Words(words) => words.clone(),
            Piece::Place(name) => match self.value(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text,
                Some(value) => value.to_string(),
            },
        }
    }
}
