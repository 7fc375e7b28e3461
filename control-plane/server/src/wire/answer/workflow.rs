//! Stored workflows, their versions, and how two of them differ.

use downbeat_core::command;
use downbeat_store::WorkflowVersion;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Moment;
use crate::{
    view::{WorkflowDiff, WorkflowPage, WorkflowView},
    wire::page::{self, Names},
    workflow::Definition,
};

/// A version of a stored workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflow<'a> {
    #[serde(flatten)]
    line: WorkflowLine<'a>,
    /// JSON Schema of an object whose properties are the parameters; null: there are none.
    #[schema(value_type = Option<Object>)]
    parameters: Option<&'a RawValue>,
    /// Names that inputs may refer to.
    secrets: &'a [String],
    /// As it was written, with references to parameters and secrets.
    #[schema(value_type = Object)]
    plan: &'a RawValue,
}

/// A version of a stored workflow in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowLine<'a> {
    #[schema(example = "release")]
    name: &'a str,
    /// From 1, without gaps.
    version: u32,
    description: &'a str,
    /// The older version whose content this is, where somebody went back to it.
    restores: Option<u32>,
    created_at: Moment,
    /// Who created it; empty: not said.
    by: &'a str,
}

/// A page of stored workflows by name, each in its newest version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflows<'a> {
    workflows: Vec<WorkflowLine<'a>>,
    /// Give it as `page_token` to get the next page; null at the end.
    next_page_token: Option<String>,
}

/// A page of the versions of one workflow, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowVersions<'a> {
    versions: Vec<WorkflowLine<'a>>,
    /// Give it as `page_token` to get the next page; null at the end.
    next_page_token: Option<String>,
}

/// How two versions differ.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Diff<'a> {
    pub(crate) name: &'a str,
    from: u32,
    to: u32,
    /// Unified, of the canonical JSON; empty: they say the same.
    diff: &'a str,
}

/// What nothing is started from any more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDeleted<'a> {
    pub(crate) name: &'a str,
    /// The last version. Created again, the workflow goes on counting.
    pub(crate) version: u32,
}

/// The version of a stored workflow that a task was started from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowAt<'a> {
    name: &'a str,
    version: u32,
}

impl<'a> Workflow<'a> {
    pub(crate) fn new(view: &'a WorkflowView) -> Workflow<'a> {
        let Definition { parameters, secrets, plan } = &view.definition;
        let line = WorkflowLine::new(&view.version);
        Workflow { line, parameters: parameters.as_deref(), secrets, plan }
    }
}

impl<'a> WorkflowLine<'a> {
    fn new(version: &'a WorkflowVersion) -> WorkflowLine<'a> {
        WorkflowLine {
            name: &version.name,
            version: version.version,
            description: &version.description,
            restores: version.restores,
            created_at: Moment(version.created_at),
            by: &version.created_by,
        }
    }
}

impl<'a> Workflows<'a> {
    pub(crate) fn new(found: &'a WorkflowPage) -> Workflows<'a> {
        Workflows {
            workflows: found.versions.iter().map(WorkflowLine::new).collect(),
            next_page_token: found.next().map(|last| page::name_token(Names::Workflows, &last.name)),
        }
    }
}

impl<'a> WorkflowVersions<'a> {
    pub(crate) fn new(found: &'a WorkflowPage) -> WorkflowVersions<'a> {
        WorkflowVersions {
            versions: found.versions.iter().map(WorkflowLine::new).collect(),
            next_page_token: found.next().map(|last| page::version_token(last.version)),
        }
    }
}

impl<'a> Diff<'a> {
    pub(crate) fn new(name: &'a str, found: &'a WorkflowDiff) -> Diff<'a> {
        Diff { name, from: found.from, to: found.to, diff: &found.diff }
    }
}

impl<'a> WorkflowAt<'a> {
    pub(crate) fn new(at: &'a command::WorkflowAt) -> WorkflowAt<'a> {
        WorkflowAt { name: &at.name, version: at.version }
    }
}
