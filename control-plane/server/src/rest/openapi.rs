//! The OpenAPI document: what the routes say of themselves, request bodies, and the errors all share.
//!
//! The bodies here are descriptions; `wire` reads what comes, and a test holds the two together.

pub mod schedules;
pub mod workflow;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{http::StatusCode, response::IntoResponse, response::Response};
use bytes::Bytes;
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{Content, OneOfBuilder, Ref, RefOr, Response as Described, ResponseBuilder, Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    engine::Engine,
    wire::{
        answer::{Blocked, ErrorBody, ModeWord, PriorityWord},
        plan::schema::{self, PlanBody},
    },
};

/// Printed once.
static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| super::routes().into_openapi().to_json().unwrap_or_default().into());

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Downbeat",
        description = "A control plane for teams of specialist agents: submit a piece of work, follow it, and \
            decide where a person must. Errors always have the shape of `Error`; a request's problems come all \
            at once, each naming its field.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "tasks", description = "Submit, execute and follow tasks"),
        (name = "review", description = "What a person does with one subtask"),
        (name = "workflows", description = "Plans with parameters, kept by name and version"),
        (name = "context", description = "What the subtasks of a task share: JSON values by key, each with a version"),
        (name = "agents", description = "Who can do the work"),
        (name = "schedules", description = "Start tasks by time"),
        (name = "health", description = "For probes"),
    ),
    components(schemas(Blocked, ErrorBody))
)]
struct Frame;

/// The document without its paths. A plan's parts name each other, so that they are listed on their own.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Frame::openapi().merge_from(schema::Parts::openapi())
}

pub(super) fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(plan_schema))
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
async fn openapi() -> Response {
    (StatusCode::OK, [("content-type", "application/json")], DOCUMENT.clone()).into_response()
}

/// The JSON Schema of a plan, for editors: `# yaml-language-server: $schema=.../schemas/plan.json`.
#[utoipa::path(
    get,
    path = "/schemas/plan.json",
    tag = "health",
    responses((status = 200, description = "JSON Schema", content_type = "application/schema+json", body = Object))
)]
async fn plan_schema() -> Response {
    (StatusCode::OK, [("content-type", "application/schema+json")], schema::DOCUMENT.clone()).into_response()
}

/// A piece of work.
#[derive(Debug, ToSchema)]
#[schema(as = SubmitTask, example = json!({
    "task_id": "feature-1087",
    "title": "Implement invoice PDF export",
    "description": "Add PDF export support to the billing dashboard including automated regression tests.",
    "priority": "high",
    "metadata": {
        "repository": "git@github.com:appsmithery/dev-tools.git",
        "requester": "product-management",
        "due_date": "2025-11-22",
    },
}))]
pub struct SubmitBody {
    /// The client's own name for the task: the request may be repeated.
    #[schema(min_length = 1, max_length = 200)]
    pub task_id: String,
    #[schema(max_length = 500)]
    pub title: Option<String>,
    #[schema(max_length = 65536)]
    pub description: Option<String>,
    #[schema(value_type = Option<PriorityWord>)]
    pub priority: Option<String>,
    /// Free. `context` (an object) is what the shared context holds from the start; `due_date` (a time or a date) is what `on_time` is
    /// judged by.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    /// Absent: the planner decomposes the request.
    pub plan: Option<PlanBody>,
    /// When an unfinished task ends as failed. Moves on by the time that the task waits for a person: needs review
    /// or is paused.
    #[schema(format = DateTime)]
    pub deadline: Option<String>,
}

/// How to execute.
#[derive(Debug, ToSchema)]
#[schema(as = ExecuteTask)]
pub struct ExecuteBody {
    /// With `manual`, each subtask waits to be released.
    #[schema(value_type = Option<ModeWord>)]
    pub execution_mode: Option<String>,
    /// Keys or ids of subtasks to stop before.
    pub checkpoints: Option<Vec<String>>,
}

/// Who decides; kept in the history.
#[derive(Debug, ToSchema)]
#[schema(as = By)]
pub struct ByBody {
    pub by: Option<String>,
}

/// Why something is decided, and by whom; kept in the history.
#[derive(Debug, ToSchema)]
#[schema(as = Decided)]
pub struct DecidedBody {
    pub reason: Option<String>,
    pub by: Option<String>,
}

/// What somebody chooses at an approval.
#[derive(Debug, ToSchema)]
#[schema(as = DecideSubtask, example = json!({
    "option": "approve",
    "digest": "5f2c…",
    "by": "ann",
    "roles": ["lead"],
    "comment": "looks good",
}))]
pub struct DecisionBody {
    /// One of the approval's options.
    pub option: String,
    /// Of what was looked at: `gate.digest` of the subtask.
    pub digest: String,
    pub by: String,
    /// Of that person.
    pub roles: Option<Vec<String>>,
    pub comment: Option<String>,
}

