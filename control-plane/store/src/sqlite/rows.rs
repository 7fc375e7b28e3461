//! How SQLite's cells are read, and how its rows are bound.

use downbeat_core::{
    rows::{AgentSeen, Growth, History, NewPlan, NoteRow, Output, SubtaskRow},
    session::Session,
    task::Task,
};
use rusqlite::{CachedStatement, Connection, Params, Row, params, types::ValueRef};

use crate::{
    Result, StoreError,
    rows::{self, Cells},
};

/// A row, read from the left.
struct Columns<'a> {
    row: &'a Row<'a>,
    next: usize,
}

impl Columns<'_> {
    fn cell(&mut self) -> Result<ValueRef<'_>> {
        let cell = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(cell)
    }
}

impl Cells for Columns<'_> {
    fn integer(&mut self) -> Result<Option<i64>> {
        match self.cell()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            other => Err(unexpected("a number", &other)),
        }
    }

    fn text(&mut self) -> Result<String> {
        match self.cell()? {
            ValueRef::Text(text) => {
                String::from_utf8(text.to_vec()).map_err(|e| StoreError::Corrupt(e.to_string()))
            }
            other => Err(unexpected("a text", &other)),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        match self.cell()? {
            ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
            other => Err(unexpected("bytes", &other)),
        }
    }
}

fn unexpected(expected: &str, found: &ValueRef<'_>) -> StoreError {
    StoreError::Corrupt(format!("expected {expected}, found {}", found.data_type()))
}

/// Hands every row of the result to `each`, in order.
pub(super) fn each(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut each: impl FnMut(&mut dyn Cells) -> Result<()>,
) -> Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        each(&mut Columns { row, next: 0 })?;
    }
    Ok(())
}

/// All rows of the result, in order.
pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    mut decode: impl FnMut(&mut dyn Cells) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    each(conn, sql, params, |cells| {
        found.push(decode(cells)?);
        Ok(())
    })?;
    Ok(found)
}

/// The first row of the result, if there is one.
pub(super) fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    decode: impl FnMut(&mut dyn Cells) -> Result<T>,
) -> Result<Option<T>> {
    Ok(all(conn, sql, params, decode)?.into_iter().next())
}

/// Runs a statement that gives no rows back.
pub(super) fn run(conn: &Connection, sql: &str, params: impl Params) -> Result<()> {
    conn.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| StoreError::Refused(format!("{number} is too large a number")))
}

pub(super) fn insert_task(into: &mut CachedStatement<'_>, task: &Task) -> Result<()> {
    into.execute(params![
        task.no.0,
        task.tenant.0,
        task.id,
        task.digest,
        task.status as u8,
        task.course as u8,
        task.priority as u8,
        task.total,
        task.unfinished,
        task.failed,
        task.in_review,
        task.asking,
        signed(task.events)?,
        task.created_at.0,
        task.started_at.map(|at| at.0),
        task.ended_at.map(|at| at.0),
        task.deadline.map(|at| at.0),
        task.stopped_at.map(|at| at.0),
        task.due_at.map(|at| at.0),
        task.wake_at.map(|at| at.0),
        task.reason,
    ])?;
    Ok(())
}

pub(super) fn update_task(into: &mut CachedStatement<'_>, task: &Task) -> Result<()> {
    into.execute(params![
        task.no.0,
        task.status as u8,
        task.course as u8,
        task.priority as u8,
        task.total,
        task.unfinished,
        task.failed,
        task.in_review,
        task.asking,
        signed(task.events)?,
        task.started_at.map(|at| at.0),
        task.ended_at.map(|at| at.0),
        task.deadline.map(|at| at.0),
        task.stopped_at.map(|at| at.0),
        task.due_at.map(|at| at.0),
        task.wake_at.map(|at| at.0),
        task.reason,
    ])?;
    Ok(())
}

pub(super) fn insert_plan(into: &mut CachedStatement<'_>, new: &NewPlan) -> Result<()> {
    into.execute(params![
        new.task.0,
        new.tenant.0,
        new.request.title,
        rows::request(&new.request)?,
        rows::encode(new.plan.nodes())?,
    ])?;
    Ok(())
}

