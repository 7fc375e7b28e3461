//! Where rows are kept. One trait, two stores: Postgres for production, embedded SQLite for `downbeat dev`,
//! small installations and the simulation. Both pass one conformance suite (`tests/`).
//!
//! [`PostgresStore`] and [`SqliteStore`] are the ways in. Stores are dumb: they load by key, run a few closed
//! scans, and write changed rows. Nothing is decided here; no statement looks at a state to choose what
//! happens.

pub mod error;
pub mod migrate;
pub mod postgres;
pub mod query;
mod rows;
mod schedule;
pub mod sqlite;
mod workflow;

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
use futures::future::BoxFuture;

pub use crate::{
    error::StoreError,
    postgres::PostgresStore,
    query::{
        Due, Leased, ListTasks, Loaded, Places, PlanRecord, Route, TaskPage, TaskRecord, TaskSummary, Tick,
    },
    rows::context,
    schedule::ScheduleRecord,
    sqlite::{Clock, SqliteStore},
    workflow::{WorkflowChange, WorkflowHead, WorkflowRecord, WorkflowVersion},
};

/// What every call gives back.
pub type Result<T> = std::result::Result<T, StoreError>;

/// One connection that batches are written through, one batch at a time.
pub trait Writer: Send {
    /// Begins a batch: the rows that `reads` declares, with a time and a stamp that is above that of every batch
    /// that wrote any of them. Either all are locked until the end of the batch, or they are what was seen last
    /// and [`commit`](Writer::commit) proves that they still are. Rows that do not exist are left out, and so
    /// may be those asked for by name: the commit proves that they are free; hinted
    /// subtasks whose task is locked elsewhere too. Of a note that does not exist the rows say so. Where `reads` wants
    /// notes, sessions or locks, everything is locked. Plans and outputs are not loaded, and a session that is only a
    /// seat comes without its declaration.
    ///
    /// # Errors
    /// See [`StoreError`]. After any error the writer has no open transaction.
    fn load<'a>(&'a mut self, reads: &'a Reads) -> BoxFuture<'a, Result<Loaded>>;

    /// Writes the changes and ends the batch. `Ok`: they are durable, and nobody had changed what was loaded; also
    /// where there is nothing to write, so that an answer which changes nothing is true.
    ///
    /// # Errors
    /// `Conflict` when a row is not what was loaded, one appeared that was not there (same task id elsewhere), or
    /// the database chose this transaction as a deadlock's victim: load again. `Unavailable { commit_unknown: true }` when the
    /// connection broke while committing. After any error the writer has no open transaction.
    ///
    /// # Panics
    /// When no batch is loaded: each commit follows its own load.
    fn commit<'a>(&'a mut self, changes: &'a Changes) -> BoxFuture<'a, Result<()>>;

    /// Ends the transaction without writing. Never fails: a broken connection has none.
    fn rollback(&mut self) -> BoxFuture<'_, ()>;
}

