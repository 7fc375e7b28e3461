//! Agents, and the workers that serve them.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    error::Error,
    extract::{AgentPath, Body, Caller, NoParams, Params, SessionPath},
    json,
    openapi::{BodyErrors, Failures, Unknown},
};
use crate::{
    engine::Engine,
    wire::{
        answer::{Agent, Agents, Worker, Workers},
        body,
        filter::serves,
    },
};

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new()
        .routes(routes!(agents))
        .routes(routes!(agent))
        .routes(routes!(workers))
        .routes(routes!(drain))
}

/// List agents by name.
#[utoipa::path(
    get,
    path = "/agents",
    tag = "agents",
    params(
        ("domain" = Option<String>, Query, description = "Only agents of this domain"),
        ("capability" = Option<String>, Query, description = "Only agents with this capability tag"),
        ("health" = Option<String>, Query, description = "`healthy`, `degraded` or `offline`"),
    ),
    responses((status = 200, description = "The agents", body = Agents), Failures)
)]
async fn agents(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    Params(query): Params,
) -> Result<Response, Error> {
    let filter = query.agents()?;
    let agents = engine.agents(tenant).await?;
    Ok(json(StatusCode::OK, &Agents::new(agents.iter().filter(|agent| filter.matches(agent)))))
}

/// One agent.
#[utoipa::path(
    get,
    path = "/agents/{name}",
    tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    responses((status = 200, description = "The agent", body = Agent), Unknown, Failures)
)]
async fn agent(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    AgentPath(name): AgentPath,
    _: NoParams,
) -> Result<Response, Error> {
    let agent = engine.agent(tenant, &name).await?;
    Ok(json(StatusCode::OK, &Agent::new(&agent)))
}

/// List workers.
#[utoipa::path(
    get,
    path = "/workers",
    tag = "agents",
    params(("agent" = Option<String>, Query, description = "Only workers that serve this agent")),
    responses((status = 200, description = "The workers", body = Workers), Failures)
)]
async fn workers(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    Params(query): Params,
) -> Result<Response, Error> {
    let agent = query.workers()?;
    let workers = engine.workers(tenant).await?;
    Ok(json(StatusCode::OK, &Workers::new(workers.iter().filter(|worker| serves(worker, &agent)))))
}

/// Let a worker finish what it has and go.
#[utoipa::path(
    post,
    path = "/workers/{session_id}/drain",
    tag = "agents",
    params(("session_id" = i64, Path, description = "The worker's session", minimum = 1)),
    responses((status = 200, description = "Draining", body = Worker), Unknown, BodyErrors, Failures)
)]
async fn drain(
    State(engine): State<Engine>,
    Caller(tenant): Caller,
    SessionPath(session): SessionPath,
    _: NoParams,
    body: Body,
) -> Result<Response, Error> {
    body::nothing(body.json_or_empty()?)?;
    let worker = engine.drain_worker(tenant, session).await?;
    Ok(json(StatusCode::OK, &Worker::new(&worker)))
}
