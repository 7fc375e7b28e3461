//! How rows are written down, for both stores: the order of the columns, the numbers of states, and the
//! JSON of the cold columns. What cannot be read back is [`StoreError::Corrupt`].

use std::sync::Arc;

use bytes::Bytes;
use downbeat_core::{
    command::{Request, WorkflowAt},
    event::{Artifact, Event},
    id::{Index, LeaseAt, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskId, TaskNo, TenantNo},
    nested::Inside,
    note::NoteKey,
    plan::{Node, Plan, RouteSpec},
    rows::{AgentSeen, History, Output},
    session::{Session, SessionState, WorkerDeclaration},
    subtask::{Outcome, Subtask, SubtaskState},
    task::{Course, Priority, Task, TaskStatus},
    time::Time,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Leased, PlanRecord, Result, Route, StoreError, TaskSummary, WorkflowHead, WorkflowRecord, WorkflowVersion,
};

/// The milliseconds of one day: history is partitioned by `at / DAY_MS`.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// One row of a result, read cell by cell from the left.
pub(crate) trait Cells {
    /// The next cell: an integer of any width, or a boolean as 0 or 1; `None` when it is null.
    fn integer(&mut self) -> Result<Option<i64>>;
    fn text(&mut self) -> Result<String>;
    fn bytes(&mut self) -> Result<Vec<u8>>;
}

impl dyn Cells + '_ {
    pub(crate) fn long(&mut self) -> Result<i64> {
        self.integer()?.ok_or_else(|| StoreError::Corrupt("null where a number belongs".into()))
    }

    pub(crate) fn number<N: TryFrom<i64>>(&mut self) -> Result<N> {
        let number = self.long()?;
        N::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} is out of range")))
    }

    pub(crate) fn time(&mut self) -> Result<Option<Time>> {
        self.integer().map(|at| at.map(Time))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes()?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| StoreError::Corrupt(format!("{length} bytes where {N} belong")))
    }

    /// A state kept as a number.
    pub(crate) fn state<S>(&mut self, from_number: impl FnOnce(u8) -> Option<S>) -> Result<S> {
        let number = self.long()?;
        u8::try_from(number)
            .ok()
            .and_then(from_number)
            .ok_or_else(|| StoreError::Corrupt(format!("{number} is no known state")))
    }
}

/// `no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, asking, events,
/// created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason`
pub(crate) fn task(cells: &mut dyn Cells) -> Result<Task> {
    Ok(Task {
        no: TaskNo(cells.long()?),
        tenant: TenantNo(cells.number()?),
        id: cells.text()?,
        digest: cells.array()?,
        status: cells.state(TaskStatus::from_number)?,
        course: cells.state(Course::from_number)?,
        priority: cells.state(Priority::from_number)?,
        total: cells.number()?,
        unfinished: cells.number()?,
        failed: cells.number()?,
        in_review: cells.number()?,
        asking: cells.number()?,
        events: cells.number()?,
        created_at: Time(cells.long()?),
        started_at: cells.time()?,
        ended_at: cells.time()?,
        deadline: cells.time()?,
        stopped_at: cells.time()?,
        due_at: cells.time()?,
        wake_at: cells.time()?,
        reason: cells.text()?,
    })
}

/// `task_no, idx, state, route, priority, pending, failed, skipped, failures, attempts, losses, held, waived,
/// queued, lease, session_no, outcome, wake_at, since`
pub(crate) fn subtask(cells: &mut dyn Cells) -> Result<(TaskNo, Index, Subtask)> {
    let (task, index) = place(cells)?;
    Ok((task, index, row(cells)?))
}

/// As [`subtask`]; `None` where the task is null.
pub(crate) fn subtask_or_none(cells: &mut dyn Cells) -> Result<Option<(TaskNo, Index, Subtask)>> {
    let Some(task) = cells.integer()? else { return Ok(None) };
    Ok(Some((TaskNo(task), cells.number()?, row(cells)?)))
}

fn row(cells: &mut dyn Cells) -> Result<Subtask> {
    Ok(Subtask {
        state: cells.state(SubtaskState::from_number)?,
        route: RouteNo(cells.long()?),
        priority: cells.state(Priority::from_number)?,
        pending: cells.number()?,
        failed: cells.number()?,
        skipped: cells.number()?,
        failures: cells.number()?,
        attempts: cells.number()?,
        losses: cells.number()?,
        held: cells.long()? != 0,
        waived: cells.long()? != 0,
        queued: cells.integer()?,
        lease: cells.integer()?.map(LeaseId),
        session: cells.integer()?.map(SessionNo),
        outcome: cells.integer()?.map(outcome).transpose()?,
        wake_at: cells.time()?,
        since: Time(cells.long()?),
    })
}

