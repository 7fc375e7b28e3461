//! Rows in an embedded SQLite: one process, one connection that writes.
//!
//! In a file, reads go through a few read-only connections on blocking threads (WAL: they never wait for
//! the writer). In memory there is one connection and no thread: every call is done when it is polled
//! first, and nothing depends on timing. The simulation counts on that.

mod error;
mod read;
mod rows;
mod schedules;
mod workflows;
mod writer;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
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
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use tokio::sync::Semaphore;

use crate::{
    Leased, ListTasks, Places, PlanRecord, Result, Route, ScheduleRecord, Store, StoreError, TaskPage,
    TaskRecord, Tick, WorkflowChange, WorkflowRecord, WorkflowVersion, Writer,
    migrate::{self, Applied},
    rows::{Cells, encode_text, route_digest},
};

/// Where the time comes from: SQLite has no server that could tell it. Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Connections that read a file: as many reads run beside each other.
const READERS: usize = 4;
/// Statements a connection keeps prepared: all of ours.
const STATEMENTS: usize = 100;
/// How long a statement waits for the file's lock, which only another process (a backup) can hold.
const BUSY: Duration = Duration::from_secs(5);

const STAMP: &str = "stamp";
const REPLICA: &str = "replica";

/// Rows in SQLite. Cheap to share through the trait; closing is dropping.
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    main: Mutex<Main>,
    /// Absent in memory, where the main connection reads too.
    readers: Option<Readers>,
    clock: Clock,
    /// Held as long as the file is open: one process only.
    _lock: Option<File>,
}

/// The connection that writes, and what it counts.
struct Main {
    conn: Connection,
    /// The newest stamp drawn. Becomes durable with the batch that drew it.
    stamp: i64,
    /// Batches committed since the file was opened.
    commits: u64,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    slots: Semaphore,
}

impl SqliteStore {
    /// Opens the file, creates it where there is none, and brings its schema up to date. Time is the
    /// system's.
    ///
    /// # Errors
    /// `Unavailable` when another process has it open; `Schema` when a newer Downbeat wrote it; `Full` or
    /// `Corrupt` when it cannot be written or is no database.
    pub fn open(path: impl AsRef<Path>) -> Result<SqliteStore> {
        SqliteStore::open_with(path, Arc::new(system_time))
    }

    /// Like [`open`](SqliteStore::open), with another clock.
    ///
    /// # Errors
    /// See [`open`](SqliteStore::open).
    pub fn open_with(path: impl AsRef<Path>, clock: Clock) -> Result<SqliteStore> {
        let path = path.as_ref();
        let lock = lock(path)?;
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        let readers =
            Readers { path: path.to_owned(), idle: Mutex::new(Vec::new()), slots: Semaphore::new(READERS) };
        SqliteStore::on(conn, Some(readers), clock, Some(lock))
    }

    /// An empty database in memory, gone when it is dropped. Every call completes when it is polled first.
    ///
    /// # Errors
    /// None that a working machine gives.
    pub fn memory(clock: Clock) -> Result<SqliteStore> {
        SqliteStore::on(Connection::open_in_memory()?, None, clock, None)
    }

    /// Bounds the file, in pages of 4 KiB: writing beyond them fails as it does on a full disk. Never less
    /// than the file already has.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read.
    pub fn limit_pages(&self, pages: u32) -> Result<()> {
        self.shared.main().conn.pragma_update(None, "max_page_count", pages)?;
        Ok(())
    }

    /// The schema as SQLite states it, statement by statement: what `migrations/sqlite/schema.sql` holds.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read.
    pub fn schema(&self) -> Result<String> {
        let main = self.shared.main();
        let statements = rows::all(&main.conn, include_str!("sql/schema.sql"), [], |cells| cells.text())?;
        Ok(statements.iter().map(|sql| format!("{sql};\n")).collect::<Vec<_>>().join("\n"))
    }

    fn on(
        mut conn: Connection,
        readers: Option<Readers>,
        clock: Clock,
        lock: Option<File>,
    ) -> Result<SqliteStore> {
        prepare(&conn)?;
        migrate(&mut conn)?;
        let stamp = counter(&conn, STAMP)?;
        let main = Mutex::new(Main { conn, stamp, commits: 0 });
        Ok(SqliteStore { shared: Arc::new(Shared { main, readers, clock, _lock: lock }) })
    }

