//! Signals, and doing it again: rerun, snapshots, restore, fork; and what is wrong with a plan.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{Body, Caller, NoParams, SignalPath, TaskPath},
    json,
    openapi::{
        BodyErrors, Conflict, Failures, ForkBody, LintBody, RerunBody, RestoreBody, SignalBody, SnapshotBody,
        Unknown,
    },
};
use crate::{
    engine::Engine,
    wire::{
        answer::{Linted, Rerun, Shown, Signalled, Snapshot, Snapshots, Task},
        body,
        past::{self, Fork},
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new()
        .routes(routes!(signal))
        .routes(routes!(rerun))
        .routes(routes!(snapshot, snapshots))
        .routes(routes!(restore))
        .routes(routes!(fork))
        .routes(routes!(lint))
}

/// Tell a task that something happened which one of its subtasks may wait for.
///
/// A signal that nobody waits for yet is kept.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/signals/{name}",
    tag = "tasks",
    params(SignalPath),
    request_body = Option<SignalBody>,
    responses(
        (status = 200, description = "Taken, or kept", body = Signalled),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn signal(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SignalPath { task, name }: SignalPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let signal = body::signal(&name, body.json_or_empty()?)?;
    let taken = engine.signal(tenant, &task, signal).await?;
    Ok(json(StatusCode::OK, &Signalled { task_id: &task, taken }))
}

/// Run subtasks again, and all that depends on them, also of a task that has ended.
///
/// What others delivered is used again; what these did before stays in the history.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/rerun",
    tag = "tasks",
    params(TaskPath),
    request_body = RerunBody,
    responses(
        (status = 200, description = "Runs again", body = Rerun),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn rerun(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let request = body::rerun(body.json()?)?;
    let (status, subtasks) = engine.rerun(tenant, &task_id, request).await?;
    Ok(json(StatusCode::OK, &Rerun { task_id: &task_id, status: Shown(status), subtasks }))
}

/// Name the present state of a task, to come back to it.
///
/// The control plane takes one before each approval too, named `before KEY`.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/snapshots",
    tag = "tasks",
    params(TaskPath),
    request_body = SnapshotBody,
    responses(
        (status = 201, description = "Taken", body = Snapshot),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn snapshot(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let (name, by) = past::snapshot_body(body.json()?)?;
    let taken = engine.snapshot(tenant, &task_id, &name, by).await?;
    Ok(json(StatusCode::CREATED, &Snapshot::new(&taken)))
}

/// A task's snapshots, oldest first.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}/snapshots",
    tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "All of them", body = Snapshots), Unknown, Failures)
)]
async fn snapshots(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
) -> Result<Response, Error> {
    let kept = engine.snapshots(tenant, &task_id).await?;
    Ok(json(StatusCode::OK, &Snapshots::new(&kept)))
}

/// Go back to a snapshot: what was completed then keeps its output, all else runs again.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/restore",
    tag = "tasks",
    params(TaskPath),
    request_body = RestoreBody,
    responses(
        (status = 200, description = "Goes on from there", body = Rerun),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn restore(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let (snapshot, by) = past::restoration_body(body.json()?)?;
    let (status, subtasks) = engine.restore(tenant, &task_id, &snapshot, by).await?;
    Ok(json(StatusCode::OK, &Rerun { task_id: &task_id, status: Shown(status), subtasks }))
}

/// A new task that goes on from a point of this one's history: what was completed by then is taken over.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/fork",
    tag = "tasks",
    params(TaskPath),
    request_body = ForkBody,
    responses(
        (status = 201, description = "Planned, or runs", body = Task),
        (status = 200, description = "Exists already, from the same point", body = Task),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn fork(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(old): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let Fork { task_id, point, execute } = past::fork_body(body.json()?)?;
    let forked = engine.fork(tenant, &old, &task_id, &point, execute).await?;
    let status = if forked.existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &Task::new(&forked.view, false)))
}

/// What is wrong with a plan, and what looks like a mistake, without submitting it.
#[utoipa::path(
    post,
    path = "/plans/lint",
    tag = "tasks",
    request_body = LintBody,
    responses((status = 200, description = "Errors and warnings", body = Linted), BodyErrors, Failures)
)]
async fn lint(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let found = engine.lint(tenant, body::lint(body.json()?)).await?;
    Ok(json(StatusCode::OK, &Linted::new(&found)))
}
