//! A replica's way to the database, with everything that happens on it: delays, lost connections, commits of
//! unknown outcome, conflicts, and the death of the replica at each point of a step. The auditor sees every
//! commit here, the moment it is durable.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use downbeat_core::{
    effect::Queued,
    event::Event,
    id::{Index, ReplicaNo, RouteNo, ScheduleNo, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    plan::RouteSpec,
    reads::Reads,
    rows::{AgentSeen, Changes, Output},
    schedule::Schedule,
    session::Session,
    time::Time,
};
use downbeat_store::{
    Leased, ListTasks, Loaded, Places, PlanRecord, Result, Route, ScheduleRecord, Store, StoreError,
    TaskPage, TaskRecord, Tick, WorkflowChange, WorkflowRecord, WorkflowVersion, Writer,
};
use futures::future::BoxFuture;
use tokio::{sync::mpsc, time::sleep};

use super::{
    World,
    plant::{self, Told},
    process::Process,
};

/// A commit that the server carries out though nobody waits for it any more takes up to so long.
const LATE_COMMIT_MS: u64 = 3_000;
/// What was read takes up to so long to arrive.
const LATE_READ_MS: u64 = 10_000;

/// A store as one replica reaches it.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    world: Arc<World>,
    process: Arc<Process>,
    told: Told,
}

fn away(commit_unknown: bool) -> StoreError {
    StoreError::Unavailable { message: "simulated".into(), commit_unknown }
}

impl FaultyStore {
    /// The way of the replica in this process.
    pub fn new(inner: Arc<dyn Store>, world: Arc<World>, process: Arc<Process>) -> FaultyStore {
        FaultyStore { inner, world, process, told: Told::default() }
    }

    /// A round trip: the way there, what is found, the way back.
    async fn trip<T>(&self, ask: impl Future<Output = Result<T>>) -> Result<T> {
        self.world.count(|tally| tally.queries += 1);
        sleep(self.world.delay()).await;
        if self.world.database_is_away() || self.world.store_strikes(|weather| weather.read_fails) {
            return Err(away(false));
        }
        let found = ask.await;
        self.world.judge(&found);
        sleep(self.world.delay()).await;
        if self.world.store_strikes(|weather| weather.read_late) {
            sleep(Duration::from_millis(self.world.draw(|rng| rng.skewed(LATE_READ_MS)))).await;
        }
        found
    }

    /// A write of its own. The replica may die around it, and the answer may be lost.
    async fn write<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        may_die(&self.world, &self.process, "before it writes").await;
        let written = self.trip(write).await?;
        may_die(&self.world, &self.process, "after it wrote").await;
        if self.world.store_strikes(|weather| weather.commit_unknown) {
            return Err(away(true));
        }
        Ok(written)
    }
}

/// The replica may die here; then nothing of it goes on.
async fn may_die(world: &World, process: &Process, point: &str) {
    if world.strikes(|weather| weather.step_crash) {
        world.note(|| format!("a replica dies {point}"));
        world.count(|tally| tally.crashes += 1);
        process.kill();
        std::future::pending::<()>().await;
    }
}

impl Store for FaultyStore {
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn Writer>>> {
        let writer = FaultyWriter {
            store: Arc::clone(&self.inner),
            world: Arc::clone(&self.world),
            process: Arc::clone(&self.process),
            inner: None,
            began: 0,
        };
        Box::pin(async move { Ok(Box::new(writer) as Box<dyn Writer>) })
    }