pub(super) fn insert_plan_part(into: &mut CachedStatement<'_>, growth: &Growth) -> Result<()> {
    into.execute(params![growth.task.0, growth.first, growth.tenant.0, rows::encode(&growth.nodes)?])?;
    Ok(())
}

/// Binds the nineteen cells that a subtask's insert and update have in common.
fn bind_subtask(into: &mut CachedStatement<'_>, sub: &SubtaskRow) -> Result<()> {
    let row = &sub.row;
    into.raw_bind_parameter(1, sub.task.0)?;
    into.raw_bind_parameter(2, sub.index)?;
    into.raw_bind_parameter(3, row.state as u8)?;
    into.raw_bind_parameter(4, row.route.0)?;
    into.raw_bind_parameter(5, row.priority as u8)?;
    into.raw_bind_parameter(6, row.pending)?;
    into.raw_bind_parameter(7, row.failed)?;
    into.raw_bind_parameter(8, row.skipped)?;
    into.raw_bind_parameter(9, row.failures)?;
    into.raw_bind_parameter(10, row.attempts)?;
    into.raw_bind_parameter(11, row.losses)?;
    into.raw_bind_parameter(12, row.held)?;
    into.raw_bind_parameter(13, row.waived)?;
    into.raw_bind_parameter(14, row.queued)?;
    into.raw_bind_parameter(15, row.lease.map(|lease| lease.0))?;
    into.raw_bind_parameter(16, row.session.map(|session| session.0))?;
    into.raw_bind_parameter(17, row.outcome.map(|outcome| outcome as u8))?;
    into.raw_bind_parameter(18, row.wake_at.map(|at| at.0))?;
    into.raw_bind_parameter(19, row.since.0)?;
    Ok(())
}

pub(super) fn insert_subtask(into: &mut CachedStatement<'_>, sub: &SubtaskRow) -> Result<()> {
    bind_subtask(into, sub)?;
    into.raw_bind_parameter(20, sub.tenant.0)?;
    into.raw_execute()?;
    Ok(())
}

pub(super) fn update_subtask(into: &mut CachedStatement<'_>, sub: &SubtaskRow) -> Result<()> {
    bind_subtask(into, sub)?;
    into.raw_execute()?;
    Ok(())
}

pub(super) fn insert_output(into: &mut CachedStatement<'_>, output: &Output) -> Result<()> {
    into.execute(params![
        output.task.0,
        output.index,
        output.tenant.0,
        output.body.as_ref(),
        rows::encode_text(&output.artifacts)?,
    ])?;
    Ok(())
}

pub(super) fn upsert_note(into: &mut CachedStatement<'_>, note: &NoteRow) -> Result<()> {
    let (kind, place) = note.key.numbers();
    into.execute(params![note.task.0, kind, place, note.tenant.0, note.body.as_ref()])?;
    Ok(())
}

pub(super) fn insert_history(into: &mut CachedStatement<'_>, history: &History) -> Result<()> {
    let Some((first, last, at)) = rows::span(history) else { return Ok(()) };
    into.execute(params![
        history.task.0,
        signed(first)?,
        signed(last)?,
        at.0,
        rows::day(at),
        history.tenant.0,
        rows::encode(&history.events)?,
    ])?;
    Ok(())
}

pub(super) fn insert_session(into: &mut CachedStatement<'_>, session: &Session, stamp: i64) -> Result<()> {
    into.execute(params![
        session.no.0,
        session.tenant.0,
        session.replica.0,
        session.token,
        session.connection,
        session.state as u8,
        session.opened_at.0,
        session.wake_at.map(|at| at.0),
        stamp,
        rows::encode_text(&session.declaration)?,
    ])?;
    Ok(())
}

pub(super) fn update_session(into: &mut CachedStatement<'_>, session: &Session, stamp: i64) -> Result<()> {
    into.execute(params![
        session.no.0,
        session.replica.0,
        session.connection,
        session.state as u8,
        session.wake_at.map(|at| at.0),
        stamp,
    ])?;
    Ok(())
}

pub(super) fn upsert_agent(into: &mut CachedStatement<'_>, seen: &AgentSeen) -> Result<()> {
    into.execute(params![
        seen.tenant.0,
        seen.declaration.name,
        seen.at.0,
        rows::encode_text(&seen.declaration)?,
    ])?;
    Ok(())
}
