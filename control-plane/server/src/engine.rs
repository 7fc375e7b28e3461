//! The engine as every face sees it: typed requests in, views out. Reads go to the store; everything that
//! changes something goes through the committer.

mod again;
mod agents;
mod context;
mod drafts;
pub mod schedules;
mod workflows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use downbeat_core::{
    check::Violation,
    command::{Action, Command, Decision, Reply, Request, Sent, Submit, WorkflowAt},
    draft::{Does, Draft, Goal},
    event::Event,
    guard::Rule,
    id::{Index, ReplicaNo, TaskNo, TenantNo},
    nested::Inside,
    note::NoteKey,
    plan::RouteSpec,
    policy::Policy,
    reject::Reject,
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
    time::Time,
};
use downbeat_store::{ListTasks, PlanRecord, Store, TaskPage};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::context::{ContextChange, ContextEntry, Difference, SubtaskDifference};
pub use self::workflows::Start;
use crate::{
    committer::{Answer, Answered, Input},
    docs::{Delivered, Docs},
    failure::{Failure, RETRY_AFTER_MS},
    planner::Planner,
    registry::Registry,
    replica::{Created, Liveness},
    view::{EventPage, Executed, Submitted, TaskView},
    watch::Watch,
};

/// A caller waits this long for its command to become durable before it is told to come back.
const COMMIT_WAIT: Duration = Duration::from_secs(10);
/// Events read at once when a whole history is put together.
const EVENTS_PAGE: u32 = 10_000;

/// A request to plan a task, checked field by field at the wire.
#[derive(Clone, Debug)]
pub struct Submission {
    pub tenant: TenantNo,
    pub id: String,
    /// Of the request as the client sent it.
    pub digest: [u8; 32],
    pub title: String,
    pub description: String,
    pub priority: Priority,
    /// A JSON object.
    pub metadata: Bytes,
    pub deadline: Option<Time>,
    pub due_at: Option<Time>,
    /// Passes [`check`](downbeat_core::check::check). `None`: the planner decomposes the request.
    pub plan: Option<Vec<Draft>>,
    /// What the plan comes from, where that is a stored workflow.
    pub workflow: Option<WorkflowAt>,
    /// The subtask of another task that it is.
    pub inside: Option<Arc<Inside>>,
    /// What the plan is to reach: only the validator looks at it.
    pub goals: Vec<Goal>,
    /// Start it at once, in mode auto.
    pub execute: bool,
}

/// What is to run again, by names.
#[derive(Clone, Debug, Default)]
pub struct RerunRequest {
    /// Full ids or keys.
    pub subtasks: Vec<String>,
    /// Other inputs, by full id or key; those are run again too.
    pub inputs: BTreeMap<String, Box<RawValue>>,
    pub by: String,
    pub reason: String,
}

/// A point of a task's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    Now,
    /// Right after the event with that number.
    Event(u64),
    /// A snapshot, by its name.
    Snapshot(String),
}

/// A cheap handle; clone it freely.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) docs: Arc<Docs>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) planner: Arc<dyn Planner>,
    pub(crate) replica: ReplicaNo,
    pub(crate) policy: Policy,
    /// Which subtasks need an approval, whatever their plan says.
    pub(crate) rules: Arc<[Rule]>,
    pub(crate) liveness: Liveness,
    /// Cancelled when the process stops: streams end.
    pub(crate) stop: CancellationToken,
}

impl Engine {
    /// Plans a task, or finds that it exists.
    ///
    /// # Errors
    /// `Invalid` with every problem of the plan; `Reject(TaskConflict)` when the id is taken by another
    /// request; `Unavailable`.
    pub async fn submit(&self, request: Submission) -> Result<Submitted, Failure> {
        // The batch looks too; to look before saves planning what is planned already.
        if request.plan.is_none()
            && let Some(task) = self.docs.named(&*self.store, request.tenant, &request.id).await?
        {
            return self.found(task, request.digest, request.execute).await;
        }
        let (tenant, id, digest, execute) =
            (request.tenant, request.id.clone(), request.digest, request.execute);
        match self.prepare(request).await {
            Ok(submit) => self.accept(submit, execute).await,
            // What was accepted once is not refused because an agent, or a rule, says something else since.
            Err(invalid @ Failure::Invalid(_)) => match self.docs.named(&*self.store, tenant, &id).await? {
                Some(task) => self.found(task, digest, execute).await,
                None => Err(invalid),
            },
            Err(failure) => Err(failure),
        }
    }