    /// Looks at committed rows: here and now in memory, on a blocking thread in a file.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(readers) = &self.shared.readers else { return look(&self.shared.main().conn) };
        let _slot =
            readers.slots.acquire().await.map_err(|_| StoreError::unavailable("the store is closed"))?;
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.with_reader(look)).await
    }

    /// A small write of its own: never part of a batch.
    async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>, Time) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.shared.readers.is_none() {
            return self.shared.transact(act);
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.transact(act)).await
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.shared.readers.as_ref().map(|readers| &readers.path);
        f.debug_struct("SqliteStore").field("path", &path).finish_non_exhaustive()
    }
}

impl Shared {
    /// A panic elsewhere left no transaction open: dropping one rolls it back.
    fn main(&self) -> MutexGuard<'_, Main> {
        self.main.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        (self.clock)()
    }

    fn with_reader<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let Some(readers) = &self.readers else { return look(&self.main().conn) };
        let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let conn = Connection::open_with_flags(&readers.path, flags)?;
                prepare(&conn)?;
                conn
            }
        };
        let found = look(&conn);
        readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        found
    }

    fn transact<T>(&self, act: impl FnOnce(&Transaction<'_>, Time) -> Result<T>) -> Result<T> {
        let now = self.now();
        let mut main = self.main();
        let transaction = main.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = act(&transaction, now)?;
        transaction.commit()?;
        Ok(done)
    }
}

fn system_time() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::unavailable("the runtime is shutting down")),
    }
}

/// Takes the lock beside the file; the system takes it back when the process ends, however it ends.
fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = File::create(&name)
        .map_err(|error| StoreError::Config(format!("cannot create {}: {error}", name.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::unavailable(format!(
            "{} is open in another process, and SQLite takes one only",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Config(format!("cannot lock {}: {error}", name.display())))
        }
    }
}

fn prepare(conn: &Connection) -> Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "foreign_keys", "off")?;
    conn.pragma_update(None, "temp_store", "memory")?;
    Ok(())
}

fn migrate(conn: &mut Connection) -> Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(include_str!("sql/create_migrations.sql"))?;
    let applied = rows::all(&transaction, include_str!("sql/migrations.sql"), [], |cells| {
        Ok(Applied { number: cells.number()?, name: cells.text()?, digest: cells.text()? })
    })?;
    for step in migrate::missing(migrate::SQLITE, &applied)? {
        transaction.execute_batch(step.sql)?;
        let params = params![step.number, step.name, step.digest()];
        rows::run(&transaction, include_str!("sql/insert_migrations.sql"), params)?;
    }
    transaction.commit()?;
    Ok(())
}

fn counter(conn: &Connection, name: &str) -> Result<i64> {
    rows::one(conn, include_str!("sql/counter.sql"), [name], |cells| cells.long())?
        .ok_or_else(|| StoreError::Corrupt(format!("the counter `{name}` is missing")))
}

fn join(transaction: &Transaction<'_>, now: Time) -> Result<ReplicaNo> {
    let no = counter(transaction, REPLICA)? + 1;
    rows::run(transaction, include_str!("sql/raise_counter.sql"), params![REPLICA, no])?;
    rows::run(transaction, include_str!("sql/join.sql"), [no, now.0])?;
    Ok(ReplicaNo(no))
}

fn tick(
    transaction: &Transaction<'_>,
    now: Time,
    replica: ReplicaNo,
    dead_after_ms: u64,
    limit: u32,
    lines: bool,
) -> Result<Tick> {
    let dead = now.0.saturating_sub(i64::try_from(dead_after_ms).unwrap_or(i64::MAX));
    rows::run(transaction, include_str!("sql/beat.sql"), [replica.0, now.0])?;
    rows::run(transaction, include_str!("sql/bury.sql"), [dead])?;
    Ok(Tick {
        now,
        replicas: read::replicas(transaction)?,
        due: read::due(transaction, now, limit)?,
        next_due: read::next_due(transaction, now)?,
        in_line: lines.then(|| read::routes_in_line(transaction)).transpose()?,
        schedules: schedules::due(transaction, now, limit)?,
        sessions_mark: read::sessions_mark(transaction)?,
    })
}