    fn join(&self) -> BoxFuture<'_, Result<ReplicaNo>> {
        Box::pin(self.trip(self.inner.join()))
    }

    fn leave(&self, replica: ReplicaNo) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.trip(self.inner.leave(replica)))
    }

    fn tick(
        &self,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: u32,
        lines: bool,
    ) -> BoxFuture<'_, Result<Tick>> {
        Box::pin(self.trip(async move { self.inner.tick(replica, dead_after_ms, limit, lines).await }))
    }

    fn intern_routes<'a>(
        &'a self,
        tenant: TenantNo,
        specs: &'a [RouteSpec],
    ) -> BoxFuture<'a, Result<Vec<RouteNo>>> {
        Box::pin(self.trip(async move { self.inner.intern_routes(tenant, specs).await }))
    }

    fn routes_after(&self, after: RouteNo) -> BoxFuture<'_, Result<Vec<Route>>> {
        Box::pin(self.trip(async move {
            let from = plant::routes_asked(&self.world, &self.told, after);
            let routes = self.inner.routes_after(from).await?;
            plant::routes_told(&self.told, &routes);
            Ok(routes)
        }))
    }

    fn find_task<'a>(&'a self, tenant: TenantNo, id: &'a str) -> BoxFuture<'a, Result<Option<TaskNo>>> {
        Box::pin(self.trip(async move { self.inner.find_task(tenant, id).await }))
    }

    fn plans<'a>(&'a self, tasks: &'a [TaskNo]) -> BoxFuture<'a, Result<Vec<PlanRecord>>> {
        Box::pin(self.trip(async move { self.inner.plans(tasks).await }))
    }

    fn task(&self, task: TaskNo) -> BoxFuture<'_, Result<Option<TaskRecord>>> {
        Box::pin(self.trip(async move { self.inner.task(task).await }))
    }

    fn list_tasks<'a>(&'a self, list: &'a ListTasks) -> BoxFuture<'a, Result<TaskPage>> {
        Box::pin(self.trip(async move { self.inner.list_tasks(list).await }))
    }

    fn outputs<'a>(&'a self, of: &'a [(TaskNo, Index)]) -> BoxFuture<'a, Result<Vec<Output>>> {
        Box::pin(self.trip(async move { self.inner.outputs(of).await }))
    }

    fn outputs_of(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<Output>>> {
        Box::pin(self.trip(async move { self.inner.outputs_of(task).await }))
    }

    fn notes(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<(NoteKey, Bytes)>>> {
        Box::pin(self.trip(async move { self.inner.notes(task).await }))
    }

    fn notes_at<'a>(
        &'a self,
        task: TaskNo,
        keys: &'a [NoteKey],
    ) -> BoxFuture<'a, Result<Vec<(NoteKey, Bytes)>>> {
        Box::pin(self.trip(async move { self.inner.notes_at(task, keys).await }))
    }

    fn events(&self, task: TaskNo, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Event>>> {
        Box::pin(self.trip(async move { self.inner.events(task, after, limit).await }))
    }

    fn ready(&self, route: RouteNo, from: Places, limit: u32) -> BoxFuture<'_, Result<Vec<Queued>>> {
        Box::pin(self.trip(async move { self.inner.ready(route, from, limit).await }))
    }

    fn stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(TaskNo, Index)>>> {
        Box::pin(self.trip(async move { self.inner.stuck(route, blocked, before, limit).await }))
    }

    fn sessions(&self) -> BoxFuture<'_, Result<Vec<Session>>> {
        Box::pin(self.trip(async move {
            let sessions = self.inner.sessions().await?;
            Ok(plant::sessions_told(&self.world, &self.told, sessions))
        }))
    }

    fn leases<'a>(&'a self, of: &'a [SessionNo]) -> BoxFuture<'a, Result<Vec<Leased>>> {
        Box::pin(self.trip(async move {
            let leases = self.inner.leases(of).await?;
            Ok(plant::leases_told(&self.world, leases))
        }))
    }

    fn lease_counts(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<(SessionNo, u32)>>> {
        Box::pin(self.trip(async move { self.inner.lease_counts(tenant).await }))
    }

    fn agents(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<AgentSeen>>> {
        Box::pin(self.trip(async move { self.inner.agents(tenant).await }))
    }

    fn workflow<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        version: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<WorkflowRecord>>> {
        Box::pin(self.trip(async move { self.inner.workflow(tenant, name, version).await }))
    }

    fn workflows<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        Box::pin(self.trip(async move { self.inner.workflows(tenant, after, limit).await }))
    }

    fn workflow_versions<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        before: u32,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        Box::pin(self.trip(async move { self.inner.workflow_versions(tenant, name, before, limit).await }))
    }

    fn change_workflow<'a>(&'a self, change: &'a WorkflowChange) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.trip(async move { self.inner.change_workflow(change).await }))
    }

    fn schedule<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleRecord>>> {
        Box::pin(self.trip(async move { self.inner.schedule(tenant, name).await }))
    }

    fn schedule_numbered(&self, no: ScheduleNo) -> BoxFuture<'_, Result<Option<ScheduleRecord>>> {
        Box::pin(self.trip(async move { self.inner.schedule_numbered(no).await }))
    }

    fn schedules<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Schedule>>> {
        Box::pin(self.trip(async move { self.inner.schedules(tenant, after, limit).await }))
    }

    fn create_schedule<'a>(&'a self, new: &'a ScheduleRecord) -> BoxFuture<'a, Result<ScheduleNo>> {
        Box::pin(self.write(async move {
            let no = self.inner.create_schedule(new).await?;
            self.world.audit(|auditor| auditor.schedule_created(no, &new.schedule));
            Ok(no)
        }))
    }

    fn change_schedule<'a>(
        &'a self,
        schedule: &'a Schedule,
        starts: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.write(async move {
            let forced = plant::unfenced(&self.world, &*self.inner, schedule).await?;
            self.inner.change_schedule(forced.as_ref().unwrap_or(schedule), starts).await?;
            let now = (self.world.clock())();
            self.world.audit(|auditor| auditor.schedule_changed(schedule, now));
            Ok(())
        }))
    }

    fn delete_schedule(&self, no: ScheduleNo) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(async move { self.inner.delete_schedule(no).await }))
    }

    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.trip(async move { self.inner.maintain().await }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.trip(async move { self.inner.ping().await }))
    }

    fn notify<'a>(&'a self, hint: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.trip(async move {
            if self.world.strikes(|weather| weather.hint_lost) {
                return Ok(());
            }
            self.inner.notify(hint).await
        }))
    }

    fn listen(&self) -> BoxFuture<'_, Result<Option<mpsc::Receiver<String>>>> {
        Box::pin(self.trip(async move { self.inner.listen().await }))
    }
}