    /// Puts the task together, with the approvals that the operator's rules ask for.
    pub(crate) async fn prepare(&self, request: Submission) -> Result<Submit, Failure> {
        let drafts = match request.plan {
            Some(drafts) => drafts,
            None => self.decompose(&request).await?,
        };
        let drafts = self.guarded("plan.subtasks", &drafts, &request.metadata)?;
        self.judged(request.tenant, "plan.subtasks", &drafts).await?;
        let plan = self.build(request.tenant, &request.id, request.priority, &drafts).await?;
        let plan =
            plan.with_context(downbeat_store::context(&request.metadata)).with_inside(request.inside.clone());
        let served = if request.execute { Some(self.served(&plan).await?) } else { None };
        Ok(Submit {
            tenant: request.tenant,
            id: request.id,
            digest: request.digest,
            priority: request.priority,
            deadline: request.deadline,
            due_at: request.due_at,
            request: Request {
                title: request.title,
                description: request.description,
                metadata: request.metadata,
                workflow: request.workflow,
                inside: request.inside,
            },
            plan: Arc::new(plan),
            served,
            done: BTreeMap::new(),
            context: BTreeMap::new(),
        })
    }

    async fn accept(&self, submit: Submit, execute: bool) -> Result<Submitted, Failure> {
        let submit = Arc::new(submit);
        match self.ask(Command::Submit(Arc::clone(&submit))).await? {
            Answered { created: Some(created), .. } => {
                Ok(Submitted { view: self.just_created(created).await?, existed: false })
            }
            Answered { reply: Reply::Submitted { task, .. }, .. } => {
                self.found(task, submit.digest, execute).await
            }
            Answered { reply, .. } => Err(unexpected(&reply)),
        }
    }

    /// A task of that name, if it is the same one; one that is to be started and was not is started now.
    async fn found(&self, task: TaskNo, digest: [u8; 32], execute: bool) -> Result<Submitted, Failure> {
        let mut view = self.view(task, false).await?;
        if view.task.digest != digest {
            return Err(Reject::TaskConflict(view.task.id).into());
        }
        if execute && view.task.status == TaskStatus::Planned {
            self.execute(view.task.tenant, &view.task.id, Mode::Auto, &[]).await?;
            view = self.view(task, false).await?;
        }
        Ok(Submitted { view, existed: true })
    }

    /// What was committed a moment ago, without reading it back.
    async fn just_created(&self, created: Created) -> Result<TaskView, Failure> {
        let Created { head, subtasks, events } = created;
        let record = self.docs.record_of(&*self.store, head.no, head.total).await?;
        let record = record.ok_or_else(|| Failure::Internal(format!("task {} has no plan", head.no)))?;
        let (outputs, notes) = (BTreeMap::new(), self.notes_of(&record).await?);
        Ok(TaskView::new(head, subtasks, record, outputs, &notes, &events, self.registry.now()))
    }

