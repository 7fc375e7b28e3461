//! Batches on SQLite: optimistic, as there is one process. Loading reads under the connection's lock and
//! keeps nothing open; committing writes in one transaction, unless another batch came in between.

use std::{collections::BTreeSet, sync::Arc};

use downbeat_core::{
    id::TaskNo,
    reads::Reads,
    rows::{Changes, Rows},
};
use futures::future::BoxFuture;
use rusqlite::{CachedStatement, Connection, TransactionBehavior, params};

use super::{Main, STAMP, Shared, rows as bind};
use crate::{Loaded, Result, StoreError, Writer, rows};

/// A loaded batch: what the database was like, and its stamp.
#[derive(Clone, Copy, Debug)]
struct Open {
    commits: u64,
    stamp: i64,
}

/// The one in-process writer. Does its work inline: give it a thread of its own.
pub(super) struct SqliteWriter {
    shared: Arc<Shared>,
    open: Option<Open>,
}

impl SqliteWriter {
    pub(super) fn new(shared: Arc<Shared>) -> SqliteWriter {
        SqliteWriter { shared, open: None }
    }

    fn load_now(&mut self, reads: &Reads) -> Result<Loaded> {
        self.open = None;
        let mut main = self.shared.main();
        let Main { conn, stamp, commits } = &mut *main;
        let rows = load(conn, reads)?;
        *stamp += 1;
        self.open = Some(Open { commits: *commits, stamp: *stamp });
        Ok(Loaded { now: self.shared.now(), stamp: *stamp, rows })
    }

    fn commit_now(&mut self, changes: &Changes) -> Result<()> {
        let open = self.open.take().expect("a batch is loaded before it is committed");
        if changes.is_empty() {
            return Ok(());
        }
        let mut main = self.shared.main();
        if main.commits != open.commits {
            return Err(StoreError::Conflict("another batch was committed since this one was loaded".into()));
        }
        let transaction = main.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, changes, open.stamp)?;
        transaction.commit()?;
        main.commits += 1;
        Ok(())
    }
}

impl Writer for SqliteWriter {
    fn load<'a>(&'a mut self, reads: &'a Reads) -> BoxFuture<'a, Result<Loaded>> {
        Box::pin(async move { self.load_now(reads) })
    }

    fn commit<'a>(&'a mut self, changes: &'a Changes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.commit_now(changes) })
    }

    fn rollback(&mut self) -> BoxFuture<'_, ()> {
        self.open = None;
        Box::pin(async {})
    }
}

fn load(conn: &mut Connection, reads: &Reads) -> Result<Rows> {
    let snapshot = conn.transaction()?;
    let mut into = Rows::default();
    for session in reads.sessions.union(&reads.seats) {
        let wanted = reads.sessions.contains(session);
        let sql = include_str!("sql/lock_sessions.sql");
        bind::each(&snapshot, sql, params![session.0, wanted], |cells| {
            into.load_session(rows::session(cells)?);
            Ok(())
        })?;
    }
    for no in tasks(&snapshot, reads)? {
        bind::each(&snapshot, include_str!("sql/lock_tasks.sql"), [no.0], |cells| {
            into.load_task(rows::task(cells)?);
            Ok(())
        })?;
    }
    for (no, index) in reads.subtasks.union(&reads.hints).filter(|(no, _)| !reads.whole.contains(no)) {
        bind::each(&snapshot, include_str!("sql/load_subtasks.sql"), params![no.0, index], |cells| {
            let (task, index, row) = rows::subtask(cells)?;
            into.load_subtask(task, index, row);
            Ok(())
        })?;
    }
    for no in &reads.whole {
        bind::each(&snapshot, include_str!("sql/load_whole.sql"), [no.0], |cells| {
            let (task, index, row) = rows::subtask(cells)?;
            into.load_subtask(task, index, row);
            Ok(())
        })?;
    }
    for &(no, key) in &reads.notes {
        let (kind, place) = key.numbers();
        let sql = include_str!("sql/load_notes.sql");
        let found = bind::one(&snapshot, sql, params![no.0, kind, place], rows::note)?;
        into.load_note(no, key, found.map(|(_, _, body)| body));
    }
    snapshot.commit()?;
    Ok(into)
}

/// Every task that is read, however it is named.
fn tasks(conn: &Connection, reads: &Reads) -> Result<BTreeSet<TaskNo>> {
    let mut found: BTreeSet<TaskNo> = reads.tasks.union(&reads.whole).copied().collect();
    found.extend(reads.subtasks.iter().chain(&reads.hints).map(|(task, _)| *task));
    found.extend(reads.notes.iter().map(|(task, _)| *task));
    for (tenant, id) in &reads.ids {
        found.extend(super::read::find_task(conn, *tenant, id)?);
    }
    Ok(found)
}

fn write(conn: &Connection, changes: &Changes, stamp: i64) -> Result<()> {
    put(conn, include_str!("sql/insert_tasks.sql"), &changes.new_tasks, bind::insert_task)?;
    put(conn, include_str!("sql/update_tasks.sql"), &changes.tasks, bind::update_task)?;
    put(conn, include_str!("sql/insert_plans.sql"), &changes.new_plans, bind::insert_plan)?;
    put(conn, include_str!("sql/insert_plan_parts.sql"), &changes.growth, bind::insert_plan_part)?;
    put(conn, include_str!("sql/insert_subtasks.sql"), &changes.new_subtasks, bind::insert_subtask)?;
    put(conn, include_str!("sql/update_subtasks.sql"), &changes.subtasks, bind::update_subtask)?;
    put(conn, include_str!("sql/insert_outputs.sql"), &changes.outputs, bind::insert_output)?;
    put(conn, include_str!("sql/upsert_notes.sql"), &changes.notes, bind::upsert_note)?;
    put(conn, include_str!("sql/insert_history.sql"), &changes.history, bind::insert_history)?;
    put(conn, include_str!("sql/insert_sessions.sql"), &changes.new_sessions, |into, session| {
        bind::insert_session(into, session, stamp)
    })?;
    put(conn, include_str!("sql/update_sessions.sql"), &changes.sessions, |into, session| {
        bind::update_session(into, session, stamp)
    })?;
    put(conn, include_str!("sql/delete_sessions.sql"), &changes.dead_sessions, |into, session| {
        into.execute([session.0])?;
        Ok(())
    })?;
    put(conn, include_str!("sql/upsert_agents.sql"), &changes.agents, bind::upsert_agent)?;
    bind::run(conn, include_str!("sql/raise_counter.sql"), params![STAMP, stamp])
}

fn put<T>(
    conn: &Connection,
    sql: &str,
    items: &[T],
    mut one: impl FnMut(&mut CachedStatement<'_>, &T) -> Result<()>,
) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut statement = conn.prepare_cached(sql)?;
    items.iter().try_for_each(|item| one(&mut statement, item))
}
