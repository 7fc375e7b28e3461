//! What a person does with one subtask.

use axum::{extract::State, http::StatusCode, response::Response};
use downbeat_core::command::Action;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{Body, Caller, NoParams, SubtaskPath},
    json,
    openapi::{
        BodyErrors, ByBody, CompleteBody, Conflict, DecidedBody, DecisionBody, Failures, Forbidden,
        RouteBody, Unknown,
    },
};
use crate::{
    engine::Engine,
    wire::{
        answer::{Routed, Shown, SubtaskChanged},
        body::{self, Decided},
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new()
        .routes(routes!(retry))
        .routes(routes!(skip))
        .routes(routes!(fail))
        .routes(routes!(complete))
        .routes(routes!(release))
        .routes(routes!(route))
        .routes(routes!(decide))
}

async fn act(
    engine: &Engine,
    Caller(tenant): Caller,
    path: SubtaskPath,
    action: Action,
    by: String,
) -> Result<Response, Error> {
    let state = engine.review(tenant, &path.task, &path.subtask, action, by).await?;
    Ok(json(StatusCode::OK, &SubtaskChanged { task_id: &path.task, state: Shown(state) }))
}

/// Give a subtask that needs review another round of attempts.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/retry",
    tag = "review",
    params(SubtaskPath),
    request_body = Option<ByBody>,
    responses(
        (status = 200, description = "In line again", body = SubtaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn retry(
    State(engine): State<Engine>,
    caller: Caller,
    path: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let by = body::by(body.json_or_empty()?)?;
    act(&engine, caller, path, Action::Retry, by).await
}

/// Go on without a subtask: what depends on it sees null.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/skip",
    tag = "review",
    params(SubtaskPath),
    request_body = Option<DecidedBody>,
    responses(
        (status = 200, description = "Skipped", body = SubtaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn skip(
    State(engine): State<Engine>,
    caller: Caller,
    path: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let Decided { reason, by } = body::decided(body.json_or_empty()?)?;
    act(&engine, caller, path, Action::Skip { reason }, by).await
}

/// Give up a subtask: what depends on it is skipped, and the task ends as failed.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/fail",
    tag = "review",
    params(SubtaskPath),
    request_body = Option<DecidedBody>,
    responses(
        (status = 200, description = "Failed", body = SubtaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn fail(
    State(engine): State<Engine>,
    caller: Caller,
    path: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let Decided { reason, by } = body::decided(body.json_or_empty()?)?;
    act(&engine, caller, path, Action::Fail { reason }, by).await
}

/// Supply a subtask's output by hand.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/complete",
    tag = "review",
    params(SubtaskPath),
    request_body = CompleteBody,
    responses(
        (status = 200, description = "Completed", body = SubtaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn complete(
    State(engine): State<Engine>,
    caller: Caller,
    path: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let (output, by) = body::completion(body.json()?)?;
    act(&engine, caller, path, Action::Complete { output }, by).await
}

/// Let a held subtask (manual mode, checkpoint) go on.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/release",
    tag = "review",
    params(SubtaskPath),
    request_body = Option<ByBody>,
    responses(
        (status = 200, description = "Goes on", body = SubtaskChanged),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn release(
    State(engine): State<Engine>,
    caller: Caller,
    path: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let by = body::by(body.json_or_empty()?)?;
    act(&engine, caller, path, Action::Release, by).await
}

/// Send a subtask that nobody has to another agent. The agent's capabilities are not checked.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/route",
    tag = "review",
    params(SubtaskPath),
    request_body = RouteBody,
    responses(
        (status = 200, description = "Sent there", body = Routed),
        Unknown,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn route(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SubtaskPath { task, subtask }: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let agent = body::agent(body.json()?)?;
    let subtask_id = engine.route_subtask(tenant, &task, &subtask, &agent).await?;
    Ok(json(StatusCode::OK, &Routed { task_id: &task, subtask_id: &subtask_id, agent: &agent }))
}

/// Choose an option of an approval.
///
/// The digest says what was looked at: where that has changed since, nothing is decided. The same person may choose again
/// until it is decided; the newest counts.
#[utoipa::path(
    post,
    path = "/tasks/{task_id}/subtasks/{subtask_id}/decision",
    tag = "review",
    params(SubtaskPath),
    request_body = DecisionBody,
    responses(
        (status = 200, description = "Counted; `waiting` while more people have to choose the same", body = SubtaskChanged),
        Unknown,
        Forbidden,
        Conflict,
        BodyErrors,
        Failures,
    )
)]
async fn decide(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SubtaskPath { task, subtask }: SubtaskPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let decision = body::decision(body.json()?)?;
    let state = engine.decide_subtask(tenant, &task, &subtask, decision).await?;
    Ok(json(StatusCode::OK, &SubtaskChanged { task_id: &task, state: Shown(state) }))
}
