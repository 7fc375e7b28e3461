//! Submit, execute and follow tasks.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{Body, Caller, NoParams, Params, SubtaskPath, TaskPath},
    json,
    openapi::{
        BodyErrors, CancelBody, Conflict, ExecuteBody, ExecuteFailures, Failures, SubmitBody, Unknown,
    },
};
use crate::{
    engine::Engine,
    wire::{
        answer::{ErrorBody, Events, Output, Shown, Task, TaskChanged, Tasks},
        body,
        query::ShowTask,
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new()
        .routes(routes!(orchestrate))
        .routes(routes!(execute))
        .routes(routes!(list))
        .routes(routes!(task))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(events))
        .routes(routes!(output))
}

/// Plan a task.
///
/// Idempotent by `task_id`: the same request again answers 200 with the existing plan and its present status.
#[utoipa::path(
    post,
    path = "/orchestrate",
    tag = "tasks",
    request_body = SubmitBody,
    responses(
        (status = 201, description = "Planned", body = Task),
        (status = 200, description = "Exists already, from the same request", body = Task),
        (status = 409, description = "The `task_id` is taken by a different request", body = ErrorBody),
        BodyErrors,
        Failures,
    )
)]
async fn orchestrate(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let submission = body::submission(tenant, body.json()?)?;
    let submitted = engine.submit(submission).await?;
    let status = if submitted.existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &Task::new(&submitted.view, false)))
}

/// Start a planned task, resume a paused one, or let held subtasks go on.
#[utoipa::path(
    post,
    path = "/execute/{task_id}",
    tag = "tasks",
    params(TaskPath),
    request_body = Option<ExecuteBody>,
    responses(
        (status = 200, description = "Runs", body = TaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        ExecuteFailures,
    )
)]
async fn execute(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let execution = body::execution(body.json_or_empty()?)?;
    let executed = engine.execute(tenant, &task_id, execution.mode, &execution.checkpoints).await?;
    if !executed.blocked.is_empty() {
        return Err(Error::NoCapableAgent(Box::new(executed)));
    }
    Ok(json(StatusCode::OK, &TaskChanged { task_id: &task_id, status: Shown(executed.status) }))
}

/// List tasks, newest first.
#[utoipa::path(
    get,
    path = "/tasks",
    tag = "tasks",
    params(
        ("status" = Option<String>, Query, description = "Statuses, separated by commas", example = "running,paused"),
        ("prefix" = Option<String>, Query, description = "Beginning of the `task_id`"),
        ("page_size" = Option<u32>, Query, description = "1 to 500; 50 unless given", minimum = 1, maximum = 500),
        ("page_token" = Option<String>, Query, description = "`next_page_token` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Tasks), Failures)
)]
async fn list(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    Params(query): Params,
) -> Result<Response, Error> {
    let page = engine.list(&query.tasks(tenant)?).await?;
    Ok(json(StatusCode::OK, &Tasks::new(&page)))
}

/// A task with its subtasks, attempts and outputs.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}",
    tag = "tasks",
    params(
        TaskPath,
        ("outputs" = Option<bool>, Query, description = "`false` leaves outputs and artifacts out"),
        ("replaced" = Option<bool>, Query, description = "`true` also shows what ran again since"),
    ),
    responses((status = 200, description = "The task", body = Task), Unknown, Failures)
)]
async fn task(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    Params(query): Params,
) -> Result<Response, Error> {
    let ShowTask { omit_outputs: omit, replaced } = query.task()?;
    let mut view = engine.task(tenant, &task_id, omit).await?;
    view.with_replaced = replaced;
    Ok(json(StatusCode::OK, &Task::new(&view, !omit)))
}

/// End a task for good.
///
/// Every unfinished subtask becomes `cancelled`; workers that have one are told. With `compensate`, what was completed
/// and says how is undone before: until then the task is `running`, or waits for people.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/cancel",
    tag = "tasks",
    params(TaskPath),
    request_body = Option<CancelBody>,
    responses(
        (status = 200, description = "Cancelled, or about to be", body = TaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn cancel(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let (reason, compensate) = body::cancel(body.json_or_empty()?)?;
    let status = engine.cancel(tenant, &task_id, reason, compensate).await?;
    Ok(json(StatusCode::OK, &TaskChanged { task_id: &task_id, status: Shown(status) }))
}

/// Start nothing new until the task is executed again. What runs may finish.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/pause",
    tag = "tasks",
    params(TaskPath),
    responses(
        (status = 200, description = "Paused", body = TaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn pause(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    body::nothing(body.json_or_empty()?)?;
    let status = engine.pause(tenant, &task_id).await?;
    Ok(json(StatusCode::OK, &TaskChanged { task_id: &task_id, status: Shown(status) }))
}

/// A page of a task's numbered history.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}/events",
    tag = "tasks",
    params(
        TaskPath,
        ("after" = Option<u64>, Query, description = "Number of the last event seen; from the first unless given"),
        ("page_size" = Option<u32>, Query, description = "1 to 1,000; 200 unless given", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page", body = Events), Unknown, Failures)
)]
async fn events(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    TaskPath(task_id): TaskPath,
    Params(query): Params,
) -> Result<Response, Error> {
    let query = query.events()?;
    let page = engine.events(tenant, &task_id, query.after, query.limit).await?;
    Ok(json(StatusCode::OK, &Events::new(&page, query.limit)))
}

/// The whole output of one subtask.
#[utoipa::path(
    get,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/output",
    tag = "tasks",
    params(SubtaskPath),
    responses((status = 200, description = "The output", body = Output), Unknown, Failures)
)]
async fn output(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SubtaskPath { task, subtask }: SubtaskPath,
    _: NoParams,
) -> Result<Response, Error> {
    let delivered = engine.output(tenant, &task, &subtask).await?;
    Ok(json(StatusCode::OK, &Output::new(&delivered)))
}