/// A connection for batches, as one replica uses it.
struct FaultyWriter {
    store: Arc<dyn Store>,
    world: Arc<World>,
    process: Arc<Process>,
    inner: Option<Box<dyn Writer>>,
    /// Before anything of the present batch was decided, by [`World::number`].
    began: u64,
}

impl FaultyWriter {
    async fn may_die(&mut self, point: &str) {
        may_die(&self.world, &self.process, point).await;
    }

    async fn fetch(&mut self, reads: &Reads) -> Result<Loaded> {
        self.may_die("before it loads").await;
        sleep(self.world.delay()).await;
        if self.world.database_is_away() || self.world.store_strikes(|weather| weather.load_fails) {
            self.inner = None;
            return Err(away(false));
        }
        let mut inner = match self.inner.take() {
            Some(inner) => inner,
            None => self.store.writer().await?,
        };
        let loaded = inner.load(reads).await;
        self.world.judge(&loaded);
        let mut loaded = loaded?;
        plant::take_down_fences(&self.world, &*self.store, reads, &mut loaded).await?;
        self.inner = Some(inner);
        sleep(self.world.delay()).await;
        self.may_die("with rows loaded").await;
        Ok(loaded)
    }

    async fn save(&mut self, changes: &Changes) -> Result<()> {
        self.may_die("before it commits").await;
        sleep(self.world.delay()).await;
        let Some(mut inner) = self.inner.take() else { return Err(away(false)) };
        let world = Arc::clone(&self.world);
        if world.store_strikes(|weather| weather.conflict) {
            return Err(StoreError::Conflict("simulated".into()));
        }
        if world.store_strikes(|weather| weather.commit_fails) {
            return Err(away(world.draw(|rng| rng.coin())));
        }
        let spoiled = plant::spoil(&world, changes);
        let changes = spoiled.as_ref().unwrap_or(changes);
        if world.database_is_away() {
            // It went away while this was open: perhaps just after the commit.
            if world.draw(|rng| rng.coin()) {
                world.planted().commit_unknown(changes);
                commit(&world, &*self.store, inner.as_mut(), changes, self.began).await?;
            }
            return Err(away(true));
        }
        if world.store_strikes(|weather| weather.commit_late) {
            self.commit_later(inner, copy(changes));
            return Err(away(true));
        }
        if world.store_strikes(|weather| weather.commit_unknown) {
            world.count(|tally| tally.unknown_commits += 1);
            world.planted().commit_unknown(changes);
            commit(&world, &*self.store, inner.as_mut(), changes, self.began).await?;
            self.may_die("after it committed").await;
            return Err(away(true));
        }
        commit(&world, &*self.store, inner.as_mut(), changes, self.began).await?;
        self.may_die("after it committed").await;
        self.inner = Some(inner);
        sleep(world.delay()).await;
        self.began = world.number();
        Ok(())
    }

