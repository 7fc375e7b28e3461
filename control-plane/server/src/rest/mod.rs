//! The REST face: JSON over HTTP, described by the OpenAPI document at `/openapi.json`. Bodies and queries are
//! read by `wire`, decided by the engine, and answered; nothing is decided here.

mod again;
mod agents;
mod context;
mod error;
mod extract;
mod health;
pub mod openapi;
mod review;
mod schedules;
mod tasks;
mod workflows;

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use downbeat_core::limits;
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use self::error::Error;
use crate::engine::Engine;

/// A request that takes longer is answered without its outcome. Longer than a commit may take.
const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// Every route, ready to be served.
pub fn router(engine: Engine) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES))
        .layer(middleware::from_fn(in_time))
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(engine)
}

/// Routes and their description, from one place.
fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(tasks::routes())
        .merge(review::routes())
        .merge(again::routes())
        .merge(workflows::routes())
        .merge(context::routes())
        .merge(agents::routes())
        .merge(schedules::routes())
        .merge(health::routes())
        .merge(openapi::routes())
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::TimedOut.into_response(),
    }
}

/// A JSON answer.
fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => (status, [("content-type", "application/json")], text).into_response(),
        Err(error) => error::unprintable(&error),
    }
}
