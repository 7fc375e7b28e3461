//! Stored workflows: `/v1/workflows`.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{Body, Caller, NoParams, Params, WorkflowPath},
    json,
    openapi::{BodyErrors, Conflict, Failures, Unknown, workflow::*},
};
use crate::{
    engine::Engine,
    view::Stored,
    wire::{
        answer::{Diff, ErrorBody, Task, Workflow, WorkflowDeleted, WorkflowVersions, Workflows},
        page::Names,
        workflow::json as body,
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(workflow, delete))
        .routes(routes!(update, versions))
        .routes(routes!(diff))
        .routes(routes!(roll_back))
        .routes(routes!(run))
}

/// Store a workflow: a plan with parameters, under a name.
///
/// The same content as the newest version changes nothing. Where the name was deleted, its versions go on counting.
#[utoipa::path(
    post,
    path = "/v1/workflows",
    operation_id = "create_workflow",
    tag = "workflows",
    request_body = CreateWorkflowBody,
    responses(
        (status = 201, description = "Created", body = Workflow),
        (status = 200, description = "Exists already, and says the same", body = Workflow),
        (status = 409, description = "Exists, and says something else", body = ErrorBody),
        BodyErrors,
        Failures,
    )
)]
async fn create(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let stored = engine.create_workflow(tenant, body::creation(body.json()?)?).await?;
    Ok(answer(&stored))
}

/// List stored workflows by name, each in its newest version.
#[utoipa::path(
    get,
    path = "/v1/workflows",
    operation_id = "list_workflows",
    tag = "workflows",
    params(
        ("page_size" = Option<u32>, Query, description = "1 to 500; 50 unless given", minimum = 1, maximum = 500),
        ("page_token" = Option<String>, Query, description = "`next_page_token` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Workflows), Failures)
)]
async fn list(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    Params(query): Params,
) -> Result<Response, Error> {
    let (after, limit) = query.names(Names::Workflows)?;
    let page = engine.workflows(tenant, &after, limit).await?;
    Ok(json(StatusCode::OK, &Workflows::new(&page)))
}

/// A version of a stored workflow.
#[utoipa::path(
    get,
    path = "/v1/workflows/{name}",
    operation_id = "workflow",
    tag = "workflows",
    params(
        WorkflowPath,
        ("version" = Option<u32>, Query, description = "The newest unless given", minimum = 1),
    ),
    responses((status = 200, description = "The version", body = Workflow), Unknown, Failures)
)]
async fn workflow(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    Params(query): Params,
) -> Result<Response, Error> {
    let view = engine.workflow(tenant, &name, query.workflow()?).await?;
    Ok(json(StatusCode::OK, &Workflow::new(&view)))
}

/// Start nothing from a workflow any more. Tasks that run go on.
#[utoipa::path(
    delete,
    path = "/v1/workflows/{name}",
    operation_id = "delete_workflow",
    tag = "workflows",
    params(WorkflowPath),
    responses((status = 200, description = "Deleted", body = WorkflowDeleted), Unknown, Failures)
)]
async fn delete(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    _: NoParams,
) -> Result<Response, Error> {
    let version = engine.delete_workflow(tenant, &name).await?;
    Ok(json(StatusCode::OK, &WorkflowDeleted { name: &name, version }))
}

/// Add a version.
///
/// The same content as the newest version changes nothing. Tasks that run stay on the version they began with.
#[utoipa::path(
    post,
    path = "/v1/workflows/{name}/versions",
    operation_id = "update_workflow",
    tag = "workflows",
    params(WorkflowPath),
    request_body = UpdateWorkflowBody,
    responses(
        (status = 201, description = "Added", body = Workflow),
        (status = 200, description = "The newest version says the same", body = Workflow),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn update(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let stored = engine.update_workflow(tenant, body::update(name, body.json()?)?).await?;
    Ok(answer(&stored))
}

/// List the versions of a workflow, newest first.
#[utoipa::path(
    get,
    path = "/v1/workflows/{name}/versions",
    operation_id = "workflow_versions",
    tag = "workflows",
    params(
        WorkflowPath,
        ("page_size" = Option<u32>, Query, description = "1 to 500; 50 unless given", minimum = 1, maximum = 500),
        ("page_token" = Option<String>, Query, description = "`next_page_token` of the page before"),
    ),
    responses((status = 200, description = "A page", body = WorkflowVersions), Unknown, Failures)
)]
async fn versions(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    Params(query): Params,
) -> Result<Response, Error> {
    let (before, limit) = query.workflow_versions()?;
    let page = engine.workflow_versions(tenant, &name, before, limit).await?;
    Ok(json(StatusCode::OK, &WorkflowVersions::new(&page)))
}

/// How two versions differ, line by line.
#[utoipa::path(
    get,
    path = "/v1/workflows/{name}/diff",
    operation_id = "diff_workflow",
    tag = "workflows",
    params(
        WorkflowPath,
        ("from" = Option<u32>, Query, description = "The version before `to` unless given", minimum = 1),
        ("to" = Option<u32>, Query, description = "The newest unless given", minimum = 1),
    ),
    responses((status = 200, description = "What has changed", body = Diff), Unknown, Failures)
)]
async fn diff(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    Params(query): Params,
) -> Result<Response, Error> {
    let (from, to) = query.workflow_diff()?;
    let found = engine.diff_workflow(tenant, &name, from, to).await?;
    Ok(json(StatusCode::OK, &Diff::new(&name, &found)))
}

/// Go back to an older version: its content becomes the newest version.
///
/// History stays linear: after going back from 3 to 1 there is a version 4 that says what 1 says.
#[utoipa::path(
    post,
    path = "/v1/workflows/{name}/rollback",
    operation_id = "roll_back_workflow",
    tag = "workflows",
    params(WorkflowPath),
    request_body = RollBackWorkflowBody,
    responses(
        (status = 201, description = "Added", body = Workflow),
        (status = 200, description = "The newest version says that already", body = Workflow),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn roll_back(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let stored = engine.roll_back_workflow(tenant, &name, body::rollback(body.json()?)?).await?;
    Ok(answer(&stored))
}

/// Submit a task with the plan of a workflow.
///
/// Idempotent by `task_id`, as `/orchestrate` is: the same request again finds the same task, also when there is a newer
/// version by then.
#[utoipa::path(
    post,
    path = "/v1/workflows/{name}/run",
    operation_id = "run_workflow",
    tag = "workflows",
    params(WorkflowPath),
    request_body = RunWorkflowBody,
    responses(
        (status = 201, description = "Planned, or runs", body = Task),
        (status = 200, description = "Exists already, from the same request", body = Task),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn run(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    WorkflowPath(name): WorkflowPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let submitted = engine.start(body::run(tenant, name, body.json()?)?).await?;
    let status = if submitted.existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &Task::new(&submitted.view, false)))
}

fn answer(stored: &Stored) -> Response {
    let status = if stored.existed { StatusCode::OK } else { StatusCode::CREATED };
    json(status, &Workflow::new(&stored.view))
}
