//! How Postgres' cells are read, and how rows become arrays for `unnest`, a column each.

use std::collections::BTreeMap;

use downbeat_core::{
    id::{SessionNo, TaskNo},
    rows::{AgentSeen, Changes, History, NewPlan, Output, SubtaskRow},
    session::Session,
    task::Task,
    time::Time,
};
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql, Type},
};

use super::memory::Proof;
use crate::{
    Result, StoreError,
    rows::{self, Cells},
};

/// What one statement may carry, in bytes of payload: half of what Postgres takes as one message.
const STATEMENT_BYTES: usize = 512 * 1024 * 1024;

/// A row, read from the left.
struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl Columns<'_> {
    fn cell<'a, T: FromSql<'a>>(&'a mut self) -> Result<T> {
        let cell = self.row.try_get(self.next).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.next += 1;
        Ok(cell)
    }
}

impl Cells for Columns<'_> {
    fn integer(&mut self) -> Result<Option<i64>> {
        let kind = self.row.columns().get(self.next).map(|column| column.type_());
        match kind {
            Some(&Type::INT8) => self.cell(),
            Some(&Type::INT4) => self.cell::<Option<i32>>().map(|number| number.map(i64::from)),
            Some(&Type::INT2) => self.cell::<Option<i16>>().map(|number| number.map(i64::from)),
            Some(&Type::BOOL) => self.cell::<Option<bool>>().map(|truth| truth.map(i64::from)),
            other => Err(StoreError::Corrupt(format!("expected a number, found {other:?}"))),
        }
    }

    fn text(&mut self) -> Result<String> {
        self.cell()
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        self.cell()
    }
}

/// Decodes one row.
pub(super) fn one<T>(row: &Row, decode: impl FnOnce(&mut dyn Cells) -> Result<T>) -> Result<T> {
    decode(&mut Columns { row, next: 0 })
}

/// Decodes rows, in order.
pub(super) fn all<T>(rows: &[Row], mut decode: impl FnMut(&mut dyn Cells) -> Result<T>) -> Result<Vec<T>> {
    rows.iter().map(|row| one(row, &mut decode)).collect()
}

/// The arrays of one statement, all of the same length.
#[derive(Default)]
pub(super) struct Arrays<'a>(Vec<Box<dyn ToSql + Sync + Send + 'a>>);

impl<'a> Arrays<'a> {
    fn of<T, C: ToSql + Sync + Send + 'a>(mut self, items: &'a [T], cell: impl Fn(&'a T) -> C) -> Arrays<'a> {
        self.0.push(Box::new(items.iter().map(cell).collect::<Vec<C>>()));
        self
    }

    /// For numbers that a column may be too narrow for.
    fn ints<T>(self, items: &'a [T], cell: impl Fn(&'a T) -> u32) -> Result<Arrays<'a>> {
        let ints: Result<Vec<i32>> = items.iter().map(|item| int(cell(item))).collect();
        Ok(self.array(ints?))
    }

    fn array<C: ToSql + Sync + Send + 'a>(mut self, array: Vec<C>) -> Arrays<'a> {
        self.0.push(Box::new(array));
        self
    }

    /// These and then those.
    fn and(mut self, more: Arrays<'a>) -> Arrays<'a> {
        self.0.extend(more.0);
        self
    }

    /// A value that holds for all rows.
    pub(super) fn all(mut self, value: impl ToSql + Sync + Send + 'a) -> Arrays<'a> {
        self.0.push(Box::new(value));
        self
    }

    /// As tokio-postgres takes them.
    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0.iter().map(|array| &**array as &(dyn ToSql + Sync)).collect()
    }
}

pub(super) fn int(number: u32) -> Result<i32> {
    i32::try_from(number).map_err(|_| StoreError::Refused(format!("{number} is too large a number")))
}

fn long(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| StoreError::Refused(format!("{number} is too large a number")))
}

fn ms(at: Option<Time>) -> Option<i64> {
    at.map(|at| at.0)
}

