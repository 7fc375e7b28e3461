//! What handlers take out of a request, with problems told as [`Error`]s.

use axum::{
    extract::{
        FromRequest, FromRequestParts, Path, Query as AxumQuery, Request, path::ErrorKind,
        rejection::PathRejection,
    },
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use bytes::Bytes;
use downbeat_core::id::{SessionNo, TenantNo};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use super::error::Error;
use crate::{
    failure::Failure,
    wire::{check, context, json, query::Query, request, schedule},
};

/// Whose call it is. There is one tenant until callers have identities.
pub(super) struct Caller(pub(super) TenantNo);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Caller, Error> {
        Ok(Caller(TenantNo::DEFAULT))
    }
}

/// `{task_id}`.
pub(super) struct TaskPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TaskPath, Error> {
        let task: String = path(parts, state).await?;
        check::names(&task, None)?;
        Ok(TaskPath(task))
    }
}

/// `{task_id}` and `{subtask_id}`, a full id or a key.
pub(super) struct SubtaskPath {
    pub(super) task: String,
    pub(super) subtask: String,
}

impl<S: Send + Sync> FromRequestParts<S> for SubtaskPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SubtaskPath, Error> {
        let (task, subtask): (String, String) = path(parts, state).await?;
        check::names(&task, Some(&subtask))?;
        Ok(SubtaskPath { task, subtask })
    }
}

impl IntoParams for TaskPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("task_id", "Percent-encoded")]
    }
}

impl IntoParams for SubtaskPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            named("task_id", "Percent-encoded"),
            named("subtask_id", "The full id or the key, percent-encoded"),
        ]
    }
}

/// `{task_id}` and the `{name}` of a signal.
pub(super) struct SignalPath {
    pub(super) task: String,
    pub(super) name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for SignalPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SignalPath, Error> {
        let (task, name): (String, String) = path(parts, state).await?;
        check::names(&task, None)?;
        Ok(SignalPath { task, name })
    }
}

impl IntoParams for SignalPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("task_id", "Percent-encoded"), named("name", "The signal's")]
    }
}

/// `{task_id}` and the `{key}` of its shared context.
pub(super) struct ContextPath {
    pub(super) task: String,
    pub(super) key: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ContextPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ContextPath, Error> {
        let (task, key): (String, String) = path(parts, state).await?;
        context::named(&task, &key)?;
        Ok(ContextPath { task, key })
    }
}

impl IntoParams for ContextPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("task_id", "Percent-encoded"), named("key", "A name: letters, digits, `.`, `_` and `-`")]
    }
}

/// `{task_id}` and the `{name}` of a snapshot.
pub(super) struct SnapshotPath {
    pub(super) task: String,
    pub(super) name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for SnapshotPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SnapshotPath, Error> {
        let (task, name): (String, String) = path(parts, state).await?;
        check::names(&task, None)?;
        Ok(SnapshotPath { task, name })
    }
}

impl IntoParams for SnapshotPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("task_id", "Percent-encoded"), named("name", "The snapshot's, percent-encoded")]
    }
}

/// A part of the path, as the OpenAPI document tells it.
fn named(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(String::schema()))
        .build()
}

/// `{name}` of a stored workflow.
pub(super) struct WorkflowPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for WorkflowPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<WorkflowPath, Error> {
        let name: String = path(parts, state).await?;
        request::agent(&name)?;
        Ok(WorkflowPath(name))
    }
}

impl IntoParams for WorkflowPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("name", "The workflow's")]
    }
}

/// `{name}` of an agent.
pub(super) struct AgentPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<AgentPath, Error> {
        let name: String = path(parts, state).await?;
        request::agent(&name)?;
        Ok(AgentPath(name))
    }
}

/// `{name}` of a schedule.
pub(super) struct SchedulePath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for SchedulePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SchedulePath, Error> {
        let name: String = path(parts, state).await?;
        schedule::named(&name)?;
        Ok(SchedulePath(name))
    }
}

impl IntoParams for SchedulePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("name", "The schedule's")]
    }
}

/// `{session_id}` of a worker.
pub(super) struct SessionPath(pub(super) SessionNo);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SessionPath, Error> {
        let token: String = path(parts, state).await?;
        let number = token.parse().map_err(|_| Failure::invalid("session_id", "must be a whole number"))?;
        Ok(SessionPath(request::session(number)?))
    }
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Error> {
    match Path::<T>::from_request_parts(parts, state).await {
        Ok(Path(path)) => Ok(path),
        Err(PathRejection::FailedToDeserializePathParams(rejection)) => match rejection.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => Err(Failure::invalid(key, "is not UTF-8").into()),
            other => Err(Failure::invalid("path", other.to_string()).into()),
        },
        Err(rejection) => Err(Failure::invalid("path", rejection.body_text()).into()),
    }
}

/// The query parameters.
pub(super) struct Params(pub(super) Query);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params, Error> {
        let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let AxumQuery(pairs) = pairs.map_err(|rejection| Failure::invalid("query", rejection.body_text()))?;
        Ok(Params(Query::new(pairs)))
    }
}

/// For routes without query parameters.
pub(super) struct NoParams;

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<NoParams, Error> {
        let Params(query) = Params::from_request_parts(parts, state).await?;
        query.none()?;
        Ok(NoParams)
    }
}

/// A whole body. Any content type will do as long as it is JSON.
pub(super) struct Body {
    bytes: Bytes,
    content_type: String,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Body, Error> {
        let content_type = content_type(request.headers());
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Body { bytes, content_type }),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Error::BodyTooLarge),
            Err(rejection) => Err(Error::BodyUnread(rejection.body_text())),
        }
    }
}

impl Body {
    /// The JSON value it holds.
    pub(super) fn json(&self) -> Result<&RawValue, Error> {
        json::parse(&self.bytes).map_err(|issue| {
            if self.content_type.is_empty() || self.content_type.contains("json") {
                Error::InvalidJson(issue)
            } else {
                Error::NotJson { content_type: self.content_type.clone(), issue }
            }
        })
    }

    /// The JSON value it holds; an empty object when there is no body.
    pub(super) fn json_or_empty(&self) -> Result<&RawValue, Error> {
        if self.bytes.trim_ascii().is_empty() {
            json::parse(b"{}").map_err(Error::InvalidJson)
        } else {
            self.json()
        }
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    given.unwrap_or_default().to_ascii_lowercase()
}