fn intern_route(transaction: &Transaction<'_>, tenant: TenantNo, spec: &RouteSpec) -> Result<RouteNo> {
    let digest = route_digest(spec)?;
    let number = |cells: &mut dyn Cells| cells.long().map(RouteNo);
    let find = params![tenant.0, digest];
    if let Some(no) = rows::one(transaction, include_str!("sql/find_routes.sql"), find, number)? {
        return Ok(no);
    }
    let insert = params![tenant.0, spec.agent, encode_text(&spec.capabilities)?, digest];
    rows::one(transaction, include_str!("sql/insert_routes.sql"), insert, number)?
        .ok_or_else(|| StoreError::Corrupt("an inserted route has no number".into()))
}

impl Store for SqliteStore {
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn Writer>>> {
        let writer = writer::SqliteWriter::new(Arc::clone(&self.shared));
        Box::pin(async move { Ok(Box::new(writer) as Box<dyn Writer>) })
    }

    fn join(&self) -> BoxFuture<'_, Result<ReplicaNo>> {
        Box::pin(self.write(join))
    }

    fn leave(&self, replica: ReplicaNo) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.write(move |transaction, _| {
                rows::run(transaction, include_str!("sql/leave.sql"), [replica.0])
            })
            .await?;
            // Whoever copies the file of a process that ended has everything in one. A reader may be in the way.
            let moved = |_: &rusqlite::Row<'_>| Ok(());
            let _ = self.shared.main().conn.query_row("pragma wal_checkpoint(truncate)", [], moved);
            Ok(())
        })
    }

    fn tick(
        &self,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: u32,
        lines: bool,
    ) -> BoxFuture<'_, Result<Tick>> {
        Box::pin(
            self.write(move |transaction, now| tick(transaction, now, replica, dead_after_ms, limit, lines)),
        )
    }

    fn intern_routes<'a>(
        &'a self,
        tenant: TenantNo,
        specs: &'a [RouteSpec],
    ) -> BoxFuture<'a, Result<Vec<RouteNo>>> {
        let specs = specs.to_vec();
        Box::pin(self.write(move |transaction, _| {
            specs.iter().map(|spec| intern_route(transaction, tenant, spec)).collect()
        }))
    }

    fn routes_after(&self, after: RouteNo) -> BoxFuture<'_, Result<Vec<Route>>> {
        Box::pin(self.read(move |conn| read::routes_after(conn, after)))
    }

    fn find_task<'a>(&'a self, tenant: TenantNo, id: &'a str) -> BoxFuture<'a, Result<Option<TaskNo>>> {
        let id = id.to_owned();
        Box::pin(self.read(move |conn| read::find_task(conn, tenant, &id)))
    }

    fn plans<'a>(&'a self, tasks: &'a [TaskNo]) -> BoxFuture<'a, Result<Vec<PlanRecord>>> {
        let tasks = tasks.to_vec();
        Box::pin(self.read(move |conn| read::plans(conn, &tasks)))
    }

    fn task(&self, task: TaskNo) -> BoxFuture<'_, Result<Option<TaskRecord>>> {
        Box::pin(self.read(move |conn| read::task(conn, task)))
    }

    fn list_tasks<'a>(&'a self, list: &'a ListTasks) -> BoxFuture<'a, Result<TaskPage>> {
        let list = list.clone();
        Box::pin(self.read(move |conn| read::list_tasks(conn, &list)))
    }

    fn outputs<'a>(&'a self, of: &'a [(TaskNo, Index)]) -> BoxFuture<'a, Result<Vec<Output>>> {
        let of = of.to_vec();
        Box::pin(self.read(move |conn| read::outputs(conn, &of)))
    }

    fn outputs_of(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<Output>>> {
        Box::pin(self.read(move |conn| read::outputs_of(conn, task)))
    }

    fn notes(&self, task: TaskNo) -> BoxFuture<'_, Result<Vec<(NoteKey, Bytes)>>> {
        Box::pin(self.read(move |conn| read::notes(conn, task)))
    }

    fn notes_at<'a>(
        &'a self,
        task: TaskNo,
        keys: &'a [NoteKey],
    ) -> BoxFuture<'a, Result<Vec<(NoteKey, Bytes)>>> {
        let keys = keys.to_vec();
        Box::pin(self.read(move |conn| read::notes_at(conn, task, &keys)))
    }

    fn events(&self, task: TaskNo, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Event>>> {
        Box::pin(self.read(move |conn| read::events(conn, task, after, limit)))
    }

    fn ready(&self, route: RouteNo, from: Places, limit: u32) -> BoxFuture<'_, Result<Vec<Queued>>> {
        Box::pin(self.read(move |conn| read::ready(conn, route, from, limit)))
    }

    fn stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(TaskNo, Index)>>> {
        Box::pin(self.read(move |conn| read::stuck(conn, route, blocked, before, limit)))
    }

    fn sessions(&self) -> BoxFuture<'_, Result<Vec<Session>>> {
        Box::pin(self.read(read::sessions))
    }

    fn leases<'a>(&'a self, of: &'a [SessionNo]) -> BoxFuture<'a, Result<Vec<Leased>>> {
        let of = of.to_vec();
        Box::pin(self.read(move |conn| read::leases(conn, &of)))
    }

    fn lease_counts(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<(SessionNo, u32)>>> {
        Box::pin(self.read(move |conn| read::lease_counts(conn, tenant)))
    }

    fn agents(&self, tenant: TenantNo) -> BoxFuture<'_, Result<Vec<AgentSeen>>> {
        Box::pin(self.read(move |conn| read::agents(conn, tenant)))
    }

    fn workflow<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        version: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<WorkflowRecord>>> {
        let name = name.to_owned();
        Box::pin(self.read(move |conn| workflows::workflow(conn, tenant, &name, version)))
    }

    fn workflows<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        let after = after.to_owned();
        Box::pin(self.read(move |conn| workflows::workflows(conn, tenant, &after, limit)))
    }

    fn workflow_versions<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
        before: u32,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<WorkflowVersion>>> {
        let name = name.to_owned();
        Box::pin(self.read(move |conn| workflows::versions(conn, tenant, &name, before, limit)))
    }

    fn change_workflow<'a>(&'a self, change: &'a WorkflowChange) -> BoxFuture<'a, Result<()>> {
        let change = change.clone();
        Box::pin(self.write(move |transaction, _| workflows::change(transaction, &change)))
    }

    fn schedule<'a>(
        &'a self,
        tenant: TenantNo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ScheduleRecord>>> {
        let name = name.to_owned();
        Box::pin(self.read(move |conn| schedules::named(conn, tenant, &name)))
    }

    fn schedule_numbered(&self, no: ScheduleNo) -> BoxFuture<'_, Result<Option<ScheduleRecord>>> {
        Box::pin(self.read(move |conn| schedules::numbered(conn, no)))
    }

    fn schedules<'a>(
        &'a self,
        tenant: TenantNo,
        after: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Schedule>>> {
        let after = after.to_owned();
        Box::pin(self.read(move |conn| schedules::list(conn, tenant, &after, limit)))
    }

    fn create_schedule<'a>(&'a self, new: &'a ScheduleRecord) -> BoxFuture<'a, Result<ScheduleNo>> {
        let new = new.clone();
        Box::pin(self.write(move |transaction, _| schedules::create(transaction, &new)))
    }

    fn change_schedule<'a>(
        &'a self,
        schedule: &'a Schedule,
        starts: Option<&'a Bytes>,
    ) -> BoxFuture<'a, Result<()>> {
        let (schedule, starts) = (schedule.clone(), starts.cloned());
        Box::pin(self.write(move |transaction, _| schedules::change(transaction, &schedule, starts.as_ref())))
    }

    fn delete_schedule(&self, no: ScheduleNo) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(move |transaction, _| schedules::delete(transaction, no)))
    }

    /// Nothing has to exist ahead of time: there are no partitions.
    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.read(|conn| counter(conn, STAMP).map(drop)))
    }

    /// There is nobody to tell.
    fn notify<'a>(&'a self, _hint: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn listen(&self) -> BoxFuture<'_, Result<Option<tokio::sync::mpsc::Receiver<String>>>> {
        Box::pin(async { Ok(None) })
    }
}
