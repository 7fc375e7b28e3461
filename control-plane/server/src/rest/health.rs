//! Whether the process is alive, and whether it can work.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{error::Error, json, openapi::Failures};
use crate::engine::Engine;

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// How the control plane is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// The process is alive.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    responses((status = 200, description = "Alive", body = Health))
)]
async fn healthz() -> Response {
    json(StatusCode::OK, &Health { status: "ok" })
}

/// The database answers.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, description = "Ready", body = Health), Failures)
)]
async fn readyz(State(engine): State<Engine>) -> Result<Response, Error> {
    engine.ready().await?;
    Ok(json(StatusCode::OK, &Health { status: "ready" }))
}
