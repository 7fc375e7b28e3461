//! Models `engine.rs`: the calls of clients, as they reach one replica over a network.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use downbeat_core::{
    command::{Action, Command, Reply, Request, Submit},
    id::{Index, LeaseId, RouteNo, SessionNo, TaskNo, TenantNo},
    plan::{Draft, Plan, RouteSpec},
    reject::Reject,
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
    time::Time,
};
use downbeat_store::{Route, StoreError, TaskRecord};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    Engine,
    committer::{Answer, Input},
};
use crate::sim::{Plant, process::lock};

const COMMIT_WAIT: Duration = Duration::from_secs(10);
/// A client gives up a call after so long.
const CALL_WAIT: Duration = Duration::from_secs(15);
const TENANT: TenantNo = TenantNo::DEFAULT;

/// Why a call came to nothing, as far as its caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Reject(Reject),
    NotFound,
    /// It may have taken effect, or still take it.
    Unavailable,
}

impl From<StoreError> for Refusal {
    fn from(_: StoreError) -> Refusal {
        Refusal::Unavailable
    }
}

/// A request to plan a task.
#[derive(Clone, Debug)]
pub struct Submission {
    pub id: String,
    pub digest: [u8; 32],
    pub priority: Priority,
    pub deadline: Option<Time>,
    pub drafts: Vec<Draft>,
}