/// Refuses what Postgres would answer by closing the connection.
fn bounded(payloads: &[Vec<u8>]) -> Result<()> {
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    if bytes > STATEMENT_BYTES {
        return Err(StoreError::Refused(format!(
            "a batch of at most {STATEMENT_BYTES} bytes of one kind (STATEMENT_BYTES), got {bytes}"
        )));
    }
    Ok(())
}

/// In the order of their names, so that two batches that submit the same ones wait for each other in turn.
pub(super) fn by_name(tasks: &[Task]) -> Vec<&Task> {
    let mut sorted: Vec<&Task> = tasks.iter().collect();
    sorted.sort_unstable_by_key(|task| (task.tenant, &task.id));
    sorted
}

/// What `create` writes, table by table, and on which condition; the tasks are those of the changes,
/// [by name](by_name).
pub(super) fn create<'a>(
    tasks: &'a [&'a Task],
    changes: &'a Changes,
    stamp: i64,
    proof: Option<&'a Proof>,
) -> Result<Arrays<'a>> {
    Ok(proven(proof, stamp)
        .all(proof.is_some())
        .and(new_tasks(tasks)?)
        .and(new_plans(&changes.new_plans)?)
        .and(new_subtasks(&changes.new_subtasks)?)
        .and(history(changes, true)?))
}

/// The beginning of both `create` and `advance`.
fn proven(proof: Option<&Proof>, stamp: i64) -> Arrays<'_> {
    let known = |of: fn(&Proof) -> &[i64]| proof.map_or(&[][..], of);
    Arrays::default()
        .all(known(|proof| &proof.sessions))
        .all(known(|proof| &proof.session_stamps))
        .all(known(|proof| &proof.tasks))
        .all(known(|proof| &proof.task_stamps))
        .all(stamp)
}

fn new_tasks<'a>(tasks: &'a [&'a Task]) -> Result<Arrays<'a>> {
    let events: Result<Vec<i64>> = tasks.iter().map(|task| long(task.events)).collect();
    Ok(Arrays::default()
        .of(tasks, |task| task.no.0)
        .of(tasks, |task| task.tenant.0)
        .of(tasks, |task| task.id.as_str())
        .of(tasks, |task| task.digest.as_slice())
        .of(tasks, |task| task.status as i16)
        .of(tasks, |task| task.mode as i16)
        .of(tasks, |task| task.priority as i16)
        .ints(tasks, |task| task.total)?
        .ints(tasks, |task| task.unfinished)?
        .ints(tasks, |task| task.failed)?
        .ints(tasks, |task| task.in_review)?
        .array(events?)
        .of(tasks, |task| task.created_at.0)
        .of(tasks, |task| ms(task.started_at))
        .of(tasks, |task| ms(task.ended_at))
        .of(tasks, |task| ms(task.deadline))
        .of(tasks, |task| ms(task.stopped_at))
        .of(tasks, |task| ms(task.due_at))
        .of(tasks, |task| ms(task.wake_at))
        .of(tasks, |task| task.reason.as_str()))
}

/// What `advance` writes, table by table, and on which condition.
pub(super) fn advance<'a>(changes: &'a Changes, stamp: i64, proof: Option<&'a Proof>) -> Result<Arrays<'a>> {
    let beside = if proof.is_some() { &changes.new_tasks[..] } else { &[] };
    Ok(proven(proof, stamp)
        .of(beside, |task| task.no.0)
        .and(tasks(&changes.tasks)?)
        .and(subtasks(&changes.subtasks)?)
        .and(outputs(&changes.outputs)?)
        .and(history(changes, false)?))
}

/// Whether there is something for `create` to write.
pub(super) fn creates(changes: &Changes) -> bool {
    let Changes { new_tasks, new_plans, new_subtasks, .. } = changes;
    !(new_tasks.is_empty() && new_plans.is_empty() && new_subtasks.is_empty())
}

/// Whether there is something for `advance` to write.
pub(super) fn advances(changes: &Changes) -> bool {
    let Changes { new_tasks, tasks, subtasks, outputs, history, .. } = changes;
    let is_old = |row: &History| new_tasks.iter().all(|task| task.no != row.task);
    !(tasks.is_empty() && subtasks.is_empty() && outputs.is_empty()) || history.iter().any(is_old)
}

/// Whether `create` and `advance` write all of it.
pub(super) fn is_provable(changes: &Changes) -> bool {
    let Changes {
        new_tasks: _,
        tasks: _,
        new_plans: _,
        new_subtasks: _,
        subtasks: _,
        outputs: _,
        history: _,
        new_sessions,
        sessions,
        dead_sessions,
        agents,
    } = changes;
    new_sessions.is_empty() && sessions.is_empty() && dead_sessions.is_empty() && agents.is_empty()
}

fn tasks(tasks: &[Task]) -> Result<Arrays<'_>> {
    let events: Result<Vec<i64>> = tasks.iter().map(|task| long(task.events)).collect();
    Ok(Arrays::default()
        .of(tasks, |task| task.no.0)
        .of(tasks, |task| task.status as i16)
        .of(tasks, |task| task.mode as i16)
        .of(tasks, |task| task.priority as i16)
        .ints(tasks, |task| task.total)?
        .ints(tasks, |task| task.unfinished)?
        .ints(tasks, |task| task.failed)?
        .ints(tasks, |task| task.in_review)?
        .array(events?)
        .of(tasks, |task| ms(task.started_at))
        .of(tasks, |task| ms(task.ended_at))
        .of(tasks, |task| ms(task.deadline))
        .of(tasks, |task| ms(task.stopped_at))
        .of(tasks, |task| ms(task.due_at))
        .of(tasks, |task| ms(task.wake_at))
        .of(tasks, |task| task.reason.as_str()))
}