/// What a signal carries.
#[derive(Debug, ToSchema)]
#[schema(as = SignalTask)]
pub struct SignalBody {
    /// Any JSON, at most 64 KiB.
    pub payload: Option<serde_json::Value>,
    pub by: Option<String>,
    /// The sender's own: the same one again changes nothing.
    pub signal_id: Option<String>,
}

/// What is to run again.
#[derive(Debug, ToSchema)]
#[schema(as = RerunTask)]
pub struct RerunBody {
    /// Keys or ids.
    pub subtasks: Option<Vec<String>>,
    /// Other inputs by key or id; these are run again too.
    #[schema(value_type = Option<Object>)]
    pub inputs: Option<serde_json::Value>,
    pub by: Option<String>,
    pub reason: Option<String>,
}

/// A name for the present state.
#[derive(Debug, ToSchema)]
#[schema(as = SnapshotTask)]
pub struct SnapshotBody {
    #[schema(max_length = 100)]
    pub name: String,
    pub by: Option<String>,
}

/// Which state to go back to.
#[derive(Debug, ToSchema)]
#[schema(as = RestoreTask)]
pub struct RestoreBody {
    /// Its name.
    pub snapshot: String,
    pub by: Option<String>,
}

/// Where a new task begins; with neither `event` nor `snapshot`, at the present state.
#[derive(Debug, ToSchema)]
#[schema(as = ForkTask)]
pub struct ForkBody {
    /// Of the new task.
    pub task_id: String,
    /// The number of the last event that belongs to it.
    pub event: Option<u64>,
    pub snapshot: Option<String>,
    /// Start it at once.
    pub execute: Option<bool>,
}

/// A value of the shared context.
#[derive(Debug, ToSchema)]
#[schema(as = PutContext, example = json!({"value": {"findings": 3}, "expected_version": 2, "by": "ann"}))]
pub struct PutContextBody {
    /// Any JSON, null included, at most 64 KiB.
    pub value: serde_json::Value,
    /// Only where the key has this version; 0: only where there is none.
    pub expected_version: Option<u64>,
    /// Kept in the history.
    pub by: Option<String>,
}

/// A plan to look at.
#[derive(Debug, ToSchema)]
#[schema(as = LintPlan)]
pub struct LintBody {
    pub plan: PlanBody,
}

/// Why a task is cancelled, and how.
#[derive(Debug, ToSchema)]
#[schema(as = Cancel)]
pub struct CancelBody {
    pub reason: Option<String>,
    /// What was completed and says how is undone before. False unless it is said.
    pub compensate: Option<bool>,
}

/// An output supplied by hand.
#[derive(Debug, ToSchema)]
#[schema(as = CompleteSubtask)]
pub struct CompleteBody {
    /// Any JSON, null included.
    pub output: serde_json::Value,
    pub by: Option<String>,
}

/// Where to send a subtask.
#[derive(Debug, ToSchema)]
#[schema(as = RouteSubtask)]
pub struct RouteBody {
    pub agent: String,
}

/// What any route may answer.
#[derive(Debug)]
pub enum Failures {}

impl IntoResponses for Failures {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        errors(&[
            ("400", "Problems with the request, each with its field"),
            ("500", "Ours to fix; the log has the cause"),
            ("503", "Not available right now: come back after `Retry-After` seconds"),
        ])
    }
}

/// What an execution may answer: besides not being available, that nobody can do what is ready.
#[derive(Debug)]
pub enum ExecuteFailures {}

impl IntoResponses for ExecuteFailures {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let either = OneOfBuilder::new()
            .item(Ref::from_schema_name("NoCapableAgent"))
            .item(Ref::from_schema_name("Error"))
            .build();
        let text = "Runs, but no live worker can do the subtasks listed in `blocked` (NO_CAPABLE_AGENT); or not \
                    available right now, without `blocked`. Come back after `Retry-After` seconds";
        let unavailable = response(text, Schema::OneOf(either));
        Failures::responses().into_iter().chain([("503".into(), unavailable.into())]).collect()
    }
}

/// What routes with a body may answer.
#[derive(Debug)]
pub enum BodyErrors {}

impl IntoResponses for BodyErrors {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        errors(&[
            ("413", "The body is larger than REQUEST_BYTES"),
            ("415", "The body is not JSON, nor said to be"),
        ])
    }
}

/// Something named in the path does not exist.
#[derive(Debug)]
pub enum Unknown {}

impl IntoResponses for Unknown {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        errors(&[("404", "There is none of this name")])
    }
}

/// The caller may not decide this.
#[derive(Debug)]
pub enum Forbidden {}

impl IntoResponses for Forbidden {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        errors(&[("403", "The approval is for others")])
    }
}

/// The task or subtask is not in a state for this.
#[derive(Debug)]
pub enum Conflict {}

impl IntoResponses for Conflict {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        errors(&[("409", "Its present state does not allow this")])
    }
}

