//! Batches on Postgres. One whose rows are all remembered is one round trip, mostly one statement, which proves them,
//! writes and commits. Any other is two: all statements of a round trip are sent before the first answer is awaited, in
//! the order of the locks.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use downbeat_core::{
    id::{Index, TaskNo},
    note::NoteKey,
    reads::Reads,
    rows::{Changes, Rows},
    time::Time,
};
use futures::future::BoxFuture;
use tokio_postgres::{Client, Config, Error, Row, Statement, types::ToSql};

use super::{
    error,
    link::{self, Link},
    memory::{Memory, Proof},
    rows::{self as pg_rows, Params},
};
use crate::{Loaded, Result, StoreError, Writer, rows};

const BEGIN: &str = "begin isolation level read committed";
/// For a batch that was given up while its answers were on the way.
const BEGIN_ANEW: &str = "rollback; begin isolation level read committed";
macro_rules! statements {
    ($($name:ident)*; $($proven:ident)*) => {
        /// Everything a batch may run, prepared when the connection is made.
        struct Statements { $($name: Statement,)* $($proven: Statement,)* }

        impl Statements {
            async fn prepare(client: &Client) -> std::result::Result<Statements, Error> {
                let ($($name,)* $($proven,)*) = futures::try_join!(
                    $(client.prepare(include_str!(concat!("sql/", stringify!($name), ".sql"))),)*
                    $(client.prepare(concat!(
                        include_str!("sql/proof.sql"),
                        include_str!(concat!("sql/", stringify!($proven), ".sql")),
                        include_str!("sql/answer.sql"),
                    )),)*
                )?;
                Ok(Statements { $($name,)* $($proven,)* })
            }
        }
    };
}

statements! {
    lock_sessions share_sessions lock_tasks lock_hinted load_whole load_notes load_subtasks
    insert_plan_parts upsert_notes insert_sessions update_sessions delete_sessions upsert_agents;
    create advance
}

/// A connection that writes batches. Connects anew by itself when the old connection is lost.
pub(super) struct PostgresWriter {
    config: Config,
    connection: Option<(Link, Statements)>,
    /// Present exactly while a batch is loaded.
    batch: Option<Batch>,
    memory: Memory,
    /// The server may have a transaction open.
    begun: bool,
}

/// The batch in hand.
struct Batch {
    stamp: i64,
    /// Of rows that were remembered. `None`: they are locked, in an open transaction.
    proof: Option<Proof>,
}

impl PostgresWriter {
    pub(super) async fn open(config: Config) -> Result<PostgresWriter> {
        let mut writer =
            PostgresWriter { config, connection: None, batch: None, memory: Memory::default(), begun: false };
        writer.connect().await?;
        Ok(writer)
    }

    fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|(link, _)| !link.client.is_closed())
    }

    async fn connect(&mut self) -> Result<()> {
        if self.is_connected() {
            return Ok(());
        }
        self.connection = None;
        self.begun = false;
        self.memory = Memory::default();
        let link = Link::open(&self.config).await?;
        let statements = Statements::prepare(&link.client).await?;
        self.connection = Some((link, statements));
        Ok(())
    }

    async fn load_batch(&mut self, reads: &Reads) -> Result<Loaded> {
        self.batch = None;
        if self.is_connected()
            && !self.begun
            && let Some((loaded, proof)) = self.memory.recall(reads)
        {
            self.batch = Some(Batch { stamp: loaded.stamp, proof: Some(proof) });
            return Ok(loaded);
        }
        link::answer(self.connect()).await?;
        let begin = if std::mem::replace(&mut self.begun, true) { BEGIN_ANEW } else { BEGIN };
        let (link, statements) = self.connection.as_ref().expect("it was made a moment ago");
        let load = load(&link.client, statements, begin, reads, &mut self.memory);
        let loaded = link::answer(load).await;
        match &loaded {
            Ok(loaded) => self.batch = Some(Batch { stamp: loaded.stamp, proof: None }),
            Err(error) => self.abandon(error).await,
        }
        loaded
    }

    async fn commit_batch(&mut self, changes: &Changes) -> Result<()> {
        let batch = self.batch.take().expect("a batch is loaded before it is committed");
        if batch.proof.is_none() && changes.is_empty() {
            return self.end().await;
        }
        if batch.proof.is_some() && !pg_rows::is_provable(changes) {
            self.memory.rest();
            return Err(StoreError::Conflict("nothing is locked for what is to be written".into()));
        }
        let Some((link, statements)) = self.connection.as_ref().filter(|(link, _)| !link.client.is_closed())
        else {
            self.connection = None;
            return Err(StoreError::unavailable("the connection was lost before the batch was written"));
        };
        let asked = Instant::now();
        let write = write(&link.client, statements, changes, &batch);
        let written = tokio::time::timeout(link::ANSWER, write).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                message: format!("no answer to a commit for {} seconds", link::ANSWER.as_secs()),
                commit_unknown: true,
            })
        });
        let answer = match written {
            Ok(answer) => answer,
            Err(error) => {
                self.abandon(&error).await;
                return Err(error);
            }
        };
        self.begun = false;
        if let Some(answer) = &answer {
            self.memory.heard(answer.now, answer.stamp, asked);
        }
        match (&batch.proof, answer.and_then(|answer| answer.unchanged)) {
            (Some(proof), Some((sessions, tasks))) => {
                self.memory.disproved(proof, &sessions, &tasks);
                Err(StoreError::Conflict("another replica has written since".into()))
            }
            (_, _) => {
                self.memory.wrote(changes, batch.stamp);
                Ok(())
            }
        }
    }

    /// Ends a batch that changes nothing: no need to wait for the disk.
    async fn end(&mut self) -> Result<()> {
        let Some((link, _)) = &self.connection else { return Ok(()) };
        let ended = link::answer(async { Ok(link.client.batch_execute("rollback").await?) }).await;
        match &ended {
            Ok(()) => self.begun = false,
            Err(_) => self.connection = None,
        }
        ended
    }

    /// After an error: a connection that still answers is kept, without the transaction.
    async fn abandon(&mut self, error: &StoreError) {
        self.batch = None;
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
            self.batch = None;
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
    notes: Vec<(i64, i16, i32)>,
}