    /// The server carries the commit out, though its client is gone; its locks stay until then.
    fn commit_later(&self, mut inner: Box<dyn Writer>, changes: Changes) {
        let (world, store, began) = (Arc::clone(&self.world), Arc::clone(&self.store), self.began);
        world.planted().commit_unknown(&changes);
        world.count(|tally| tally.unknown_commits += 1);
        let wait = Duration::from_millis(world.draw(|rng| rng.skewed(LATE_COMMIT_MS)));
        tokio::spawn(async move {
            sleep(wait).await;
            // Nobody is there to hear of a conflict.
            let _ = commit(&world, &*store, inner.as_mut(), &changes, began).await;
        });
    }
}

/// Commits, and shows the auditor what is in the database now.
async fn commit(
    world: &World,
    store: &dyn Store,
    writer: &mut dyn Writer,
    changes: &Changes,
    began: u64,
) -> Result<()> {
    let done = writer.commit(changes).await;
    world.judge(&done);
    done?;
    world.count(|tally| tally.commits += 1);
    world.note(|| format!("commit: {}", summary(changes)));
    let (now_ms, database_now) = (world.elapsed_ms(), (world.clock())());
    world.audit(|auditor| auditor.committed(store, changes, now_ms, database_now, began));
    Ok(())
}

impl Writer for FaultyWriter {
    fn load<'a>(&'a mut self, reads: &'a Reads) -> BoxFuture<'a, Result<Loaded>> {
        Box::pin(self.fetch(reads))
    }

    fn commit<'a>(&'a mut self, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.save(changes))
    }

    fn rollback(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(inner) = &mut self.inner {
                inner.rollback().await;
            }
            self.began = self.world.number();
        })
    }
}

/// The same changes once more.
pub(super) fn copy(changes: &Changes) -> Changes {
    Changes {
        new_tasks: changes.new_tasks.clone(),
        tasks: changes.tasks.clone(),
        new_plans: changes.new_plans.clone(),
        growth: changes.growth.clone(),
        new_subtasks: changes.new_subtasks.clone(),
        subtasks: changes.subtasks.clone(),
        outputs: changes.outputs.clone(),
        notes: changes.notes.clone(),
        history: changes.history.clone(),
        new_sessions: changes.new_sessions.clone(),
        sessions: changes.sessions.clone(),
        dead_sessions: changes.dead_sessions.clone(),
        agents: changes.agents.clone(),
    }
}

fn summary(changes: &Changes) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for task in &changes.new_tasks {
        let _ = write!(text, "new task {} `{}`; ", task.no, task.id);
    }
    for row in &changes.subtasks {
        let (state, lease, session) = (row.row.state.word(), row.row.lease, row.row.session);
        let _ = write!(text, "{}/{} {state}", row.task, row.index);
        if let (Some(lease), Some(session)) = (lease, session) {
            let _ = write!(text, " lease {lease} session {session}");
        }
        text.push_str("; ");
    }
    for session in changes.new_sessions.iter().chain(&changes.sessions) {
        let (no, state, replica) = (session.no, session.state.word(), session.replica);
        let _ = write!(text, "session {no} {state} at {replica}");
        if let Some(at) = session.wake_at {
            let _ = write!(text, " until {at:?}");
        }
        text.push_str("; ");
    }
    for no in &changes.dead_sessions {
        let _ = write!(text, "session {no} forgotten; ");
    }
    text
}