fn new_plans(plans: &[NewPlan]) -> Result<Arrays<'_>> {
    let requests: Result<Vec<_>> = plans.iter().map(|new| rows::request(&new.request)).collect();
    let nodes: Result<Vec<_>> = plans.iter().map(|new| rows::encode(new.plan.nodes())).collect();
    let (requests, nodes) = (requests?, nodes?);
    bounded(&requests)?;
    bounded(&nodes)?;
    Ok(Arrays::default()
        .of(plans, |new| new.task.0)
        .of(plans, |new| new.tenant.0)
        .of(plans, |new| new.request.title.as_str())
        .array(requests)
        .array(nodes))
}

fn subtasks(subtasks: &[SubtaskRow]) -> Result<Arrays<'_>> {
    Ok(Arrays::default()
        .of(subtasks, |sub| sub.task.0)
        .ints(subtasks, |sub| sub.index)?
        .of(subtasks, |sub| sub.row.state as i16)
        .of(subtasks, |sub| sub.row.route.0)
        .of(subtasks, |sub| sub.row.priority as i16)
        .ints(subtasks, |sub| sub.row.pending)?
        .of(subtasks, |sub| i32::from(sub.row.failures))
        .of(subtasks, |sub| i32::from(sub.row.attempts))
        .of(subtasks, |sub| i32::from(sub.row.losses))
        .of(subtasks, |sub| sub.row.held)
        .of(subtasks, |sub| sub.row.queued)
        .of(subtasks, |sub| sub.row.lease.map(|lease| lease.0))
        .of(subtasks, |sub| sub.row.session.map(|session| session.0))
        .of(subtasks, |sub| sub.row.outcome.map(|outcome| outcome as i16))
        .of(subtasks, |sub| ms(sub.row.wake_at))
        .of(subtasks, |sub| sub.row.since.0))
}

fn new_subtasks(new: &[SubtaskRow]) -> Result<Arrays<'_>> {
    Ok(subtasks(new)?.of(new, |sub| sub.tenant.0))
}

