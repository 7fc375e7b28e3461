//! A task's shared context, and what changed between two snapshots.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{Body, Caller, ContextPath, NoParams, Params, SnapshotPath, TaskPath},
    json,
    openapi::{BodyErrors, Conflict, Failures, PutContextBody, Unknown},
};
use crate::{
    engine::{ContextChange, Engine},
    wire::{
        answer::{Context, ContextEntry, ContextWritten, Difference},
        context,
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete)).routes(routes!(diff))
}

/// A task's shared context, by key.
///
/// What the request gave as `metadata.context` is there from the start, at version 1.
#[utoipa::path(
    get,
    operation_id = "list_context",
    path = "/tasks/{task_id}/context",
    tag = "context",
    params(TaskPath),
    responses((status = 200, description = "All keys", body = Context), Unknown, Failures)
)]
async fn list(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task): TaskPath,
    _: NoParams,
) -> Result<Response, Error> {
    let entries = engine.context(tenant, &task, None).await?;
    Ok(json(StatusCode::OK, &Context::new(&entries)))
}

/// One key of a task's shared context.
#[utoipa::path(
    get,
    operation_id = "get_context",
    path = "/tasks/{task_id}/context/{key}",
    tag = "context",
    params(ContextPath),
    responses((status = 200, description = "Its value and version", body = ContextEntry), Unknown, Failures)
)]
async fn get(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    ContextPath { task, key }: ContextPath,
    _: NoParams,
) -> Result<Response, Error> {
    let entries = engine.context(tenant, &task, Some(&key)).await?;
    Ok(json(StatusCode::OK, &entries.first().map(ContextEntry::new)))
}

/// Set a key of a task's shared context; with `expected_version` only where it has that version.
#[utoipa::path(
    put,
    operation_id = "put_context",
    path = "/tasks/{task_id}/context/{key}",
    tag = "context",
    params(ContextPath),
    request_body = PutContextBody,
    responses(
        (status = 200, description = "Written", body = ContextWritten),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn put(
    State(engine): State<Engine>,
    caller: Caller,
    ContextPath { task, key }: ContextPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let change = context::put_body(key, body.json()?)?;
    written(&engine, caller, &task, change).await
}

/// Delete a key of a task's shared context. Its version goes on counting, so that none comes twice.
#[utoipa::path(
    delete,
    operation_id = "delete_context",
    path = "/tasks/{task_id}/context/{key}",
    tag = "context",
    params(
        ContextPath,
        ("expected_version" = Option<u64>, Query, description = "Only where it has this version"),
        ("by" = Option<String>, Query, description = "Who deletes it; kept in the history"),
    ),
    responses(
        (status = 200, description = "Deleted", body = ContextWritten),
        Unknown,
        Conflict,
        Failures,
    )
)]
async fn delete(
    State(engine): State<Engine>,
    caller: Caller,
    ContextPath { task, key }: ContextPath,
    Params(query): Params,
) -> Result<Response, Error> {
    written(&engine, caller, &task, query.deletion(key)?).await
}

async fn written(
    engine: &Engine,
    Caller(tenant): Caller,
    task: &str,
    change: ContextChange,
) -> Result<Response, Error> {
    let key = change.key.clone();
    let version = engine.write_context(tenant, task, change).await?;
    Ok(json(StatusCode::OK, &ContextWritten { key: &key, version }))
}

/// What has changed since a snapshot: the shared context, and states of subtasks.
#[utoipa::path(
    get,
    operation_id = "diff_snapshots",
    path = "/tasks/{task_id}/snapshots/{name}/diff",
    tag = "tasks",
    params(
        SnapshotPath,
        ("to" = Option<String>, Query, description = "Another snapshot; absent: the present state"),
    ),
    responses((status = 200, description = "What differs", body = Difference), Unknown, Failures)
)]
async fn diff(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SnapshotPath { task, name }: SnapshotPath,
    Params(query): Params,
) -> Result<Response, Error> {
    let to = query.to()?;
    context::diff(&task, &name, &to)?;
    let found = engine.diff(tenant, &task, &name, Some(to.as_str()).filter(|to| !to.is_empty())).await?;
    Ok(json(StatusCode::OK, &Difference::new(&found)))
}
