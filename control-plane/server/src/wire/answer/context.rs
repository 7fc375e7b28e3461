//! A task's shared context, and what differs between two points of its history.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Shown, SubtaskStateWord, raw_or_null};
use crate::engine;

/// A key of a task's shared context.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContextEntry<'a> {
    key: &'a str,
    #[schema(value_type = serde_json::Value)]
    value: &'a RawValue,
    /// 1, 2, ...: what `expected_version` of a write is compared with.
    version: u64,
}

impl<'a> ContextEntry<'a> {
    pub(crate) fn new(entry: &'a engine::ContextEntry) -> ContextEntry<'a> {
        let engine::ContextEntry { key, value, version } = entry;
        ContextEntry { key, value: raw_or_null(value), version: *version }
    }
}

/// A task's shared context, by key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Context<'a> {
    entries: Vec<ContextEntry<'a>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(entries: &'a [engine::ContextEntry]) -> Context<'a> {
        Context { entries: entries.iter().map(ContextEntry::new).collect() }
    }
}

/// A key that was written or deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContextWritten<'a> {
    pub(crate) key: &'a str,
    /// That it has now.
    pub(crate) version: u64,
}

/// What differs between two points of a task's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Difference<'a> {
    context: Vec<ContextDifference<'a>>,
    subtasks: Vec<SubtaskDifference<'a>>,
}

/// A key of the shared context that differs.
#[derive(Debug, Serialize, ToSchema)]
struct ContextDifference<'a> {
    key: &'a str,
    /// Absent: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    from: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    to: Option<&'a RawValue>,
}

/// A subtask that is in another state. One that runs again is another subtask, with the same key.
#[derive(Debug, Serialize, ToSchema)]
struct SubtaskDifference<'a> {
    subtask_id: &'a str,
    key: &'a str,
    /// null: it was not there.
    from: Option<SubtaskStateWord>,
    to: Option<SubtaskStateWord>,
}

impl<'a> Difference<'a> {
    pub(crate) fn new(found: &'a engine::Difference) -> Difference<'a> {
        let context = found.context.iter().map(|(key, (from, to))| ContextDifference {
            key,
            from: from.as_deref().map(raw_or_null),
            to: to.as_deref().map(raw_or_null),
        });
        let subtasks = found.subtasks.iter().map(|sub| SubtaskDifference {
            subtask_id: &sub.id,
            key: &sub.key,
            from: sub.from.map(Shown),
            to: sub.to.map(Shown),
        });
        Difference { context: context.collect(), subtasks: subtasks.collect() }
    }
}
