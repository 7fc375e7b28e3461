//! Rows in Postgres: any number of processes, each with one connection for batches, a small pool for reads
//! and one for hints.

mod error;
mod link;
mod listen;
mod memory;
mod read;
mod record;
mod rows;
mod schedules;
mod schema;
mod workflows;
mod writer;

use std::collections::BTreeMap;

use bytes::Bytes;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use downbeat_core::{
    effect::Queued,
    event::Event,
    id::{Index, ReplicaNo, RouteNo, ScheduleNo, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    plan::RouteSpec,
    rows::{AgentSeen, Output},
    schedule::Schedule,
    session::Session,
    time::Time,
};
use futures::future::BoxFuture;
use tokio_postgres::{Config, NoTls};

use self::link::{ANSWER, Link, SETTINGS, answer};
use crate::{
    Leased, ListTasks, Places, PlanRecord, Result, Route, ScheduleRecord, Store, StoreError, TaskPage,
    TaskRecord, Tick, WorkflowChange, WorkflowRecord, WorkflowVersion, Writer,
    rows::{Cells, encode_text, route_digest},
};

/// Connections for reads where nobody says otherwise: reads are short, and writes do not use them.
pub const READERS: usize = 4;
/// How many days ahead the history has its partitions.
const DAYS_AHEAD: i64 = 3;

/// Rows in Postgres.
pub struct PostgresStore {
    config: Config,
    pool: Pool,
}

impl PostgresStore {
    /// Opens a database whose schema is up to date; `readers` (at least 1) connections serve the reads, made
    /// when they are needed. The URL is libpq's: `postgres://user:password@host:5432/name`.
    ///
    /// # Errors
    /// `Config` when the URL is wrong or Postgres does not let us in, `Schema` when the database needs
    /// `downbeat migrate` or a newer Downbeat, `Unavailable` when nobody answers.
    pub async fn connect(url: &str, readers: usize) -> Result<PostgresStore> {
        let config = link::config(url)?;
        let first = Link::first(&config).await?;
        answer(schema::check(&first.client)).await?;
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let settle = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(Manager::from_config(config.clone(), NoTls, manager))
            .max_size(readers.max(1))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: Some(ANSWER), create: Some(ANSWER), recycle: Some(ANSWER) })
            .post_create(settle)
            .build()
            .map_err(|error| StoreError::Config(error.to_string()))?;
        Ok(PostgresStore { config, pool })
    }

    async fn new_replica(&self) -> Result<ReplicaNo> {
        let number = |cells: &mut dyn Cells| cells.long().map(ReplicaNo);
        let found = self.query(include_str!("sql/join.sql"), &[], number).await?;
        found.first().copied().ok_or_else(|| StoreError::Corrupt("a new replica has no number".into()))
    }

    async fn intern(&self, tenant: TenantNo, specs: &[RouteSpec]) -> Result<Vec<RouteNo>> {
        let digests: Vec<[u8; 32]> = specs.iter().map(route_digest).collect::<Result<_>>()?;
        let mut known = self.known_routes(tenant, &digests).await?;
        if digests.iter().any(|digest| !known.contains_key(digest)) {
            self.add_routes(tenant, specs, &digests).await?;
            known = self.known_routes(tenant, &digests).await?;
        }
        let number = |digest| known.get(digest).copied();
        let all: Option<Vec<RouteNo>> = digests.iter().map(number).collect();
        all.ok_or_else(|| StoreError::Corrupt("an interned route is missing".into()))
    }

    async fn known_routes(
        &self,
        tenant: TenantNo,
        digests: &[[u8; 32]],
    ) -> Result<BTreeMap<[u8; 32], RouteNo>> {
        let digests: Vec<&[u8]> = digests.iter().map(<[u8; 32]>::as_slice).collect();
        let found = self
            .query(include_str!("sql/find_routes.sql"), &[&tenant.0, &digests], |cells| {
                Ok((cells.array()?, RouteNo(cells.long()?)))
            })
            .await?;
        Ok(found.into_iter().collect())
    }

    async fn add_routes(&self, tenant: TenantNo, specs: &[RouteSpec], digests: &[[u8; 32]]) -> Result<()> {
        let new: BTreeMap<&[u8], &RouteSpec> = digests.iter().map(<[u8; 32]>::as_slice).zip(specs).collect();
        let agents: Vec<&str> = new.values().map(|spec| spec.agent.as_str()).collect();
        let capabilities: Vec<String> =
            new.values().map(|spec| encode_text(&spec.capabilities)).collect::<Result<_>>()?;
        let digests: Vec<&[u8]> = new.keys().copied().collect();
        answer(async {
            let mut client = self.pool.get().await?;
            let transaction = client.transaction().await?;
            transaction.batch_execute(include_str!("sql/lock_routes.sql")).await?;
            let insert = transaction.prepare_cached(include_str!("sql/insert_routes.sql")).await?;
            transaction.execute(&insert, &[&tenant.0, &agents, &capabilities, &digests]).await?;
            Ok(transaction.commit().await?)
        })
        .await
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = self.config.get_dbname();
        f.debug_struct("PostgresStore").field("database", &database).finish_non_exhaustive()
    }
}

impl Store for PostgresStore {
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn Writer>>> {
        Box::pin(async {
            let writer = writer::PostgresWriter::open(self.config.clone()).await?;
            Ok(Box::new(writer) as Box<dyn Writer>)
        })
    }