fn outcome(number: i64) -> Result<Outcome> {
    u8::try_from(number)
        .ok()
        .and_then(Outcome::from_number)
        .ok_or_else(|| StoreError::Corrupt(format!("{number} is no known outcome")))
}

/// `session_no, task_no, idx, lease, route`
pub(crate) fn leased(cells: &mut dyn Cells) -> Result<Leased> {
    let session = SessionNo(cells.long()?);
    let (task, index) = place(cells)?;
    let at = LeaseAt { task, index, lease: LeaseId(cells.long()?) };
    Ok(Leased { session, at, route: RouteNo(cells.long()?) })
}

/// `task_no, idx`
pub(crate) fn place(cells: &mut dyn Cells) -> Result<(TaskNo, Index)> {
    Ok((TaskNo(cells.long()?), cells.number()?))
}

/// `no, tenant, replica, token, connection, state, opened_at, wake_at, declaration`; an empty declaration was not asked
/// for.
pub(crate) fn session(cells: &mut dyn Cells) -> Result<Session> {
    Ok(Session {
        no: SessionNo(cells.long()?),
        tenant: TenantNo(cells.number()?),
        replica: ReplicaNo(cells.long()?),
        token: cells.array()?,
        connection: cells.number()?,
        state: cells.state(SessionState::from_number)?,
        opened_at: Time(cells.long()?),
        wake_at: cells.time()?,
        declaration: match cells.text()?.as_str() {
            "" => Arc::default(),
            json => Arc::new(decode::<WorkerDeclaration>(json.as_bytes())?),
        },
    })
}

/// `no, tenant, agent, capabilities`
pub(crate) fn route(cells: &mut dyn Cells) -> Result<Route> {
    Ok(Route {
        no: RouteNo(cells.long()?),
        tenant: TenantNo(cells.number()?),
        spec: RouteSpec { agent: cells.text()?, capabilities: decode(cells.text()?.as_bytes())? },
    })
}

/// A plan that is being read, part by part.
pub(crate) struct PlanParts {
    task: TaskNo,
    tenant: TenantNo,
    id: TaskId,
    request: Request,
    context: Bytes,
    nodes: Vec<Node>,
}

/// `task_no, first, tenant, id, title, request, nodes`; `first` is null where a plan begins. What follows adds to it
/// and has nothing of its own but the nodes.
pub(crate) fn plan_part(cells: &mut dyn Cells, into: &mut Vec<PlanParts>) -> Result<()> {
    let (task, first) = (TaskNo(cells.long()?), cells.integer()?);
    let (tenant, id, title) = (TenantNo(cells.number()?), cells.text()?, cells.text()?);
    let (request, nodes) = (cells.bytes()?, cells.bytes()?);
    let nodes: Vec<Node> = decode(&nodes)?;
    let Some(first) = first else {
        let words: Words<'_> = decode(&request)?;
        let metadata =
            words.metadata.map_or_else(Bytes::new, |json| Bytes::from(String::from(Box::<str>::from(json))));
        let context = context(&metadata);
        let (description, workflow) = (words.description.into_owned(), words.workflow);
        let inside = words.inside.map(Arc::new);
        let request = Request { title, description, metadata, workflow, inside };
        into.push(PlanParts { task, tenant, id, request, context, nodes });
        return Ok(());
    };
    let begun = into.last_mut().filter(|begun| begun.task == task && begun.nodes.len() as i64 == first);
    let begun = begun.ok_or_else(|| StoreError::Corrupt(format!("the plan of task {task} has a gap")))?;
    begun.nodes.extend(nodes);
    Ok(())
}

/// Plans, from all their parts.
pub(crate) fn plans(parts: Vec<PlanParts>) -> Vec<PlanRecord> {
    let whole = |PlanParts { task, tenant, id, request, context, nodes }| {
        let plan =
            Arc::new(Plan::from_nodes(nodes).with_context(context).with_inside(request.inside.clone()));
        PlanRecord { task, tenant, id, request, plan }
    };
    parts.into_iter().map(whole).collect()
}

/// What a request's metadata gives the task as its context: the JSON value at `context`, or nothing.
pub fn context(metadata: &[u8]) -> Bytes {
    #[derive(Deserialize)]
    struct Seed<'a> {
        #[serde(borrow)]
        context: Option<&'a RawValue>,
    }
    let seed = serde_json::from_slice::<Seed<'_>>(metadata).ok().and_then(|seed| seed.context);
    seed.map_or_else(Bytes::new, |context| Bytes::copy_from_slice(context.get().as_bytes()))
}

