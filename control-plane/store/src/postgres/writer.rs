//! Batches on Postgres: two round trips each. All statements of a round trip are sent before the first
//! answer is awaited, in the order of the locks.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use downbeat_core::{
    id::{Index, TaskNo},
    reads::Reads,
    rows::{Changes, Rows},
    time::Time,
};
use futures::future::BoxFuture;
use tokio_postgres::{Client, Config, Error, Row, Statement, types::ToSql};

use super::{
    error,
    link::{self, Link},
    rows as arrays,
};
use crate::{Loaded, Result, StoreError, Writer, rows};

const BEGIN: &str = "begin isolation level read committed";
/// For a batch that was given up while its answers were on the way.
const BEGIN_ANEW: &str = "rollback; begin isolation level read committed";
macro_rules! statements {
    ($($name:ident)*) => {
        /// Everything a batch may run, prepared when the connection is made.
        struct Statements { $($name: Statement),* }

        impl Statements {
            async fn prepare(client: &Client) -> std::result::Result<Statements, Error> {
                let ($($name,)*) = futures::try_join!(
                    $(client.prepare(include_str!(concat!("sql/", stringify!($name), ".sql")))),*
                )?;
                Ok(Statements { $($name),* })
            }
        }
    };
}

statements! {
    lock_sessions share_sessions lock_tasks lock_hinted load_whole load_subtasks
    create advance
    insert_sessions update_sessions delete_sessions upsert_agents
}

/// A connection that writes batches. Connects anew by itself when the old connection is lost.
pub(super) struct PostgresWriter {
    config: Config,
    connection: Option<(Link, Statements)>,
    /// The stamp of the batch in hand; present exactly while one is loaded.
    stamp: Option<i64>,
    /// The server may have a transaction open.
    begun: bool,
}

impl PostgresWriter {
    pub(super) async fn open(config: Config) -> Result<PostgresWriter> {
        let mut writer = PostgresWriter { config, connection: None, stamp: None, begun: false };
        writer.connect().await?;
        Ok(writer)
    }

    async fn connect(&mut self) -> Result<()> {
        if self.connection.as_ref().is_some_and(|(link, _)| !link.client.is_closed()) {
            return Ok(());
        }
        self.connection = None;
        self.begun = false;
        let link = Link::open(&self.config).await?;
        let statements = Statements::prepare(&link.client).await?;
        self.connection = Some((link, statements));
        Ok(())
    }

    fn connection(&self) -> &(Link, Statements) {
        self.connection.as_ref().expect("a batch has a connection")
    }

    async fn load_batch(&mut self, reads: &Reads) -> Result<Loaded> {
        self.stamp = None;
        link::answer(self.connect()).await?;
        let begin = if std::mem::replace(&mut self.begun, true) { BEGIN_ANEW } else { BEGIN };
        let (link, statements) = self.connection();
        let loaded = link::answer(load(&link.client, statements, begin, reads)).await;
        match &loaded {
            Ok(loaded) => self.stamp = Some(loaded.stamp),
            Err(error) => self.abandon(error).await,
        }
        loaded
    }

    async fn commit_batch(&mut self, changes: &Changes) -> Result<()> {
        let stamp = self.stamp.take().expect("a batch is loaded before it is committed");
        if changes.is_empty() {
            return self.end().await;
        }
        let (link, statements) = self.connection();
        if link.client.is_closed() {
            self.connection = None;
            return Err(StoreError::unavailable("the connection was lost before the batch was written"));
        }
        let write = write(&link.client, statements, changes, stamp);
        let written = tokio::time::timeout(link::ANSWER, write).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                message: format!("no answer to a commit for {} seconds", link::ANSWER.as_secs()),
                commit_unknown: true,
            })
        });
        match &written {
            Ok(()) => self.begun = false,
            Err(error) => self.abandon(error).await,
        }
        written
    }

    /// Ends a batch that changes nothing: no need to wait for the disk.
    async fn end(&mut self) -> Result<()> {
        let (link, _) = self.connection();
        let ended = link::answer(async { Ok(link.client.batch_execute("rollback").await?) }).await;
        match &ended {
            Ok(()) => self.begun = false,
            Err(_) => self.connection = None,
        }
        ended
    }

    /// After an error: a connection that still answers is kept, without the transaction.
    async fn abandon(&mut self, error: &StoreError) {
        self.stamp = None;
        if matches!(error, StoreError::Unavailable { .. }) {
            self.connection = None;
        } else if self.begun && self.connection.is_some() {
            // A failure drops the connection, and the transaction with it.
            let _ = self.end().await;
        }
    }
}

