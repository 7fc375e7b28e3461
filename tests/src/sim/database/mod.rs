//! A database of maps: [`Store`] and [`Writer`] with real transactions, for speed. Locks are those of the
//! Postgres store: a load waits for a locked task, and leaves out hinted ones; what a transaction writes is
//! seen by others once it commits. Waiting needs no clock, so it runs on any executor.

mod locks;
mod schedules;
mod tables;
mod workflows;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use downbeat_core::{
    effect::Queued,
    event::Event,
    id::{Index, ReplicaNo, RouteNo, ScheduleNo, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    plan::RouteSpec,
    reads::Reads,
    rows::{AgentSeen, Changes, Output, Rows},
    schedule::Schedule,
    session::Session,
    time::Time,
};
use downbeat_store::{
    Leased, ListTasks, Loaded, Places, PlanRecord, Result, Route, ScheduleRecord, Store, StoreError,
    TaskPage, TaskRecord, Tick, WorkflowChange, WorkflowRecord, WorkflowVersion, Writer,
};
use futures::future::{BoxFuture, ready};
use tokio::sync::{Notify, mpsc};

use self::{
    locks::{Lock, Locks},
    tables::Tables,
};
use super::process::lock;

/// Hints waiting for one listener; more are dropped, as a hint may be.
const HINTS_MAX: usize = 64;

/// Where the time comes from.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// Rows in maps. Gone when it is dropped.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Some lock was given back.
    released: Notify,
    now: Now,
    quirks: Quirks,
}

/// What the simulation makes the database do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// Takes no locks at all: a bug to plant.
    pub lawless: bool,
    /// Gives every other route a number above the next one's: a sequence whose numbers become visible out of
    /// order, as they may in Postgres.
    pub routes_out_of_order: bool,
}

#[derive(Default)]
struct State {
    tables: Tables,
    locks: Locks,
    listeners: Vec<mpsc::Sender<String>>,
}

impl Database {
    /// An empty database.
    pub fn new(now: Now) -> Database {
        Database::with(now, Quirks::default())
    }

    /// An empty database with quirks.
    pub fn with(now: Now, quirks: Quirks) -> Database {
        let tables = Tables::new(quirks.routes_out_of_order);
        let state = Mutex::new(State { tables, ..State::default() });
        Database { shared: Arc::new(Shared { state, released: Notify::new(), now, quirks }) }
    }

    fn read<'a, T: Send + 'a>(&self, look: impl FnOnce(&Tables) -> T) -> BoxFuture<'a, Result<T>> {
        Box::pin(ready(Ok(look(&lock(&self.shared.state).tables))))
    }

    fn write<'a, T: Send + 'a>(&self, act: impl FnOnce(&mut Tables, Time) -> T) -> BoxFuture<'a, Result<T>> {
        let now = (self.shared.now)();
        Box::pin(ready(Ok(act(&mut lock(&self.shared.state).tables, now))))
    }
}

/// A connection with at most one open transaction.
struct MapWriter {
    shared: Arc<Shared>,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    transaction: u64,
    stamp: i64,
}

impl MapWriter {
    async fn begin(&mut self, reads: &Reads) -> Loaded {
        self.end();
        let transaction = lock(&self.shared.state).locks.begin();
        self.open = Some(Open { transaction, stamp: 0 });
        for no in reads.sessions.union(&reads.seats) {
            let exclusive = reads.sessions.contains(no);
            self.wait(transaction, Lock::Session(*no), exclusive).await;
        }
        let tasks = lock(&self.shared.state).tables.tasks_of(reads);
        for no in &tasks {
            self.wait(transaction, Lock::Task(*no), true).await;
        }
        let now = (self.shared.now)();
        let mut state = lock(&self.shared.state);
        let State { tables, locks, .. } = &mut *state;
        let hinted: Vec<(TaskNo, Index)> = reads
            .hints
            .iter()
            .filter(|(task, _)| {
                self.shared.quirks.lawless || locks.take(transaction, Lock::Task(*task), true)
            })
            .copied()
            .collect();
        let stamp = tables.next_stamp();
        self.open = Some(Open { transaction, stamp });
        let mut rows = Rows::default();
        tables.load(reads, &tasks, &hinted, &mut rows);
        Loaded { now, stamp, rows }
    }