/// `task_no, kind, place, body`
pub(crate) fn note(cells: &mut dyn Cells) -> Result<(TaskNo, NoteKey, Bytes)> {
    let task = TaskNo(cells.long()?);
    let (kind, place) = (cells.number()?, cells.number()?);
    let key = NoteKey::from_numbers(kind, place)
        .ok_or_else(|| StoreError::Corrupt(format!("{kind} is no known kind of note")))?;
    Ok((task, key, Bytes::from(cells.bytes()?)))
}

/// `no, id, title, priority, status, total, unfinished, created_at, started_at, ended_at`
pub(crate) fn summary(cells: &mut dyn Cells) -> Result<TaskSummary> {
    Ok(TaskSummary {
        no: TaskNo(cells.long()?),
        id: cells.text()?,
        title: cells.text()?,
        priority: cells.state(Priority::from_number)?,
        status: cells.state(TaskStatus::from_number)?,
        total: cells.number()?,
        unfinished: cells.number()?,
        created_at: Time(cells.long()?),
        started_at: cells.time()?,
        ended_at: cells.time()?,
    })
}

/// `task_no, idx, tenant, body, artifacts`
pub(crate) fn output(cells: &mut dyn Cells) -> Result<Output> {
    let (task, index) = place(cells)?;
    Ok(Output {
        tenant: TenantNo(cells.number()?),
        task,
        index,
        body: Bytes::from(cells.bytes()?),
        artifacts: decode::<Vec<Artifact>>(cells.text()?.as_bytes())?,
    })
}

/// `tenant, declaration, seen_at`
pub(crate) fn agent(cells: &mut dyn Cells) -> Result<AgentSeen> {
    Ok(AgentSeen {
        tenant: TenantNo(cells.number()?),
        declaration: decode(cells.text()?.as_bytes())?,
        at: Time(cells.long()?),
    })
}

/// `version, deleted`, and a [`workflow_version`]
pub(crate) fn workflow_record(cells: &mut dyn Cells) -> Result<WorkflowRecord> {
    let head = WorkflowHead { version: cells.number()?, deleted: cells.long()? != 0 };
    Ok(WorkflowRecord { head, version: workflow_version(cells)? })
}

/// `name, version, restores, created_at, created_by, description, digest, definition`
pub(crate) fn workflow_version(cells: &mut dyn Cells) -> Result<WorkflowVersion> {
    Ok(WorkflowVersion {
        name: cells.text()?,
        version: cells.number()?,
        restores: cells.integer()?.map(restored).transpose()?,
        created_at: Time(cells.long()?),
        created_by: cells.text()?,
        description: cells.text()?,
        digest: cells.array()?,
        definition: Bytes::from(cells.bytes()?),
    })
}

fn restored(number: i64) -> Result<u32> {
    u32::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} is no version")))
}

/// Appends one row's events (`body`) that are numbered above `after`.
pub(crate) fn events(cells: &mut dyn Cells, after: u64, into: &mut Vec<Event>) -> Result<()> {
    let batch: Vec<Event> = decode(&cells.bytes()?)?;
    into.extend(batch.into_iter().filter(|event| event.number > after));
    Ok(())
}

/// A request without its title, which lists show and which therefore has a column.
#[derive(Serialize, Deserialize)]
struct Words<'a> {
    description: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workflow: Option<WorkflowAt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inside: Option<Inside>,
}

/// `plans.request`. Metadata is kept to the byte, but for white space around it; empty stays empty.
pub(crate) fn request(request: &Request) -> Result<Vec<u8>> {
    let metadata = match request.metadata.as_ref() {
        b"" => None,
        json => Some(
            serde_json::from_slice::<Box<RawValue>>(json)
                .map_err(|error| StoreError::Refused(format!("metadata is not JSON: {error}")))?,
        ),
    };
    let (workflow, inside) = (request.workflow.clone(), request.inside.as_deref().cloned());
    encode(&Words { description: request.description.as_str().into(), metadata, workflow, inside })
}

/// The day whose partition holds what happened at `at`.
pub(crate) fn day(at: Time) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// The first and last number of a batch's events, and when they happened; `None` when there are none.
pub(crate) fn span(history: &History) -> Option<(u64, u64, Time)> {
    let (first, last) = (history.events.first()?, history.events.last()?);
    Some((first.number, last.number, first.at))
}

/// The digest that makes a route unique per tenant: capabilities may be too long for an index.
pub(crate) fn route_digest(spec: &RouteSpec) -> Result<[u8; 32]> {
    encode(&(&spec.agent, &spec.capabilities)).map(|json| *blake3::hash(&json).as_bytes())
}

/// JSON, in bytes.
pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Refused(format!("cannot be written as JSON: {error}")))
}

/// JSON, as text.
pub(crate) fn encode_text(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Refused(format!("cannot be written as JSON: {error}")))
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| StoreError::Corrupt(error.to_string()))
}