impl Engine {
    /// Does `call` in the replica's process, over a network that loses answers.
    ///
    /// # Errors
    /// The call's, or `Unavailable`.
    pub async fn call<T, C, F>(&self, call: C) -> Result<T, Refusal>
    where
        T: Send + 'static,
        C: FnOnce(Engine) -> F + Send + 'static,
        F: Future<Output = Result<T, Refusal>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        let engine = self.clone();
        let way = self.world.delay();
        self.process.spawn(async move {
            sleep(way).await;
            let done = call(engine).await;
            let _ = answer.send(done);
        });
        let done = timeout(CALL_WAIT, answered).await;
        if self.world.strikes(|weather| weather.answer_lost) {
            return Err(Refusal::Unavailable);
        }
        sleep(self.world.delay()).await;
        done.ok().and_then(Result::ok).unwrap_or(Err(Refusal::Unavailable))
    }

    /// Signs off, and ends the process.
    pub async fn leave(self) {
        self.process.kill();
        // The others notice if it fails.
        let _ = self.store.leave(self.replica).await;
    }

    /// Plans a task, or finds that it exists.
    ///
    /// # Errors
    /// `Reject(TaskConflict)`, `Unavailable`.
    pub async fn submit(self, request: Submission) -> Result<(TaskNo, bool), Refusal> {
        if let Some(task) = self.store.find_task(TENANT, &request.id).await? {
            let head = self.store.task(task).await?.ok_or(Refusal::NotFound)?;
            return if head.task.digest == request.digest {
                Ok((task, true))
            } else {
                Err(Refusal::Reject(Reject::TaskConflict(request.id)))
            };
        }
        let specs: BTreeSet<RouteSpec> =
            request.drafts.iter().map(|draft| RouteSpec::new(&draft.agent, &draft.capabilities)).collect();
        let specs: Vec<RouteSpec> = specs.into_iter().collect();
        let numbers = self.routes(&specs).await?;
        let routes: BTreeMap<&RouteSpec, RouteNo> = specs.iter().zip(numbers).collect();
        let attempts = self.world.settings.policy.attempts_max;
        let plan = Plan::build(&request.id, request.priority, attempts, &request.drafts, |spec| routes[spec]);
        let submit = Submit {
            tenant: TENANT,
            id: request.id,
            digest: request.digest,
            priority: request.priority,
            deadline: request.deadline,
            due_at: None,
            request: Request::default(),
            plan: Arc::new(plan),
            served: None,
        };
        match self.decide(Command::Submit(Arc::new(submit))).await? {
            Reply::Submitted { task, existed, .. } => Ok((task, existed)),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn routes(&self, specs: &[RouteSpec]) -> Result<Vec<RouteNo>, Refusal> {
        let known = lock(&self.registry).known_routes(TENANT, specs);
        if let Some(known) = known {
            return Ok(known);
        }
        let numbers = self.store.intern_routes(TENANT, specs).await?;
        let route =
            |(spec, no): (&RouteSpec, &RouteNo)| Route { no: *no, tenant: TENANT, spec: spec.clone() };
        let routes: Vec<Route> = specs.iter().zip(&numbers).map(route).collect();
        lock(&self.registry).learn_routes(&routes);
        self.send(Input::Routes(routes)).await?;
        Ok(numbers)
    }

    /// Starts a task, resumes it, or states anew what is held.
    ///
    /// # Errors
    /// `Reject`, `Unavailable`.
    pub async fn execute(
        self,
        task: TaskNo,
        mode: Mode,
        checkpoints: BTreeSet<Index>,
    ) -> Result<TaskStatus, Refusal> {
        let record = self.docs.record(&*self.store, task).await?.ok_or(Refusal::NotFound)?;
        let routes: BTreeSet<RouteNo> = record.plan.nodes().iter().map(|node| node.route).collect();
        let mut served = lock(&self.registry).served_now(&routes);
        if served.len() < routes.len() {
            let after = lock(&self.registry).routes_read();
            let read = self.store.routes_after(after).await?;
            lock(&self.registry).read_routes(&read);
            if !read.is_empty() && !self.world.has(Plant::RoutesUntold) {
                self.send(Input::Routes(read)).await?;
            }
            let sessions = self.store.sessions().await?;
            lock(&self.registry).learn_sessions(sessions);
            served = lock(&self.registry).served_now(&routes);
        }
        match self.decide(Command::Execute { task, mode, checkpoints, served }).await? {
            Reply::Executed { status, .. } => Ok(status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A task with its subtasks.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn task(self, task: TaskNo) -> Result<TaskRecord, Refusal> {
        self.store.task(task).await?.ok_or(Refusal::NotFound)
    }

    /// Ends a task for good.
    ///
    /// # Errors
    /// `Reject`, `Unavailable`.
    pub async fn cancel(self, task: TaskNo) -> Result<TaskStatus, Refusal> {
        self.status(Command::Cancel { task, reason: "simulated".into() }).await
    }

    /// No new leases until it is executed again.
    ///
    /// # Errors
    /// `Reject`, `Unavailable`.
    pub async fn pause(self, task: TaskNo) -> Result<TaskStatus, Refusal> {
        self.status(Command::Pause { task }).await
    }

    /// What a person does with one subtask.
    ///
    /// # Errors
    /// `Reject`, `Unavailable`.
    pub async fn review(self, task: TaskNo, index: Index, action: Action) -> Result<SubtaskState, Refusal> {
        self.state(Command::Review { task, index, action }).await
    }

    /// Sends a subtask to another agent by hand.
    ///
    /// # Errors
    /// `Reject`, `Unavailable`.
    pub async fn route(self, task: TaskNo, index: Index, agent: String) -> Result<SubtaskState, Refusal> {
        let numbers = self.routes(&[RouteSpec::new(&agent, &[])]).await?;
        let route = numbers.first().copied().ok_or(Refusal::NotFound)?;
        self.state(Command::Route { task, index, route }).await
    }

    /// Lets a worker finish what it has and go.
    ///
    /// # Errors
    /// `Reject`, `Unavailable`.
    pub async fn drain(self, session: SessionNo) -> Result<(), Refusal> {
        self.decide(Command::DrainSession { session }).await?;
        self.send(Input::LookAtSessions).await
    }

    async fn status(&self, command: Command) -> Result<TaskStatus, Refusal> {
        match self.decide(command).await? {
            Reply::Status(status) => Ok(status),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn state(&self, command: Command) -> Result<SubtaskState, Refusal> {
        match self.decide(command).await? {
            Reply::State(state) => Ok(state),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) async fn decide(&self, command: Command) -> Result<Reply, Refusal> {
        let (answer, reply) = oneshot::channel();
        self.send(Input::Command { command, answer: Answer::Caller(answer) }).await?;
        match timeout(COMMIT_WAIT, reply).await {
            Ok(Ok(reply)) => reply.map_err(Refusal::Reject),
            Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
        }
    }

    pub(super) async fn send(&self, input: Input) -> Result<(), Refusal> {
        match timeout(COMMIT_WAIT, self.inbox.send(input)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
        }
    }

    /// The auditor learns what this replica took in.
    pub(super) fn hear(&self, session: SessionNo, mentioned: impl IntoIterator<Item = LeaseId>) {
        let now_ms = self.world.elapsed_ms();
        self.world.audit(|auditor| {
            auditor.heard(session, self.replica, now_ms);
            auditor.heard_of(mentioned);
        });
    }

    pub(super) fn unexpected(&self, reply: &Reply) -> Refusal {
        self.world.fail(format!("unexpected reply {reply:?}"));
        Refusal::Unavailable
    }
}