    async fn wait(&self, transaction: u64, what: Lock, exclusive: bool) {
        loop {
            let mut released = std::pin::pin!(self.shared.released.notified());
            released.as_mut().enable();
            if self.shared.quirks.lawless || lock(&self.shared.state).locks.take(transaction, what, exclusive)
            {
                return;
            }
            released.await;
        }
    }

    fn finish(&mut self, changes: &Changes) -> Result<()> {
        let Some(open) = self.open else {
            return Err(StoreError::Refused("a batch is loaded before it is committed".into()));
        };
        let done = lock(&self.shared.state).tables.write(changes, open.stamp);
        self.end();
        done
    }

    fn end(&mut self) {
        if let Some(open) = self.open.take() {
            lock(&self.shared.state).locks.end(open.transaction);
            self.shared.released.notify_waiters();
        }
    }
}

impl Drop for MapWriter {
    fn drop(&mut self) {
        self.end();
    }
}

impl Writer for MapWriter {
    fn load<'a>(&'a mut self, reads: &'a Reads) -> BoxFuture<'a, Result<Loaded>> {
        Box::pin(async move { Ok(self.begin(reads).await) })
    }

    fn commit<'a>(&'a mut self, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.finish(changes) })
    }

    fn rollback(&mut self) -> BoxFuture<'_, ()> {
        self.end();
        Box::pin(async {})
    }
}

impl Store for Database {
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn Writer>>> {
        let writer = MapWriter { shared: Arc::clone(&self.shared), open: None };
        Box::pin(async move { Ok(Box::new(writer) as Box<dyn Writer>) })
    }

