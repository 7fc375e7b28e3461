//! The messages of `WorkflowService`, both ways.

use bytes::Bytes;
use downbeat_core::id::TenantNo;
use downbeat_proto::v1 as pb;
use downbeat_store::WorkflowVersion;
use serde_json::value::RawValue;

use super::{Form, NewVersion, Rollback, check};
use crate::{
    engine::Start,
    failure::Failure,
    view::{WorkflowPage, WorkflowView},
    wire::{
        check::{by, choice, name},
        json,
        page::{self, Names},
        problems::Problems,
        request::{deadline, document},
    },
    workflow::Definition,
};

/// # Errors
/// `Invalid` with every problem.
pub fn creation(request: pb::CreateWorkflowRequest) -> Result<NewVersion, Failure> {
    let pb::CreateWorkflowRequest { name, definition, by } = request;
    let mut problems = Problems::default();
    let form = form(name, definition, 0, by, &mut problems);
    check(form, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn update(request: pb::UpdateWorkflowRequest) -> Result<NewVersion, Failure> {
    let pb::UpdateWorkflowRequest { name, definition, expected_version, by } = request;
    let mut problems = Problems::default();
    let form = form(name, definition, expected_version, by, &mut problems);
    check(form, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn rollback(request: pb::RollBackWorkflowRequest) -> Result<Rollback, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| name("name", &request.name, found));
    if request.version == 0 {
        problems.add("version", "is required");
    }
    let by = by(request.by, &mut problems);
    let expected = given(request.expected_version);
    problems.finish(Rollback { version: request.version, expected, by })
}

/// # Errors
/// `Invalid` with every problem.
pub fn run(tenant: TenantNo, request: pb::RunWorkflowRequest) -> Result<Start, Failure> {
    let mut problems = Problems::default();
    let mut text =
        |field: &str, bytes: &[u8]| document(field, bytes, &mut problems).map(|document| document.text);
    let (parameters, metadata) =
        (text("parameters", &request.parameters), text("metadata", &request.metadata));
    let start = Start {
        tenant,
        workflow: request.name,
        version: given(request.version),
        task_id: request.task_id,
        title: request.title,
        parameters,
        metadata,
        priority: choice("priority", request.priority, &mut problems).unwrap_or_default(),
        deadline: deadline(request.deadline_ms, &mut problems),
        execute: request.execute,
    };
    problems.finish(start)
}

/// A workflow's name.
///
/// # Errors
/// `Invalid` when it is none.
pub fn named(workflow: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| name("name", workflow, found));
    problems.finish(())
}

/// A version, where 0 stands for the one that is meant where none is said.
pub fn given(version: u32) -> Option<u32> {
    (version > 0).then_some(version)
}

/// The name after which a page of workflows begins, and its size.
///
/// # Errors
/// `Invalid` with every problem.
pub fn workflows(request: &pb::ListWorkflowsRequest) -> Result<(String, u32), Failure> {
    let mut problems = Problems::default();
    let limit = page::size(request.page_size, page::TASKS_DEFAULT, page::TASKS_MAX, &mut problems);
    let after = page::after_name(Names::Workflows, &request.page_token, &mut problems);
    problems.finish((after, limit))
}

/// The version before which a page begins, and its size.
///
/// # Errors
/// `Invalid` with every problem.
pub fn versions(request: &pb::ListWorkflowVersionsRequest) -> Result<(u32, u32), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| name("name", &request.name, found));
    let limit = page::size(request.page_size, page::TASKS_DEFAULT, page::TASKS_MAX, &mut problems);
    let before = page::before_version(&request.page_token, &mut problems);
    problems.finish((before, limit))
}

pub(crate) fn workflow(view: &WorkflowView) -> pb::Workflow {
    let Definition { parameters, secrets, plan } = &view.definition;
    let definition = pb::WorkflowDefinition {
        description: view.version.description.clone(),
        parameters: parameters.as_deref().map(text).unwrap_or_default(),
        secrets: secrets.clone(),
        plan: text(plan),
    };
    pb::Workflow { definition: Some(definition), ..line(&view.version) }
}

pub(crate) fn workflows_page(found: &WorkflowPage) -> pb::ListWorkflowsResponse {
    pb::ListWorkflowsResponse {
        workflows: found.versions.iter().map(line).collect(),
        next_page_token: found
            .next()
            .map(|last| page::name_token(Names::Workflows, &last.name))
            .unwrap_or_default(),
    }
}

pub(crate) fn versions_page(found: &WorkflowPage) -> pb::ListWorkflowVersionsResponse {
    pb::ListWorkflowVersionsResponse {
        versions: found.versions.iter().map(line).collect(),
        next_page_token: found.next().map(|last| page::version_token(last.version)).unwrap_or_default(),
    }
}

fn line(version: &WorkflowVersion) -> pb::Workflow {
    let definition =
        pb::WorkflowDefinition { description: version.description.clone(), ..Default::default() };
    pb::Workflow {
        name: version.name.clone(),
        version: version.version,
        restores: version.restores.unwrap_or(0),
        created_at_ms: version.created_at.0,
        by: version.created_by.clone(),
        definition: Some(definition),
    }
}

fn form(
    name: String,
    definition: Option<pb::WorkflowDefinition>,
    expected: u32,
    by: String,
    problems: &mut Problems,
) -> Form {
    let pb::WorkflowDefinition { description, parameters, secrets, plan } = definition.unwrap_or_default();
    Form {
        name,
        description,
        parameters: document("parameters", &parameters, problems),
        secrets,
        plan: if plan.is_empty() { None } else { json::read("plan", &plan, problems) },
        expected: given(expected),
        by,
    }
}

fn text(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}