impl<'a> Wanted<'a> {
    fn of(reads: &'a Reads) -> Result<Wanted<'a>> {
        let place = |(task, index): &(TaskNo, Index)| Ok((task.0, pg_rows::int(*index)?));
        let note = |(task, key): &(TaskNo, NoteKey)| {
            let (kind, place) = key.numbers();
            Ok((task.0, i16::from(kind), pg_rows::int(place)?))
        };
        let mut tasks: BTreeSet<TaskNo> = reads.tasks.union(&reads.whole).copied().collect();
        tasks.extend(reads.subtasks.iter().map(|(task, _)| *task));
        tasks.extend(reads.notes.iter().map(|(task, _)| *task));
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
            notes: reads.notes.iter().map(note).collect::<Result<_>>()?,
        })
    }
}

async fn load(
    client: &Client,
    statements: &Statements,
    begin: &str,
    reads: &Reads,
    memory: &mut Memory,
) -> Result<Loaded> {
    let wanted = Wanted::of(reads)?;
    let Wanted { sessions, changing, tasks, tenants, ids, hinted, places, whole, notes } = &wanted;
    let (place_tasks, place_indexes): (Vec<i64>, Vec<i32>) = places.iter().copied().unzip();
    let (noted, kinds, note_places): (Vec<i64>, Vec<i16>, Vec<i32>) = notes.iter().copied().collect();
    // A batch that changes any session locks all it looks at for a change: one statement, so one order.
    let held = if changing.is_empty() { &sessions[..] } else { &[] };
    let changed = if changing.is_empty() { &[] } else { &sessions[..] };
    let (begun, held, changed, named, hinted, whole, noted, placed) = futures::join!(
        client.batch_execute(begin),
        query(client, &statements.share_sessions, held.is_empty(), [&held]),
        query(client, &statements.lock_sessions, changed.is_empty(), [&changed, changing]),
        query(client, &statements.lock_tasks, tasks.is_empty() && ids.is_empty(), [tasks, tenants, ids]),
        query(client, &statements.lock_hinted, hinted.is_empty(), [hinted]),
        query(client, &statements.load_whole, whole.is_empty(), [whole]),
        query(client, &statements.load_notes, notes.is_empty(), [&noted, &kinds, &note_places]),
        query(client, &statements.load_subtasks, false, [&place_tasks, &place_indexes]),
    );
    begun?;
    let mut into = Rows::default();
    for row in &held? {
        let (session, stamp) = pg_rows::one(row, |cells| Ok((rows::session(cells)?, cells.long()?)))?;
        memory.read_session(session.clone(), stamp);
        into.load_session(session);
    }
    for row in &changed? {
        into.load_session(pg_rows::one(row, |cells| rows::session(cells))?);
    }
    let mut locked = BTreeSet::new();
    for row in named?.iter().chain(&hinted?) {
        let (task, stamp) = pg_rows::one(row, |cells| Ok((rows::task(cells)?, cells.long()?)))?;
        locked.insert(task.no);
        memory.read_task(task.clone(), stamp);
        into.load_task(task);
    }
    for row in &whole? {
        let (task, index, row) = pg_rows::one(row, |cells| rows::subtask(cells))?;
        memory.read_subtask(task, index, row.clone());
        into.load_subtask(task, index, row);
    }
    reads.notes.iter().for_each(|&(task, key)| into.load_note(task, key, None));
    for row in &noted? {
        let (task, key, body) = pg_rows::one(row, |cells| rows::note(cells))?;
        into.load_note(task, key, Some(body));
    }
    let mut drawn = None;
    for row in &placed? {
        let (now, stamp, place) = pg_rows::one(row, |cells| {
            Ok((Time(cells.long()?), cells.long()?, rows::subtask_or_none(cells)?))
        })?;
        drawn = Some((now, stamp));
        // Hinted, and its task is locked elsewhere: what was read may change under us.
        if let Some((task, index, row)) = place.filter(|(task, _, _)| locked.contains(task)) {
            memory.read_subtask(task, index, row.clone());
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

/// What the database says to `create` and `advance`.
struct Written {
    /// Where a name was taken, or the rows were not all as remembered: the sessions and tasks that are. Nothing was
    /// written.
    unchanged: Option<(Vec<i64>, Vec<i64>)>,
    now: Time,
    /// For the next batch.
    stamp: i64,
}

/// Every change and the commit, in one round trip: of rows that are remembered a statement that is a transaction of
/// its own, unless it takes two, else the rest of the open one. What a hop changes is one statement in both, and so is
/// a new task: each costs both sides a message and a wake-up.
async fn write(
    client: &Client,
    statements: &Statements,
    changes: &Changes,
    batch: &Batch,
) -> Result<Option<Written>> {
    let proof = batch.proof.as_ref();
    let (creates, advances) = (pg_rows::creates(changes), pg_rows::advances(changes));
    let create = if creates { pg_rows::create(changes, batch.stamp, proof)? } else { Params::default() };
    let advance =
        if advances || !creates { pg_rows::advance(changes, batch.stamp, proof)? } else { Params::default() };
    if proof.is_some() && !(creates && advances) {
        let (statement, params) =
            if creates { (&statements.create, &create) } else { (&statements.advance, &advance) };
        let written = client.query(statement, &params.refs()).await;
        return written.map_err(error::of_commit).and_then(|rows| said(&rows));
    }
    let parts = pg_rows::plan_parts(&changes.growth)?;
    let notes = pg_rows::notes(&changes.notes)?;
    let new_sessions = pg_rows::new_sessions(&changes.new_sessions, batch.stamp)?;
    let sessions = pg_rows::sessions(&changes.sessions, batch.stamp);
    let dead_sessions = pg_rows::dead_sessions(&changes.dead_sessions);
    let agents = pg_rows::agents(&changes.agents)?;
    let pipe = Pipe { client, failed: AtomicBool::new(false) };
    let (begun, created, a, b, c, d, e, f, advanced, end) = futures::join!(
        pipe.begin(proof.is_some()),
        pipe.send(&statements.create, creates, &create),
        pipe.send(&statements.insert_plan_parts, !changes.growth.is_empty(), &parts),
        pipe.send(&statements.upsert_notes, !changes.notes.is_empty(), &notes),
        pipe.send(&statements.insert_sessions, !changes.new_sessions.is_empty(), &new_sessions),
        pipe.send(&statements.update_sessions, !changes.sessions.is_empty(), &sessions),
        pipe.send(&statements.delete_sessions, !changes.dead_sessions.is_empty(), &dead_sessions),
        pipe.send(&statements.upsert_agents, !changes.agents.is_empty(), &agents),
        pipe.send(&statements.advance, advances, &advance),
        pipe.end(),
    );
    begun.map_err(error::of_commit)?;
    // The first one says why; after it the server refuses the others, and takes the commit for a rollback.
    let created = created.map_err(error::of_commit)?;
    for sent in [a, b, c, d, e, f] {
        sent.map_err(error::of_commit)?;
    }
    let advanced = advanced.map_err(error::of_commit)?;
    end.map_err(error::of_commit)?;
    said(if advances { &advanced } else { &created })
}

fn said(rows: &[Row]) -> Result<Option<Written>> {
    let Some(row) = rows.first() else { return Ok(None) };
    let cell = |error: Error| StoreError::Corrupt(error.to_string());
    let unchanged = if row.try_get(0).map_err(cell)? {
        None
    } else {
        Some((row.try_get(1).map_err(cell)?, row.try_get(2).map_err(cell)?))
    };
    let (now, stamp) = (Time(row.try_get(3).map_err(cell)?), row.try_get(4).map_err(cell)?);
    Ok(Some(Written { unchanged, now, stamp }))
}

/// Statements that are all sent before the first answer comes.
struct Pipe<'a> {
    client: &'a Client,
    /// One could not even be sent, so the server does not know that the others must not be committed.
    failed: AtomicBool,
}

impl Pipe<'_> {
    /// Of a batch that was loaded the transaction is open.
    async fn begin(&self, anew: bool) -> std::result::Result<(), Error> {
        if anew { self.client.batch_execute(BEGIN).await } else { Ok(()) }
    }

    async fn send(
        &self,
        statement: &Statement,
        any: bool,
        params: &Params<'_>,
    ) -> std::result::Result<Vec<Row>, Error> {
        if !any {
            return Ok(Vec::new());
        }
        let sent = self.client.query(statement, &params.refs()).await;
        if sent.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        sent
    }

    async fn end(&self) -> std::result::Result<(), Error> {
        let end = if self.failed.load(Ordering::Relaxed) { "rollback" } else { "commit" };
        self.client.batch_execute(end).await
    }
}