    fn join(&self) -> BoxFuture<'_, Result<ReplicaNo>> {
        self.write(Tables::join)
    }

    fn leave(&self, replica: ReplicaNo) -> BoxFuture<'_, Result<()>> {
        self.write(|tables, _| tables.leave(replica))
    }

    fn tick(
        &self,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: u32,
        lines: bool,
    ) -> BoxFuture<'_, Result<Tick>> {
        self.write(|tables, now| tables.tick(now, replica, dead_after_ms, limit as usize, lines))
    }

    fn intern_routes<'a>(
        &'a self,
        tenant: TenantNo,
        specs: &'a [RouteSpec],
    ) -> BoxFuture<'a, Result<Vec<RouteNo>>> {
        self.write(|tables, _| specs.iter().map(|spec| tables.intern(tenant, spec)).collect())
    }

    fn routes_after(&self, after: RouteNo) -> BoxFuture<'_, Result<Vec<Route>>> {
        self.read(|tables| tables.routes_after(after))
    }

    fn find_task<'a>(&'a self, tenant: TenantNo, id: &'a str) -> BoxFuture<'a, Result<Option<TaskNo>>> {
        self.read(|tables| tables.find_task(tenant, id))
    }

    fn plans<'a>(&'a self, tasks: &'a [TaskNo]) -> BoxFuture<'a, Result<Vec<PlanRecord>>> {
        self.read(|tables| tables.plans(tasks))
    }

    fn task(&self, task: TaskNo) -> BoxFuture<'_, Result<Option<TaskRecord>>> {
        self.read(|tables| tables.task(task))
    }

    fn list_tasks<'a>(&'a self, list: &'a ListTasks) -> BoxFuture<'a, Result<TaskPage>> {
        self.read(|tables| tables.list(list))
    }

    fn outputs<'a>(&'a self, of: &'a [(TaskNo, Index)]) -> BoxFuture<'a, Result<Vec<Output>>> {
        self.read(|tables| tables.outputs(of))
    }

    fn outputs_of(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<Output>>> {
        self.read(|tables| tables.outputs_of(task))
    }

    fn notes(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<(NoteKey, Bytes)>>> {
        self.read(|tables| tables.notes(task))
    }

    fn notes_at<'a>(
        &'a self,
        task: TaskNo,
        keys: &'a [NoteKey],
    ) -> BoxFuture<'a, Result<Vec<(NoteKey, Bytes)>>> {
        self.read(|tables| tables.notes_at(task, keys))
    }

    fn events(&self, task: TaskNo, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Event>>> {
        self.read(|tables| tables.events(task, after, limit as usize))
    }

    fn ready(&self, route: RouteNo, from: Places, limit: u32) -> BoxFuture<'_, Result<Vec<Queued>>> {
        self.read(|tables| tables.ready(route, from, limit as usize))
    }

    fn stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(TaskNo, Index)>>> {
        self.read(|tables| tables.stuck(route, blocked, before, limit as usize))
    }

    fn sessions(&self) -> BoxFuture<'_, Result<Vec<Session>>> {
        self.read(Tables::sessions)
    }

    fn leases<'a>(&'a self, of: &'a [SessionNo]) -> BoxFuture<'a, Result<Vec<Leased>>> {
        self.read(|tables| tables.leases(of))
    }

    fn lease_counts(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<(SessionNo, u32)>>> {
        self.read(|tables| tables.lease_counts(tenant))
    }

    fn agents(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<AgentSeen>>> {
        self.read(|tables| tables.agents(tenant))
    }

    fn workflow<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        version: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<WorkflowRecord>>> {
        self.read(|tables| tables.workflows.find(tenant, name, version))
    }

    fn workflows<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        self.read(|tables| tables.workflows.list(tenant, after, limit as usize))
    }

    fn workflow_versions<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        before: u32,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        self.read(|tables| tables.workflows.versions(tenant, name, before, limit as usize))
    }

    fn change_workflow<'a>(&'a self, change: &'a WorkflowChange) -> BoxFuture<'a, Result<()>> {
        let changed = lock(&self.shared.state).tables.workflows.change(change);
        Box::pin(ready(changed))
    }

    fn schedule<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleRecord>>> {
        self.read(|tables| tables.schedules.named(tenant, name))
    }

    fn schedule_numbered(&self, no: ScheduleNo) -> BoxFuture<'_, Result<Option<ScheduleRecord>>> {
        self.read(|tables| tables.schedules.numbered(no))
    }

    fn schedules<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Schedule>>> {
        self.read(|tables| tables.schedules.list(tenant, after, limit as usize))
    }

    fn create_schedule<'a>(&'a self, new: &'a ScheduleRecord) -> BoxFuture<'a, Result<ScheduleNo>> {
        Box::pin(ready(lock(&self.shared.state).tables.schedules.create(new)))
    }

    fn change_schedule<'a>(
        &'a self,
        schedule: &'a Schedule,
        starts: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(lock(&self.shared.state).tables.schedules.change(schedule, starts)))
    }

    fn delete_schedule(&self, no: ScheduleNo) -> BoxFuture<'_, Result<()>> {
        self.write(move |tables, _| tables.schedules.delete(no))
    }

    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn notify<'a>(&'a self, hint: &'a str) -> BoxFuture<'a, Result<()>> {
        lock(&self.shared.state).listeners.retain(|listener| match listener.try_send(hint.to_owned()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        Box::pin(async { Ok(()) })
    }

    fn listen(&self) -> BoxFuture<'_, Result<Option<mpsc::Receiver<String>>>> {
        let (sender, receiver) = mpsc::channel(HINTS_MAX);
        lock(&self.shared.state).listeners.push(sender);
        Box::pin(async move { Ok(Some(receiver)) })
    }
}
