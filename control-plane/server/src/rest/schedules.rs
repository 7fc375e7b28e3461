//! Schedules: what starts tasks by time.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{Body, Caller, NoParams, Params, SchedulePath},
    json,
    openapi::{
        BodyErrors, Conflict, DecidedBody, Failures, Unknown,
        schedules::{BackfillBody, ChangedBody, PreviewBody, ScheduleBody, TriggerBody},
    },
};
use crate::{
    engine::Engine,
    wire::{
        answer::{Backfilled, DueTimes, ErrorBody, Schedule, Schedules, Triggered},
        body::{self, Decided},
        page::Names,
        schedule,
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, update, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(trigger))
        .routes(routes!(backfill))
        .routes(routes!(preview))
        .routes(routes!(preview_timing))
}

/// Start tasks by time.
///
/// Each due time starts one task, `{name}-20261130T020000Z`, whichever replicas live and die. The same request again
/// answers 200 with the schedule as it is.
#[utoipa::path(
    post,
    path = "/v1/schedules",
    operation_id = "create_schedule",
    tag = "schedules",
    request_body = ScheduleBody,
    responses(
        (status = 201, description = "Created", body = Schedule),
        (status = 200, description = "Exists already, the same one", body = Schedule),
        (status = 409, description = "There is another one of this name", body = ErrorBody),
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
    let request = schedule::create_body(body.json()?)?;
    let (record, existed) = engine.create_schedule(tenant, request).await?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &Schedule::new(&record)))
}

/// List schedules by name, without what they start and their firings.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    operation_id = "list_schedules",
    tag = "schedules",
    params(
        ("page_size" = Option<u32>, Query, description = "1 to 500; 50 unless given", minimum = 1, maximum = 500),
        ("page_token" = Option<String>, Query, description = "`next_page_token` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Schedules), Failures)
)]
async fn list(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    Params(query): Params,
) -> Result<Response, Error> {
    let (after, limit) = query.names(Names::Schedules)?;
    let (found, more) = engine.schedules(tenant, &after, limit).await?;
    Ok(json(StatusCode::OK, &Schedules::new(&found, more)))
}

/// A schedule with its newest firings.
#[utoipa::path(
    get,
    path = "/v1/schedules/{name}",
    operation_id = "get_schedule",
    tag = "schedules",
    params(SchedulePath),
    responses((status = 200, description = "The schedule", body = Schedule), Unknown, Failures)
)]
async fn get(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &Schedule::new(&engine.schedule(tenant, &name).await?)))
}

/// Put another one in its place. What was due before stays as it was decided.
#[utoipa::path(
    put,
    path = "/v1/schedules/{name}",
    operation_id = "update_schedule",
    tag = "schedules",
    params(SchedulePath),
    request_body = ChangedBody,
    responses((status = 200, description = "As it is now", body = Schedule), Unknown, BodyErrors, Failures)
)]
async fn update(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let request = schedule::update_body(name, body.json()?)?;
    Ok(json(StatusCode::OK, &Schedule::new(&engine.update_schedule(tenant, request).await?)))
}

/// Delete a schedule. Its tasks go on.
#[utoipa::path(
    delete,
    path = "/v1/schedules/{name}",
    operation_id = "delete_schedule",
    tag = "schedules",
    params(SchedulePath),
    responses((status = 204, description = "Deleted"), Unknown, Failures)
)]
async fn delete(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
) -> Result<StatusCode, Error> {
    engine.delete_schedule(tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let nothing be due until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/pause",
    operation_id = "pause_schedule",
    tag = "schedules",
    params(SchedulePath),
    request_body = Option<DecidedBody>,
    responses((status = 200, description = "Paused", body = Schedule), Unknown, BodyErrors, Failures)
)]
async fn pause(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let Decided { reason, by } = body::decided(body.json_or_empty()?)?;
    let record = engine.pause_schedule(tenant, &name, by, reason).await?;
    Ok(json(StatusCode::OK, &Schedule::new(&record)))
}

/// Go on with the next due time; those of the pause were never to be.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/resume",
    operation_id = "resume_schedule",
    tag = "schedules",
    params(SchedulePath),
    responses((status = 200, description = "Resumed", body = Schedule), Unknown, BodyErrors, Failures)
)]
async fn resume(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    body::nothing(body.json_or_empty()?)?;
    Ok(json(StatusCode::OK, &Schedule::new(&engine.resume_schedule(tenant, &name).await?)))
}

/// Start its task now, whatever runs, and be it paused.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/trigger",
    operation_id = "trigger_schedule",
    tag = "schedules",
    params(SchedulePath),
    request_body = Option<TriggerBody>,
    responses((status = 200, description = "Started", body = Triggered), Unknown, Conflict, BodyErrors, Failures)
)]
async fn trigger(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let id = schedule::trigger_body(body.json_or_empty()?)?;
    let task_id = engine.trigger_schedule(tenant, &name, id).await?;
    Ok(json(StatusCode::OK, &Triggered { task_id: &task_id }))
}

/// Start a task for each due time of a range in the past, at most 100, beside each other.
#[utoipa::path(
    post,
    path = "/v1/schedules/{name}/backfill",
    operation_id = "backfill_schedule",
    tag = "schedules",
    params(SchedulePath),
    request_body = BackfillBody,
    responses((status = 200, description = "Started", body = Backfilled), Unknown, Conflict, BodyErrors, Failures)
)]
async fn backfill(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    let request = schedule::backfill_body(body.json()?)?;
    let task_ids = engine.backfill_schedule(tenant, &name, request).await?;
    Ok(json(StatusCode::OK, &Backfilled { task_ids: &task_ids }))
}

/// Its next due times; none while it is paused.
#[utoipa::path(
    get,
    path = "/v1/schedules/{name}/preview",
    operation_id = "preview_schedule",
    tag = "schedules",
    params(
        SchedulePath,
        ("count" = Option<u32>, Query, description = "1 to 100; 10 unless given", minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "In order", body = DueTimes), Unknown, Failures)
)]
async fn preview(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SchedulePath(name): SchedulePath,
    Params(query): Params,
) -> Result<Response, Error> {
    let due = engine.preview_schedule(tenant, &name, query.preview()?).await?;
    Ok(json(StatusCode::OK, &DueTimes::new(due)))
}

/// The next due times of a schedule that does not exist yet.
#[utoipa::path(
    post,
    path = "/v1/schedule-preview",
    operation_id = "preview_timing",
    tag = "schedules",
    request_body = PreviewBody,
    responses((status = 200, description = "In order", body = DueTimes), BodyErrors, Failures)
)]
async fn preview_timing(State(engine): State<Engine>, _: NoParams, body: Body) -> Result<Response, Error> {
    let (timing, count) = schedule::preview_body(body.json()?)?;
    Ok(json(StatusCode::OK, &DueTimes::new(engine.preview_timing(timing, count)?)))
}