/// A database. Everything but [`writer`](Store::writer) reads committed rows without locks.
pub trait Store: Send + Sync + 'static {
    /// A new writer. Postgres: its own connection. SQLite: the one write connection (callers take one).
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn Writer>>>;

    /// Registers a replica and gives it its number.
    fn join(&self) -> BoxFuture<'_, Result<ReplicaNo>>;

    /// Marks the replica as gone, so that others need not wait for its beat to age.
    fn leave(&self, replica: ReplicaNo) -> BoxFuture<'_, Result<()>>;

    /// The periodic look: writes this replica's beat, deletes beats older than `dead_after_ms` (their
    /// replicas are reported as dead by what they leave behind: sessions of unknown replicas), and
    /// reads what is due. One statement (Postgres). Looking at the `lines` as well takes long while rows that have left
    /// them cannot be cleaned up.
    fn tick(
        &self,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: u32,
        lines: bool,
    ) -> BoxFuture<'_, Result<Tick>>;

    /// Interns what subtasks need; the numbers come back in the order of `specs`.
    fn intern_routes<'a>(
        &'a self,
        tenant: TenantNo,
        specs: &'a [RouteSpec],
    ) -> BoxFuture<'a, Result<Vec<RouteNo>>>;

    /// All routes with a number above `after`, by number.
    fn routes_after(&self, after: RouteNo) -> BoxFuture<'_, Result<Vec<Route>>>;

    /// The number of a tenant's task.
    fn find_task<'a>(&'a self, tenant: TenantNo, id: &'a str) -> BoxFuture<'a, Result<Option<TaskNo>>>;

    /// Plans, as far as they have grown, and requests; unknown numbers are left out.
    fn plans<'a>(&'a self, tasks: &'a [TaskNo]) -> BoxFuture<'a, Result<Vec<PlanRecord>>>;

    /// A task and all its subtasks, from one snapshot.
    fn task(&self, task: TaskNo) -> BoxFuture<'_, Result<Option<TaskRecord>>>;

    /// Newest first.
    fn list_tasks<'a>(&'a self, list: &'a ListTasks) -> BoxFuture<'a, Result<TaskPage>>;

    /// What these subtasks delivered; those that delivered nothing are left out.
    fn outputs<'a>(&'a self, of: &'a [(TaskNo, Index)]) -> BoxFuture<'a, Result<Vec<Output>>>;

    /// All outputs of a task.
    fn outputs_of(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<Output>>>;

    /// All notes of a task, by their keys, but for the kinds from [`NoteKey::UNLISTED`] on.
    fn notes(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<(NoteKey, Bytes)>>>;

    /// Notes of a task by their keys; those that there are not are left out.
    fn notes_at<'a>(
        &'a self,
        task: TaskNo,
        keys: &'a [NoteKey],
    ) -> BoxFuture<'a, Result<Vec<(NoteKey, Bytes)>>>;

    /// Events with a number above `after`, at most about `limit` (whole batches are not cut short of it).
    fn events(&self, task: TaskNo, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Event>>>;

    /// The head of the line of one route: subtasks queued at `from` of their priority or later, in the order of
    /// [`Queued`].
    fn ready(&self, route: RouteNo, from: Places, limit: u32) -> BoxFuture<'_, Result<Vec<Queued>>>;

    /// Subtasks that have stood in this route's line since before `before` and are not blocked
    /// (`blocked` = false), or those that are blocked (`blocked` = true; `before` is not looked at).
    fn stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(TaskNo, Index)>>>;

    /// All sessions, of all tenants.
    fn sessions(&self) -> BoxFuture<'_, Result<Vec<Session>>>;

    /// The current leases of these sessions.
    fn leases<'a>(&'a self, of: &'a [SessionNo]) -> BoxFuture<'a, Result<Vec<Leased>>>;

    /// How many leases each session holds.
    fn lease_counts(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<(SessionNo, u32)>>>;

    /// Every agent of the tenant as it was last declared, by name.
    fn agents(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<AgentSeen>>>;

    /// A version of a stored workflow, the newest where none is named, and where its name stands. Deleted ones are
    /// found too.
    fn workflow<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        version: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<WorkflowRecord>>>;

    /// The newest version of each stored workflow that is not deleted, by name, from the first after `after`; without
    /// definitions.
    fn workflows<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>>;

    /// The versions of one workflow below `before`, newest first, without definitions.
    fn workflow_versions<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        before: u32,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>>;

    /// Takes a workflow a step further. `Conflict` when its name does not stand where the change has seen it.
    fn change_workflow<'a>(&'a self, change: &'a WorkflowChange) -> BoxFuture<'a, Result<()>>;

    /// A schedule, by its name.
    fn schedule<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleRecord>>>;

    /// A schedule, by its number.
    fn schedule_numbered(&self, no: ScheduleNo) -> BoxFuture<'_, Result<Option<ScheduleRecord>>>;

    /// The tenant's schedules by name, from the first after `after`.
    fn schedules<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Schedule>>>;

    /// Writes a new schedule, and gives it a number that none had before. `Conflict` when its name is taken.
    fn create_schedule<'a>(&'a self, new: &'a ScheduleRecord) -> BoxFuture<'a, Result<ScheduleNo>>;

    /// Writes a schedule, one version further; what it `starts` only where that is given. `Conflict` when its version
    /// is not the stored one any more, or there is none.
    fn change_schedule<'a>(
        &'a self,
        schedule: &'a Schedule,
        starts: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Deletes a schedule, if it is there.
    fn delete_schedule(&self, no: ScheduleNo) -> BoxFuture<'_, Result<()>>;

    /// Creates what has to exist ahead of time (history partitions). Called at start and hourly.
    fn maintain(&self) -> BoxFuture<'_, Result<()>>;

    /// A round trip: whether the database answers.
    fn ping(&self) -> BoxFuture<'_, Result<()>>;

    /// Publishes a hint to the other replicas, best effort.
    fn notify<'a>(&'a self, hint: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Hints from other replicas, as they come; `None` where there are no others (SQLite).
    /// The channel closes when the connection breaks; listen again.
    fn listen(&self) -> BoxFuture<'_, Result<Option<tokio::sync::mpsc::Receiver<String>>>>;
}