    /// Starts a task, resumes it, or states anew what is held. `checkpoints` are keys or subtask ids.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for unknown checkpoints, `Reject(TaskFinished)`, `Unavailable`.
    pub async fn execute(
        &self,
        tenant: TenantNo,
        id: &str,
        mode: Mode,
        checkpoints: &[String],
    ) -> Result<Executed, Failure> {
        let (task, record) = self.find(tenant, id).await?;
        let mut places = BTreeSet::new();
        let mut unknown = Vec::new();
        for (i, name) in checkpoints.iter().enumerate() {
            match record.plan.find(name) {
                Some(index) => drop(places.insert(index)),
                None => unknown.push(Violation::new(
                    format!("checkpoints[{i}]"),
                    format!("the plan has no subtask `{}`", name.escape_debug()),
                )),
            }
        }
        if !unknown.is_empty() {
            return Err(Failure::Invalid(unknown));
        }
        let served = self.served(&record.plan).await?;
        match self.decide(Command::Execute { task, mode, checkpoints: places, served }).await? {
            Reply::Executed { status, blocked } => {
                Ok(Executed { id: id.to_owned(), status, record, blocked })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// A whole task.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn task(&self, tenant: TenantNo, id: &str, omit_outputs: bool) -> Result<TaskView, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        self.view(task, !omit_outputs).await
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list(&self, list: &ListTasks) -> Result<TaskPage, Failure> {
        Ok(self.store.list_tasks(list).await?)
    }

    /// Ends a task for good. With `compensate` what was done is undone first, and until then the task runs: gives the
    /// status.
    ///
    /// # Errors
    /// `NotFound`, `Reject(TaskFinished)` when it completed or failed before, `Unavailable`.
    pub async fn cancel(
        &self,
        tenant: TenantNo,
        id: &str,
        reason: String,
        compensate: bool,
    ) -> Result<TaskStatus, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        self.status(Command::Cancel { task, reason, compensate }).await
    }

    /// No new leases until it is executed again.
    ///
    /// # Errors
    /// `NotFound`, `Reject`, `Unavailable`.
    pub async fn pause(&self, tenant: TenantNo, id: &str) -> Result<TaskStatus, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        self.status(Command::Pause { task }).await
    }

    /// What a person does with one subtask (full id or key).
    ///
    /// # Errors
    /// `NotFound`, `Reject(SubtaskState)`, `Unavailable`.
    pub async fn review(
        &self,
        tenant: TenantNo,
        id: &str,
        subtask: &str,
        action: Action,
        by: String,
    ) -> Result<SubtaskState, Failure> {
        let make = |task, index| Command::Review { task, index, action: action.clone(), by: by.clone() };
        self.on_subtask(tenant, id, subtask, make).await
    }

    /// What somebody chooses at an approval; gives the state it is in then.
    ///
    /// # Errors
    /// `NotFound`, `Reject` (`DigestMismatch`, `NotAnApprover`, `OptionUnknown`, `SubtaskState`), `Unavailable`.
    pub async fn decide_subtask(
        &self,
        tenant: TenantNo,
        id: &str,
        subtask: &str,
        decision: Decision,
    ) -> Result<SubtaskState, Failure> {
        let decision = Arc::new(decision);
        let make = |task, index| Command::Decide { task, index, decision: Arc::clone(&decision) };
        self.on_subtask(tenant, id, subtask, make).await
    }

    /// Does something with a subtask by its name. Another replica may have something else in its place meanwhile: what
    /// is refused is tried once more with the plan as it is now.
    async fn on_subtask(
        &self,
        tenant: TenantNo,
        id: &str,
        subtask: &str,
        make: impl Fn(TaskNo, Index) -> Command,
    ) -> Result<SubtaskState, Failure> {
        let (task, index, _) = self.find_subtask(tenant, id, subtask).await?;
        let answer = self.state(make(task, index)).await;
        let Err(Failure::Reject(Reject::SubtaskState { .. })) = &answer else { return answer };
        let newest = self.newest(task).await?.and_then(|record| record.plan.find(subtask));
        match newest.filter(|newest| *newest != index) {
            Some(newest) => self.state(make(task, newest)).await,
            None => answer,
        }
    }

    /// Tells a task that something happened; gives whether a subtask waited for it.
    ///
    /// # Errors
    /// `NotFound`, `Reject` (`TaskFinished`, `TooManySignals`), `Unavailable`.
    pub async fn signal(&self, tenant: TenantNo, id: &str, signal: Sent) -> Result<bool, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        match self.decide(Command::Signal { task, signal: Arc::new(signal) }).await? {
            Reply::Signalled { taken } => Ok(taken),
            other => Err(unexpected(&other)),
        }
    }

    async fn all_events(&self, task: TaskNo, count: u64) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        while (events.len() as u64) < count {
            let page = self.store.events(task, events.len() as u64, EVENTS_PAGE).await?;
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        events.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(events)
    }

    /// Sends a subtask to another agent by hand; gives its full id.
    ///
    /// # Errors
    /// `NotFound`, `Reject` (`SubtaskState`, `ApprovalRequired`), `Unavailable`.
    pub async fn route_subtask(
        &self,
        tenant: TenantNo,
        id: &str,
        subtask: &str,
        agent: &str,
    ) -> Result<String, Failure> {
        let (task, index, record) = self.find_subtask(tenant, id, subtask).await?;
        self.approved(&record, index, None, Some(agent))?;
        let spec = RouteSpec::new(agent, &[]);
        let route = self.routes(tenant, &[spec]).await?[0];
        self.state(Command::Route { task, index, route }).await?;
        Ok(record.plan.node(index).map(|node| node.id.clone()).unwrap_or_default())
    }