fn errors(described: &[(&str, &str)]) -> BTreeMap<String, RefOr<Described>> {
    let error = |text: &str| response(text, Ref::from_schema_name("Error")).into();
    described.iter().map(|(status, text)| ((*status).to_owned(), error(text))).collect()
}

fn response(text: &str, schema: impl Into<RefOr<Schema>>) -> Described {
    let content = Content::new(Some(schema));
    ResponseBuilder::new().description(text).content("application/json", content).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::wire::{body, context, past, workflow::json as workflow};

    fn document() -> Value {
        serde_json::from_slice(&DOCUMENT).expect("the document is JSON")
    }

    #[test]
    fn every_route_is_described() {
        let expected = [
            "delete /tasks/{task_id}/context/{key}",
            "delete /v1/schedules/{name}",
            "delete /v1/workflows/{name}",
            "get /agents",
            "get /agents/{name}",
            "get /healthz",
            "get /openapi.json",
            "get /readyz",
            "get /schemas/plan.json",
            "get /tasks",
            "get /tasks/{task_id}",
            "get /tasks/{task_id}/context",
            "get /tasks/{task_id}/context/{key}",
            "get /tasks/{task_id}/events",
            "get /tasks/{task_id}/snapshots",
            "get /tasks/{task_id}/snapshots/{name}/diff",
            "get /tasks/{task_id}/subtasks/{subtask_id}/output",
            "get /v1/schedules",
            "get /v1/schedules/{name}",
            "get /v1/schedules/{name}/preview",
            "get /v1/workflows",
            "get /v1/workflows/{name}",
            "get /v1/workflows/{name}/diff",
            "get /v1/workflows/{name}/versions",
            "get /workers",
            "post /execute/{task_id}",
            "post /orchestrate",
            "post /plans/lint",
            "post /tasks/{task_id}/cancel",
            "post /tasks/{task_id}/fork",
            "post /tasks/{task_id}/pause",
            "post /tasks/{task_id}/rerun",
            "post /tasks/{task_id}/restore",
            "post /tasks/{task_id}/signals/{name}",
            "post /tasks/{task_id}/snapshots",
            "post /tasks/{task_id}/subtasks/{subtask_id}/complete",
            "post /tasks/{task_id}/subtasks/{subtask_id}/decision",
            "post /tasks/{task_id}/subtasks/{subtask_id}/fail",
            "post /tasks/{task_id}/subtasks/{subtask_id}/release",
            "post /tasks/{task_id}/subtasks/{subtask_id}/retry",
            "post /tasks/{task_id}/subtasks/{subtask_id}/route",
            "post /tasks/{task_id}/subtasks/{subtask_id}/skip",
            "post /v1/schedule-preview",
            "post /v1/schedules",
            "post /v1/schedules/{name}/backfill",
            "post /v1/schedules/{name}/pause",
            "post /v1/schedules/{name}/resume",
            "post /v1/schedules/{name}/trigger",
            "post /v1/workflows",
            "post /v1/workflows/{name}/rollback",
            "post /v1/workflows/{name}/run",
            "post /v1/workflows/{name}/versions",
            "post /workers/{session_id}/drain",
            "put /tasks/{task_id}/context/{key}",
            "put /v1/schedules/{name}",
        ];
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let found: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods");
                methods.keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > 50, "got {}", references.len());
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("references stay inside the document");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn operations_are_told_apart() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let ids: Vec<&str> = paths
            .values()
            .flat_map(|methods| methods.as_object().expect("methods").values())
            .map(|operation| operation["operationId"].as_str().expect("an id"))
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn bodies_are_described_as_they_are_read() {
        let document = document();
        for (schema, fields) in [
            ("SubmitTask", body::SUBMISSION),
            ("ExecuteTask", body::EXECUTION),
            ("Cancel", body::CANCEL),
            ("By", body::BY),
            ("Decided", body::DECIDED),
            ("DecideSubtask", body::DECISION),
            ("SignalTask", body::SIGNAL),
            ("RerunTask", body::RERUN),
            ("SnapshotTask", past::SNAPSHOT),
            ("RestoreTask", past::RESTORATION),
            ("ForkTask", past::FORK),
            ("PutContext", context::PUT),
            ("LintPlan", body::LINT),
            ("CompleteSubtask", body::COMPLETION),
            ("RouteSubtask", body::ROUTE),
            ("CreateWorkflow", workflow::CREATION),
            ("UpdateWorkflow", workflow::UPDATE),
            ("RollBackWorkflow", workflow::ROLLBACK),
            ("RunWorkflow", workflow::RUN),
        ] {
            let properties = document["components"]["schemas"][schema]["properties"].as_object();
            let described: BTreeSet<&str> = properties.expect(schema).keys().map(String::as_str).collect();
            assert_eq!(described, fields.iter().copied().collect(), "{schema}");
        }
    }

    fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| collect(member, found));
            }
            Value::Array(elements) => elements.iter().for_each(|element| collect(element, found)),
            _ => {}
        }
    }
}