impl Writer for PostgresWriter {
    fn load<'a>(&'a mut self, reads: &'a Reads) -> BoxFuture<'a, Result<Loaded>> {
        Box::pin(self.load_batch(reads))
    }

    fn commit<'a>(&'a mut self, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.commit_batch(changes))
    }

    fn rollback(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stamp = None;
            if self.begun && self.connection.is_some() {
                let _ = self.end().await;
            }
        })
    }
}

/// `reads` as arrays: what is locked in which way, each row once.
#[derive(Default)]
struct Wanted<'a> {
    sessions: Vec<i64>,
    /// Of them those that may change; empty: all are only held.
    changing: Vec<i64>,
    tasks: Vec<i64>,
    tenants: Vec<i32>,
    ids: Vec<&'a str>,
    hinted: Vec<i64>,
    places: Vec<(i64, i32)>,
    whole: Vec<i64>,
}

impl<'a> Wanted<'a> {
    fn of(reads: &'a Reads) -> Result<Wanted<'a>> {
        let place = |(task, index): &(TaskNo, Index)| Ok((task.0, arrays::int(*index)?));
        let mut tasks: BTreeSet<TaskNo> = reads.tasks.union(&reads.whole).copied().collect();
        tasks.extend(reads.subtasks.iter().map(|(task, _)| *task));
        let hinted: BTreeSet<TaskNo> = reads.hints.iter().map(|(task, _)| *task).collect();
        let places = reads.subtasks.union(&reads.hints).filter(|(task, _)| !reads.whole.contains(task));
        Ok(Wanted {
            sessions: reads.sessions.union(&reads.seats).map(|session| session.0).collect(),
            changing: reads.sessions.iter().map(|session| session.0).collect(),
            hinted: hinted.difference(&tasks).map(|task| task.0).collect(),
            tasks: tasks.iter().map(|task| task.0).collect(),
            tenants: reads.ids.iter().map(|(tenant, _)| tenant.0).collect(),
            ids: reads.ids.iter().map(|(_, id)| id.as_str()).collect(),
            places: places.map(place).collect::<Result<_>>()?,
            whole: reads.whole.iter().map(|task| task.0).collect(),
        })
    }
}

async fn load(client: &Client, statements: &Statements, begin: &str, reads: &Reads) -> Result<Loaded> {
    let wanted = Wanted::of(reads)?;
    let Wanted { sessions, changing, tasks, tenants, ids, hinted, places, whole } = &wanted;
    let (place_tasks, place_indexes): (Vec<i64>, Vec<i32>) = places.iter().copied().unzip();
    // A batch that changes any session locks all it looks at for a change: one statement, so one order.
    let held = if changing.is_empty() { &sessions[..] } else { &[] };
    let changed = if changing.is_empty() { &[] } else { &sessions[..] };
    let (begun, held, changed, named, hinted, whole, placed) = futures::join!(
        client.batch_execute(begin),
        query(client, &statements.share_sessions, held.is_empty(), [&held]),
        query(client, &statements.lock_sessions, changed.is_empty(), [&changed, changing]),
        query(client, &statements.lock_tasks, tasks.is_empty() && ids.is_empty(), [tasks, tenants, ids]),
        query(client, &statements.lock_hinted, hinted.is_empty(), [hinted]),
        query(client, &statements.load_whole, whole.is_empty(), [whole]),
        query(client, &statements.load_subtasks, false, [&place_tasks, &place_indexes]),
    );
    begun?;
    let mut into = Rows::default();
    for row in held?.iter().chain(&changed?) {
        into.load_session(arrays::one(row, |cells| rows::session(cells))?);
    }
    let mut locked = BTreeSet::new();
    for row in named?.iter().chain(&hinted?) {
        let task = arrays::one(row, |cells| rows::task(cells))?;
        locked.insert(task.no);
        into.load_task(task);
    }
    for row in &whole? {
        let (task, index, row) = arrays::one(row, |cells| rows::subtask(cells))?;
        into.load_subtask(task, index, row);
    }
    let mut drawn = None;
    for row in &placed? {
        let (now, stamp, place) = arrays::one(row, |cells| {
            Ok((Time(cells.long()?), cells.long()?, rows::subtask_or_none(cells)?))
        })?;
        drawn = Some((now, stamp));
        // Hinted, and its task is locked elsewhere: what was read may change under us.
        if let Some((task, index, row)) = place.filter(|(task, _, _)| locked.contains(task)) {
            into.load_subtask(task, index, row);
        }
    }
    let (now, stamp) = drawn.ok_or_else(|| StoreError::Corrupt("the clock gave no row".into()))?;
    Ok(Loaded { now, stamp, rows: into })
}

/// A query of the pipeline; none where there is nothing to ask for.
async fn query<const N: usize>(
    client: &Client,
    statement: &Statement,
    skip: bool,
    params: [&(dyn ToSql + Sync); N],
) -> std::result::Result<Vec<Row>, Error> {
    if skip { Ok(Vec::new()) } else { client.query(statement, &params).await }
}

/// The second round trip: every change and the commit. What a hop changes is one statement: each costs both
/// sides a message and a wake-up.
async fn write(client: &Client, statements: &Statements, changes: &Changes, stamp: i64) -> Result<()> {
    let tasks_by_name = arrays::by_name(&changes.new_tasks);
    let agents_by_name = arrays::last_said(&changes.agents);
    let create = arrays::create(&tasks_by_name, changes)?;
    let advance = arrays::advance(changes)?;
    let advanced =
        changes.tasks.len() + changes.subtasks.len() + changes.outputs.len() + changes.history.len();
    let new_sessions = arrays::new_sessions(&changes.new_sessions)?.all(stamp);
    let sessions = arrays::sessions(&changes.sessions).all(stamp);
    let dead_sessions = arrays::dead_sessions(&changes.dead_sessions);
    let agents = arrays::agents(&agents_by_name)?;
    let pipe = Pipe { client, failed: AtomicBool::new(false) };
    let (a, b, c, d, e, f, end) = futures::join!(
        pipe.send(&statements.create, changes.new_tasks.len(), &create),
        pipe.send(&statements.advance, advanced, &advance),
        pipe.send(&statements.insert_sessions, changes.new_sessions.len(), &new_sessions),
        pipe.send(&statements.update_sessions, changes.sessions.len(), &sessions),
        pipe.send(&statements.delete_sessions, changes.dead_sessions.len(), &dead_sessions),
        pipe.send(&statements.upsert_agents, agents_by_name.len(), &agents),
        pipe.end(),
    );
    // The first one says why; after it the server refuses the others, and takes the commit for a rollback.
    [a, b, c, d, e, f, end].into_iter().collect::<std::result::Result<(), Error>>().map_err(error::of_commit)
}

/// Statements that are all sent before the first answer comes.
struct Pipe<'a> {
    client: &'a Client,
    /// One could not even be sent, so the server does not know that the others must not be committed.
    failed: AtomicBool,
}

impl Pipe<'_> {
    async fn send(
        &self,
        statement: &Statement,
        rows: usize,
        arrays: &arrays::Arrays<'_>,
    ) -> std::result::Result<(), Error> {
        if rows == 0 {
            return Ok(());
        }
        let sent = self.client.execute(statement, &arrays.params()).await;
        if sent.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        sent.map(drop)
    }

    async fn end(&self) -> std::result::Result<(), Error> {
        let end = if self.failed.load(Ordering::Relaxed) { "rollback" } else { "commit" };
        self.client.batch_execute(end).await
    }
}