    /// What one subtask delivered.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn output(&self, tenant: TenantNo, id: &str, subtask: &str) -> Result<Delivered, Failure> {
        let (task, index, _) = self.find_subtask(tenant, id, subtask).await?;
        let mut found = self.docs.outputs(&*self.store, task, &[index]).await?;
        Ok(found.pop().flatten().unwrap_or_default())
    }

    /// Events numbered above `after`, at most about `limit`.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn events(
        &self,
        tenant: TenantNo,
        id: &str,
        after: u64,
        limit: u32,
    ) -> Result<EventPage, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        let mut events = self.store.events(task, after, limit).await?;
        events.truncate(limit as usize);
        let ended = events.is_empty() && self.has_ended(task, after).await?;
        let record = self.record_naming(task, &events).await?;
        let page = EventPage::new(events, &record, limit);
        Ok(EventPage { end: page.end || ended, ..page })
    }

    /// The plan with all the nodes that the events are about.
    pub(crate) async fn record_naming(
        &self,
        task: TaskNo,
        events: &[Event],
    ) -> Result<Arc<PlanRecord>, Failure> {
        let record = self.docs.record_of(&*self.store, task, EventPage::nodes_named(events)).await?;
        record.ok_or_else(|| Failure::NotFound { what: "task", name: task.to_string() })
    }

    /// Whether the task is final, and its last event not above `after`.
    pub(crate) async fn has_ended(&self, task: TaskNo, after: u64) -> Result<bool, Failure> {
        let head = self.store.task(task).await?;
        Ok(head.is_some_and(|head| head.task.status.is_terminal() && head.task.events <= after))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ready(&self) -> Result<(), Failure> {
        Ok(self.store.ping().await?)
    }

    pub(crate) async fn find(
        &self,
        tenant: TenantNo,
        id: &str,
    ) -> Result<(TaskNo, Arc<PlanRecord>), Failure> {
        let unknown = || Failure::NotFound { what: "task", name: id.to_owned() };
        let task = self.docs.named(&*self.store, tenant, id).await?.ok_or_else(unknown)?;
        let record = self.docs.record(&*self.store, task).await?.ok_or_else(unknown)?;
        Ok((task, record))
    }

    async fn find_subtask(
        &self,
        tenant: TenantNo,
        id: &str,
        subtask: &str,
    ) -> Result<(TaskNo, Index, Arc<PlanRecord>), Failure> {
        let (task, record) = self.find(tenant, id).await?;
        let record = match record.plan.find(subtask) {
            Some(_) => record,
            None => self.newest(task).await?.unwrap_or(record),
        };
        match record.plan.find(subtask) {
            Some(index) => Ok((task, index, record)),
            None => Err(Failure::NotFound { what: "subtask", name: subtask.to_owned() }),
        }
    }

    /// The plan as it is now: it may have grown elsewhere.
    async fn newest(&self, task: TaskNo) -> Result<Option<Arc<PlanRecord>>, Failure> {
        let total = self.store.task(task).await?.map_or(0, |head| head.task.total);
        Ok(self.docs.record_of(&*self.store, task, total).await?)
    }

    async fn view(&self, task: TaskNo, with_outputs: bool) -> Result<TaskView, Failure> {
        let unknown = || Failure::NotFound { what: "task", name: task.to_string() };
        let head = self.store.task(task).await?.ok_or_else(unknown)?;
        let record = self.docs.record_of(&*self.store, task, head.task.total).await?.ok_or_else(unknown)?;
        let mut outputs = BTreeMap::new();
        if with_outputs && head.task.unfinished < head.task.total {
            let found = self.store.outputs_of(task).await?;
            outputs = found
                .into_iter()
                .map(|o| (o.index, Delivered { body: o.body, artifacts: o.artifacts }))
                .collect();
        }
        let notes = self.notes_of(&record).await?;
        let events = self.all_events(task, head.task.events).await?;
        Ok(TaskView::new(head.task, head.subtasks, record, outputs, &notes, &events, self.registry.now()))
    }

    /// What is kept of the approvals of a plan; most plans have none.
    async fn notes_of(&self, record: &PlanRecord) -> Result<Vec<(NoteKey, Bytes)>, Failure> {
        let asks = record.plan.nodes().iter().any(|node| matches!(node.does, Does::Approval(_)));
        Ok(if asks { self.store.notes(record.task).await? } else { Vec::new() })
    }

    async fn status(&self, command: Command) -> Result<TaskStatus, Failure> {
        match self.decide(command).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    async fn state(&self, command: Command) -> Result<SubtaskState, Failure> {
        match self.decide(command).await? {
            Reply::State(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// Hands a command to the committer and waits until its outcome is durable.
    pub(crate) async fn decide(&self, command: Command) -> Result<Reply, Failure> {
        Ok(self.ask(command).await?.reply)
    }

    async fn ask(&self, command: Command) -> Result<Answered, Failure> {
        let (answer, reply) = oneshot::channel();
        self.send(Input::Command { command, answer: Answer::Caller(answer) }).await?;
        match tokio::time::timeout(COMMIT_WAIT, reply).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Failure::Unavailable {
                message: "the database does not answer; the request may still take effect".into(),
                retry_after_ms: RETRY_AFTER_MS,
            }),
        }
    }

    pub(crate) async fn send(&self, input: Input) -> Result<(), Failure> {
        match tokio::time::timeout(COMMIT_WAIT, self.inbox.send(input)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Failure::Unavailable {
                message: "the control plane is overloaded, or its database is away".into(),
                retry_after_ms: RETRY_AFTER_MS,
            }),
        }
    }
}

fn stopping() -> Failure {
    Failure::Unavailable { message: "this control plane is stopping".into(), retry_after_ms: RETRY_AFTER_MS }
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::Internal(format!("unexpected reply {reply:?}"))
}
