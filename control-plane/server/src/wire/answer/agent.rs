//! Agents and workers.

use std::collections::BTreeMap;

use downbeat_core::session::AgentDeclaration;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{HealthWord, Moment, Shown, WorkerStateWord};
use crate::{
    view::{AgentView, WorkerView},
    wire::figures::load,
};

/// Agents by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Agents<'a> {
    agents: Vec<Agent<'a>>,
}

/// A named specialist: what it declared last, and how it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Agent<'a> {
    #[serde(flatten)]
    declared: Declared<'a>,
    health: HealthWord,
    workers: u32,
    /// Over all live workers; shared between the agents of a worker.
    slots: u32,
    busy: u32,
    /// `busy` by `slots`.
    load: f64,
    last_seen: Moment,
}

/// What a worker declares about one of its agents.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentDeclaration)]
pub(crate) struct Declared<'a> {
    #[schema(example = "code-review")]
    name: &'a str,
    capabilities: &'a [String],
    skills: &'a [String],
    domain: &'a str,
    description: &'a str,
    /// Start to close, where the plan says nothing; null: none.
    sla_seconds: Option<f64>,
    /// An attempt silent for so long has timed out; null: never.
    progress_timeout_seconds: Option<f64>,
    /// What it takes, as JSON Schema; null: anything.
    #[schema(value_type = Option<Value>)]
    input_schema: Option<&'a RawValue>,
    /// What it delivers, as JSON Schema; null: anything.
    #[schema(value_type = Option<Value>)]
    output_schema: Option<&'a RawValue>,
}

impl<'a> Agents<'a> {
    pub(crate) fn new(views: impl Iterator<Item = &'a AgentView>) -> Agents<'a> {
        Agents { agents: views.map(Agent::new).collect() }
    }
}

impl<'a> Agent<'a> {
    pub(crate) fn new(view: &'a AgentView) -> Agent<'a> {
        Agent {
            declared: Declared::new(&view.declaration),
            health: Shown(view.health),
            workers: view.workers,
            slots: view.slots,
            busy: view.busy,
            load: load(view),
            last_seen: Moment(view.last_seen),
        }
    }
}

impl<'a> Declared<'a> {
    fn new(declared: &'a AgentDeclaration) -> Declared<'a> {
        let seconds = |ms: u32| f64::from(ms) / 1_000.0;
        Declared {
            name: &declared.name,
            capabilities: &declared.capabilities,
            skills: &declared.skills,
            domain: &declared.domain,
            description: &declared.description,
            sla_seconds: declared.sla_ms.map(seconds),
            progress_timeout_seconds: declared.progress_timeout_ms.map(seconds),
            input_schema: schema(&declared.input_schema),
            output_schema: schema(&declared.output_schema),
        }
    }
}

fn schema(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// Workers by session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workers<'a> {
    workers: Vec<Worker<'a>>,
}

/// A worker process and its session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker<'a> {
    session_id: i64,
    name: &'a str,
    agents: Vec<Declared<'a>>,
    slots: u32,
    busy: u32,
    labels: &'a BTreeMap<String, String>,
    build_id: &'a str,
    state: WorkerStateWord,
    connected_at: Moment,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(views: impl Iterator<Item = &'a WorkerView>) -> Workers<'a> {
        Workers { workers: views.map(Worker::new).collect() }
    }
}

impl<'a> Worker<'a> {
    pub(crate) fn new(view: &'a WorkerView) -> Worker<'a> {
        let session = &view.session;
        let declared = &session.declaration;
        Worker {
            session_id: session.no.0,
            name: &declared.worker,
            agents: declared.agents.iter().map(Declared::new).collect(),
            slots: declared.slots,
            busy: view.busy,
            labels: &declared.labels,
            build_id: &declared.build_id,
            state: Shown(session.state),
            connected_at: Moment(session.opened_at),
        }
    }
}