fn outputs(outputs: &[Output]) -> Result<Arrays<'_>> {
    let bytes: usize = outputs.iter().map(|output| output.body.len()).sum();
    if bytes > STATEMENT_BYTES {
        return Err(StoreError::Refused(format!("{bytes} bytes of outputs in one batch")));
    }
    let artifacts: Result<Vec<_>> =
        outputs.iter().map(|output| rows::encode_text(&output.artifacts)).collect();
    Ok(Arrays::default()
        .of(outputs, |output| output.task.0)
        .ints(outputs, |output| output.index)?
        .of(outputs, |output| output.tenant.0)
        .of(outputs, |output| output.body.as_ref())
        .array(artifacts?))
}

/// What happened to tasks that are new, or to the others.
///
/// The day is that of the events, or of the task's birth where the clock was set back since: a reader may
/// rely on no event being in an older partition than that.
fn history(changes: &Changes, of_new: bool) -> Result<Arrays<'_>> {
    let birth = |task: &Task| (task.no, task.created_at);
    let new: BTreeMap<TaskNo, Time> = changes.new_tasks.iter().map(birth).collect();
    let old: BTreeMap<TaskNo, Time> = changes.tasks.iter().map(birth).collect();
    let (mut nos, mut tenants) = (Vec::new(), Vec::new());
    let (mut firsts, mut lasts, mut times, mut days) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut bodies = Vec::new();
    for History { task, tenant, events } in
        changes.history.iter().filter(|row| of_new == new.contains_key(&row.task))
    {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Err(StoreError::Refused(format!("no events in the history of task {task}")));
        };
        let birth = new.get(task).or(old.get(task));
        let day = rows::day(birth.map_or(first.at, |birth| first.at.max(*birth)));
        nos.push(task.0);
        tenants.push(tenant.0);
        firsts.push(long(first.number)?);
        lasts.push(long(last.number)?);
        times.push(first.at.0);
        days.push(i32::try_from(day).map_err(|_| StoreError::Refused(format!("no calendar has day {day}")))?);
        bodies.push(rows::encode(events)?);
    }
    bounded(&bodies)?;
    Ok(Arrays::default()
        .array(nos)
        .array(firsts)
        .array(lasts)
        .array(times)
        .array(days)
        .array(tenants)
        .array(bodies))
}

pub(super) fn new_sessions(sessions: &[Session]) -> Result<Arrays<'_>> {
    let declarations: Result<Vec<_>> =
        sessions.iter().map(|session| rows::encode_text(&session.declaration)).collect();
    Ok(Arrays::default()
        .of(sessions, |session| session.no.0)
        .of(sessions, |session| session.tenant.0)
        .of(sessions, |session| session.replica.0)
        .of(sessions, |session| session.token.as_slice())
        .of(sessions, |session| i64::from(session.connection))
        .of(sessions, |session| session.state as i16)
        .of(sessions, |session| session.opened_at.0)
        .of(sessions, |session| ms(session.wake_at))
        .array(declarations?))
}

pub(super) fn sessions(sessions: &[Session]) -> Arrays<'_> {
    Arrays::default()
        .of(sessions, |session| session.no.0)
        .of(sessions, |session| session.replica.0)
        .of(sessions, |session| i64::from(session.connection))
        .of(sessions, |session| session.state as i16)
        .of(sessions, |session| ms(session.wake_at))
}

pub(super) fn dead_sessions(dead: &[SessionNo]) -> Arrays<'_> {
    Arrays::default().of(dead, |session| session.0)
}

/// The last word of each agent, in the order of their names.
pub(super) fn last_said(agents: &[AgentSeen]) -> Vec<&AgentSeen> {
    let named: BTreeMap<_, _> =
        agents.iter().map(|seen| ((seen.tenant, seen.declaration.name.as_str()), seen)).collect();
    named.into_values().collect()
}

pub(super) fn agents<'a>(agents: &'a [&'a AgentSeen]) -> Result<Arrays<'a>> {
    let declarations: Result<Vec<_>> =
        agents.iter().map(|seen| rows::encode_text(&seen.declaration)).collect();
    Ok(Arrays::default()
        .of(agents, |seen| seen.tenant.0)
        .of(agents, |seen| seen.declaration.name.as_str())
        .of(agents, |seen| seen.at.0)
        .array(declarations?))
}
