//! Views, printed as the JSON answers of REST. Their schemas are part of the OpenAPI document.
//!
//! Documents (metadata, inputs, outputs) are embedded as the texts they are.

mod again;
mod agent;
mod context;
mod error;
mod list;
mod schedule;
mod task;
mod workflow;

use std::borrow::Cow;

use downbeat_core::{
    draft::{OnFailure, OnLimit, OnTimeout, RunIf, Then},
    event,
    session::SessionState,
    subtask::{Outcome, SubtaskState},
    task::{Mode, Priority, TaskStatus},
    time::Time,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

pub(crate) use self::{
    again::{Linted, Rerun, Signalled, Snapshot, Snapshots},
    agent::{Agent, Agents, Worker, Workers},
    context::{Context, ContextEntry, ContextWritten, Difference},
    error::{Blocked, ErrorBody},
    list::{Events, Output, Routed, SubtaskChanged, TaskChanged, Tasks},
    schedule::{Backfilled, DueTimes, OverlapWord, Schedule, Schedules, Triggered, task as scheduled_task},
    task::Task,
    workflow::{Diff, Workflow, WorkflowAt, WorkflowDeleted, WorkflowVersions, Workflows},
};
use super::{kind::Kind, times, words::Word};
use crate::view::Health;

/// A value of a closed set, printed as its word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<T>(pub(crate) T);

pub(crate) type PriorityWord = Shown<Priority>;
pub(crate) type ModeWord = Shown<Mode>;
pub(crate) type TaskStatusWord = Shown<TaskStatus>;
pub(crate) type SubtaskStateWord = Shown<SubtaskState>;
pub(crate) type KindWord = Shown<Kind>;
pub(crate) type RunIfWord = Shown<RunIf>;
pub(crate) type ThenWord = Shown<Then>;
pub(crate) type OnFailureWord = Shown<OnFailure>;
pub(crate) type OnTimeoutWord = Shown<OnTimeout>;
pub(crate) type OnLimitWord = Shown<OnLimit>;
pub(crate) type OutcomeWord = Shown<Outcome>;
pub(crate) type HealthWord = Shown<Health>;
pub(crate) type WorkerStateWord = Shown<SessionState>;

impl<T: Word> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.word())
    }
}

impl<T: Word> PartialSchema for Shown<T> {
    fn schema() -> RefOr<Schema> {
        let words = T::ALL.iter().map(|value| value.word());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl<T: Word> ToSchema for Shown<T> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(T::NAME)
    }
}

/// A time, printed as RFC 3339.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) Time);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&times::text(self.0))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Moment {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Time")
    }
}

/// An output kept by reference.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Artifact<'a> {
    name: &'a str,
    uri: &'a str,
    media_type: &'a str,
    size_bytes: u64,
    /// `sha256:<hex>` or `blake3:<hex>`; empty when unknown.
    digest: &'a str,
}

impl<'a> Artifact<'a> {
    fn new(artifact: &'a event::Artifact) -> Artifact<'a> {
        let event::Artifact { name, uri, media_type, size_bytes, digest } = artifact;
        Artifact { name, uri, media_type, size_bytes: *size_bytes, digest }
    }
}

/// Why an attempt failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptError<'a> {
    #[schema(example = "SLA_TIMEOUT")]
    code: &'a str,
    message: &'a str,
}

impl<'a> AttemptError<'a> {
    fn new(error: &'a event::AttemptError) -> AttemptError<'a> {
        AttemptError { code: &error.code, message: &error.message }
    }
}

/// A stored JSON text; an empty one is null.
fn raw_or_null(text: &[u8]) -> &RawValue {
    serde_json::from_slice(text).unwrap_or(RawValue::NULL)
}