    fn join(&self) -> BoxFuture<'_, Result<ReplicaNo>> {
        Box::pin(self.new_replica())
    }

    fn leave(&self, replica: ReplicaNo) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.query(include_str!("sql/leave.sql"), &[&replica.0], |_| Ok(())).await.map(drop)
        })
    }

    fn tick(
        &self,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: u32,
        lines: bool,
    ) -> BoxFuture<'_, Result<Tick>> {
        Box::pin(self.look_around(replica, dead_after_ms, limit, lines))
    }

    fn intern_routes<'a>(
        &'a self,
        tenant: TenantNo,
        specs: &'a [RouteSpec],
    ) -> BoxFuture<'a, Result<Vec<RouteNo>>> {
        Box::pin(self.intern(tenant, specs))
    }

    fn routes_after(&self, after: RouteNo) -> BoxFuture<'_, Result<Vec<Route>>> {
        Box::pin(self.read_routes_after(after))
    }

    fn find_task<'a>(&'a self, tenant: TenantNo, id: &'a str) -> BoxFuture<'a, Result<Option<TaskNo>>> {
        Box::pin(self.read_find_task(tenant, id))
    }

    fn plans<'a>(&'a self, tasks: &'a [TaskNo]) -> BoxFuture<'a, Result<Vec<PlanRecord>>> {
        Box::pin(self.read_plans(tasks))
    }

    fn task(&self, task: TaskNo) -> BoxFuture<'_, Result<Option<TaskRecord>>> {
        Box::pin(self.read_task(task))
    }

    fn list_tasks<'a>(&'a self, list: &'a ListTasks) -> BoxFuture<'a, Result<TaskPage>> {
        Box::pin(self.read_list_tasks(list))
    }

    fn outputs<'a>(&'a self, of: &'a [(TaskNo, Index)]) -> BoxFuture<'a, Result<Vec<Output>>> {
        Box::pin(self.read_outputs(of))
    }

    fn outputs_of(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<Output>>> {
        Box::pin(self.read_outputs_of(task))
    }

    fn notes(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<(NoteKey, Bytes)>>> {
        Box::pin(self.read_notes(task))
    }

    fn notes_at<'a>(
        &'a self,
        task: TaskNo,
        keys: &'a [NoteKey],
    ) -> BoxFuture<'a, Result<Vec<(NoteKey, Bytes)>>> {
        Box::pin(self.read_notes_at(task, keys))
    }

    fn events(&self, task: TaskNo, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Event>>> {
        Box::pin(self.read_events(task, after, limit))
    }

    fn ready(&self, route: RouteNo, from: Places, limit: u32) -> BoxFuture<'_, Result<Vec<Queued>>> {
        Box::pin(self.read_ready(route, from, limit))
    }

    fn stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(TaskNo, Index)>>> {
        Box::pin(self.read_stuck(route, blocked, before, limit))
    }

    fn sessions(&self) -> BoxFuture<'_, Result<Vec<Session>>> {
        Box::pin(self.read_sessions())
    }

    fn leases<'a>(&'a self, of: &'a [SessionNo]) -> BoxFuture<'a, Result<Vec<Leased>>> {
        Box::pin(self.read_leases(of))
    }

    fn lease_counts(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<(SessionNo, u32)>>> {
        Box::pin(self.read_lease_counts(tenant))
    }

    fn agents(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<AgentSeen>>> {
        Box::pin(self.read_agents(tenant))
    }

    fn workflow<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        version: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<WorkflowRecord>>> {
        Box::pin(self.read_workflow(tenant, name, version))
    }

    fn workflows<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        Box::pin(self.read_workflows(tenant, after, limit))
    }

    fn workflow_versions<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        before: u32,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        Box::pin(self.read_workflow_versions(tenant, name, before, limit))
    }

    fn change_workflow<'a>(&'a self, change: &'a WorkflowChange) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.write_workflow(change))
    }

    fn schedule<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleRecord>>> {
        Box::pin(self.read_schedule(tenant, name))
    }

    fn schedule_numbered(&self, no: ScheduleNo) -> BoxFuture<'_, Result<Option<ScheduleRecord>>> {
        Box::pin(self.read_schedule_numbered(no))
    }

    fn schedules<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Schedule>>> {
        Box::pin(self.read_schedules(tenant, after, limit))
    }

    fn create_schedule<'a>(&'a self, new: &'a ScheduleRecord) -> BoxFuture<'a, Result<ScheduleNo>> {
        Box::pin(self.insert_schedule(new))
    }

    fn change_schedule<'a>(
        &'a self,
        schedule: &'a Schedule,
        starts: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.update_schedule(schedule, starts))
    }

    fn delete_schedule(&self, no: ScheduleNo) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.remove_schedule(no))
    }

    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.create_partitions(DAYS_AHEAD))
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let client = self.pool.get().await?;
            let answered = answer(async { Ok(client.batch_execute("").await?) });
            self.settle(answered.await, client)
        })
    }

    fn notify<'a>(&'a self, hint: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(
            async move { self.query(include_str!("sql/notify.sql"), &[&hint], |_| Ok(())).await.map(drop) },
        )
    }

    fn listen(&self) -> BoxFuture<'_, Result<Option<tokio::sync::mpsc::Receiver<String>>>> {
        Box::pin(async { listen::listen(&self.config).await.map(Some) })
    }
}
