//! How Postgres' cells are read, and what its statements are given.

use std::collections::BTreeMap;

use downbeat_core::{
    id::{SessionNo, TaskNo},
    rows::{AgentSeen, Changes, Growth, History, NewPlan, NoteRow, Output, SubtaskRow},
    session::Session,
    task::Task,
    time::Time,
};
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql, Type},
};

use super::{
    memory::Proof,
    record::{Encoded, Fields, Record, Row as Sent},
};
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

/// What a statement is given.
#[derive(Default)]
pub(super) struct Params<'a>(Vec<Box<dyn ToSql + Sync + Send + 'a>>);

impl<'a> Params<'a> {
    fn with(mut self, value: impl ToSql + Sync + Send + 'a) -> Params<'a> {
        self.0.push(Box::new(value));
        self
    }

    fn rows<R: Record + Sync + Send + 'a>(self, rows: impl IntoIterator<Item = R>) -> Params<'a> {
        self.with(rows.into_iter().map(Sent).collect::<Vec<_>>())
    }

    fn try_rows<R: Record + Sync + Send + 'a>(
        self,
        rows: impl IntoIterator<Item = Result<R>>,
    ) -> Result<Params<'a>> {
        Ok(self.rows(rows.into_iter().collect::<Result<Vec<R>>>()?))
    }

    /// As tokio-postgres takes them.
    pub(super) fn refs(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
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
fn bounded(payloads: impl Iterator<Item = usize>) -> Result<()> {
    let bytes: usize = payloads.sum();
    if bytes > STATEMENT_BYTES {
        return Err(StoreError::Refused(format!(
            "a batch of at most {STATEMENT_BYTES} bytes of one kind (STATEMENT_BYTES), got {bytes}"
        )));
    }
    Ok(())
}

/// In the order of their names, so that two batches that submit the same ones wait for each other in turn.
fn by_name(tasks: &[Task]) -> Vec<&Task> {
    let mut sorted: Vec<&Task> = tasks.iter().collect();
    sorted.sort_unstable_by_key(|task| (task.tenant, &task.id));
    sorted
}

/// What `create` writes, table by table, and on which condition.
pub(super) fn create<'a>(changes: &'a Changes, stamp: i64, proof: Option<&'a Proof>) -> Result<Params<'a>> {
    let plans = changes.new_plans.iter().map(PlanRow::of).collect::<Result<Vec<_>>>()?;
    bounded(plans.iter().map(|plan| plan.request.len()))?;
    bounded(plans.iter().map(|plan| plan.nodes.len()))?;
    proven(proof, stamp)
        .with(proof.is_some())
        .try_rows(by_name(&changes.new_tasks).into_iter().map(TaskRow::of))?
        .rows(plans)
        .rows(&changes.new_subtasks)
        .history(changes, true)
}

/// What `advance` writes, table by table, and on which condition.
pub(super) fn advance<'a>(changes: &'a Changes, stamp: i64, proof: Option<&'a Proof>) -> Result<Params<'a>> {
    let beside = if proof.is_some() { &changes.new_tasks[..] } else { &[] };
    let outputs = changes.outputs.iter().map(OutputRow::of).collect::<Result<Vec<_>>>()?;
    bounded(outputs.iter().map(|row| row.output.body.len() + row.artifacts.len()))?;
    proven(proof, stamp)
        .with(beside.iter().map(|task| task.no.0).collect::<Vec<_>>())
        .try_rows(changes.tasks.iter().map(TaskRow::of))?
        .rows(&changes.subtasks)
        .rows(outputs)
        .history(changes, false)
}

/// The beginning of both `create` and `advance`.
fn proven(proof: Option<&Proof>, stamp: i64) -> Params<'_> {
    let known = |of: fn(&Proof) -> &[i64]| proof.map_or(&[][..], of);
    Params::default()
        .with(known(|proof| &proof.sessions))
        .with(known(|proof| &proof.session_stamps))
        .with(known(|proof| &proof.tasks))
        .with(known(|proof| &proof.task_stamps))
        .with(stamp)
}

/// Whether there is something for `create` to write.
pub(super) fn creates(changes: &Changes) -> bool {
    let Changes { new_tasks, new_plans, new_subtasks, .. } = changes;
    !(new_tasks.is_empty() && new_plans.is_empty() && new_subtasks.is_empty())
}

/// Whether there is something for `advance` to write.
pub(super) fn advances(changes: &Changes) -> bool {
    let Changes { new_tasks, tasks, subtasks, outputs, history, .. } = changes;
    let is_old = |row: &History| new_tasks.binary_search_by_key(&row.task, |task| task.no).is_err();
    !(tasks.is_empty() && subtasks.is_empty() && outputs.is_empty()) || history.iter().any(is_old)
}

/// Whether `create` and `advance` write all of it.
pub(super) fn is_provable(changes: &Changes) -> bool {
    let Changes {
        new_tasks: _,
        tasks: _,
        new_plans: _,
        growth,
        new_subtasks: _,
        subtasks: _,
        outputs: _,
        notes,
        history: _,
        new_sessions,
        sessions,
        dead_sessions,
        agents,
    } = changes;
    growth.is_empty()
        && notes.is_empty()
        && new_sessions.is_empty()
        && sessions.is_empty()
        && dead_sessions.is_empty()
        && agents.is_empty()
}

#[derive(Debug)]
struct TaskRow<'a> {
    head: &'a Task,
    events: i64,
}

impl TaskRow<'_> {
    fn of(head: &Task) -> Result<TaskRow<'_>> {
        Ok(TaskRow { head, events: long(head.events)? })
    }
}

/// `task_row_2`
impl Record for TaskRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let TaskRow { head, events } = self;
        fields
            .put(head.no.0)?
            .put(head.tenant.0)?
            .put(&head.id)?
            .put(&head.digest[..])?
            .put(head.status as i16)?
            .put(head.course as i16)?
            .put(head.priority as i16)?
            .put(i64::from(head.total))?
            .put(i64::from(head.unfinished))?
            .put(i64::from(head.failed))?
            .put(i64::from(head.in_review))?
            .put(i64::from(head.asking))?
            .put(events)?
            .put(head.created_at.0)?
            .put(ms(head.started_at))?
            .put(ms(head.ended_at))?
            .put(ms(head.deadline))?
            .put(ms(head.stopped_at))?
            .put(ms(head.due_at))?
            .put(ms(head.wake_at))?
            .put(&head.reason)?;
        Ok(())
    }
}

#[derive(Debug)]
struct PlanRow<'a> {
    new: &'a NewPlan,
    request: Vec<u8>,
    nodes: Vec<u8>,
}

impl PlanRow<'_> {
    fn of(new: &NewPlan) -> Result<PlanRow<'_>> {
        Ok(PlanRow { new, request: rows::request(&new.request)?, nodes: rows::encode(new.plan.nodes())? })
    }
}

/// `plan_row`
impl Record for PlanRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let PlanRow { new, request, nodes } = self;
        fields.put(new.task.0)?.put(new.tenant.0)?.put(&new.request.title)?.put(request)?.put(nodes)?;
        Ok(())
    }
}

/// `subtask_row_2`
impl Record for &SubtaskRow {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let SubtaskRow { tenant, task, index, row } = self;
        fields
            .put(task.0)?
            .put(i64::from(*index))?
            .put(tenant.0)?
            .put(row.state as i16)?
            .put(row.route.0)?
            .put(row.priority as i16)?
            .put(i64::from(row.pending))?
            .put(i64::from(row.failed))?
            .put(i64::from(row.skipped))?
            .put(i64::from(row.failures))?
            .put(i64::from(row.attempts))?
            .put(i64::from(row.losses))?
            .put(row.held)?
            .put(row.waived)?
            .put(row.queued)?
            .put(row.lease.map(|lease| lease.0))?
            .put(row.session.map(|session| session.0))?
            .put(row.outcome.map(|outcome| outcome as i16))?
            .put(ms(row.wake_at))?
            .put(row.since.0)?;
        Ok(())
    }
}

#[derive(Debug)]
struct OutputRow<'a> {
    output: &'a Output,
    artifacts: String,
}

impl OutputRow<'_> {
    fn of(output: &Output) -> Result<OutputRow<'_>> {
        Ok(OutputRow { output, artifacts: rows::encode_text(&output.artifacts)? })
    }
}

/// `output_row`
impl Record for OutputRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let OutputRow { output, artifacts } = self;
        fields
            .put(output.task.0)?
            .put(i64::from(output.index))?
            .put(output.tenant.0)?
            .put(&output.body[..])?
            .put(artifacts)?;
        Ok(())
    }
}

#[derive(Debug)]
struct HistoryRow<'a> {
    history: &'a History,
    first: i64,
    last: i64,
    at: Time,
    day: i64,
    body: Vec<u8>,
}

impl HistoryRow<'_> {
    /// The day is that of the events, or of the task's `birth` where the clock was set back since: a reader may
    /// rely on no event being in an older partition than that.
    fn of(history: &History, birth: Option<Time>) -> Result<HistoryRow<'_>> {
        let Some((first, last, at)) = rows::span(history) else {
            return Err(StoreError::Refused(format!("no events in the history of task {}", history.task)));
        };
        let day = rows::day(birth.map_or(at, |birth| at.max(birth)));
        let body = rows::encode(&history.events)?;
        Ok(HistoryRow { history, first: long(first)?, last: long(last)?, at, day, body })
    }
}

/// `history_row`
impl Record for HistoryRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let HistoryRow { history, first, last, at, day, body } = self;
        fields
            .put(history.task.0)?
            .put(first)?
            .put(last)?
            .put(at.0)?
            .put(day)?
            .put(history.tenant.0)?
            .put(body)?;
        Ok(())
    }
}

impl<'a> Params<'a> {
    /// What happened to tasks that are new, or to the others.
    fn history(self, changes: &'a Changes, of_new: bool) -> Result<Params<'a>> {
        let birth = |task: &Task| (task.no, task.created_at);
        let new: BTreeMap<TaskNo, Time> = changes.new_tasks.iter().map(birth).collect();
        let old: BTreeMap<TaskNo, Time> = changes.tasks.iter().map(birth).collect();
        let asked = changes.history.iter().filter(|row| of_new == new.contains_key(&row.task));
        let births = |row: &History| new.get(&row.task).or(old.get(&row.task)).copied();
        let history = asked.map(|row| HistoryRow::of(row, births(row))).collect::<Result<Vec<_>>>()?;
        bounded(history.iter().map(|row| row.body.len()))?;
        Ok(self.rows(history))
    }
}

#[derive(Debug)]
struct PlanPartRow<'a> {
    growth: &'a Growth,
    nodes: Vec<u8>,
}

/// `plan_part_row_2`
impl Record for PlanPartRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let PlanPartRow { growth, nodes } = self;
        fields.put(growth.task.0)?.put(i64::from(growth.first))?.put(growth.tenant.0)?.put(nodes)?;
        Ok(())
    }
}

/// For `insert_plan_parts`.
pub(super) fn plan_parts(growth: &[Growth]) -> Result<Params<'_>> {
    let row = |growth: &'_ Growth| rows::encode(&growth.nodes);
    let nodes = growth.iter().map(row).collect::<Result<Vec<_>>>()?;
    bounded(nodes.iter().map(Vec::len))?;
    Ok(Params::default().rows(growth.iter().zip(nodes).map(|(growth, nodes)| PlanPartRow { growth, nodes })))
}

/// `note_row_2`
impl Record for &NoteRow {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let NoteRow { tenant, task, key, body } = self;
        let (kind, place) = key.numbers();
        fields.put(task.0)?.put(i16::from(kind))?.put(i64::from(place))?.put(tenant.0)?.put(&body[..])?;
        Ok(())
    }
}

/// For `upsert_notes`.
pub(super) fn notes(notes: &[NoteRow]) -> Result<Params<'_>> {
    bounded(notes.iter().map(|note| note.body.len()))?;
    Ok(Params::default().rows(notes))
}

#[derive(Debug)]
struct SessionRow<'a> {
    session: &'a Session,
    declaration: String,
}

/// `session_row`
impl Record for SessionRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let SessionRow { session, declaration } = self;
        fields
            .put(session.no.0)?
            .put(session.tenant.0)?
            .put(session.replica.0)?
            .put(&session.token[..])?
            .put(i64::from(session.connection))?
            .put(session.state as i16)?
            .put(session.opened_at.0)?
            .put(ms(session.wake_at))?
            .put(declaration)?;
        Ok(())
    }
}

/// For `insert_sessions`.
pub(super) fn new_sessions(sessions: &[Session], stamp: i64) -> Result<Params<'_>> {
    let row = |session| Ok(SessionRow { session, declaration: rows::encode_text(&session.declaration)? });
    Ok(Params::default().try_rows(sessions.iter().map(row))?.with(stamp))
}

/// For `update_sessions`, which leaves declarations alone.
pub(super) fn sessions(sessions: &[Session], stamp: i64) -> Params<'_> {
    let row = |session| SessionRow { session, declaration: String::new() };
    Params::default().rows(sessions.iter().map(row)).with(stamp)
}

pub(super) fn dead_sessions(dead: &[SessionNo]) -> Params<'_> {
    Params::default().with(dead.iter().map(|session| session.0).collect::<Vec<_>>())
}

#[derive(Debug)]
struct AgentRow<'a> {
    seen: &'a AgentSeen,
    declaration: String,
}

/// `agent_row`
impl Record for AgentRow<'_> {
    fn put(&self, fields: &mut Fields<'_>) -> Encoded {
        let AgentRow { seen, declaration } = self;
        fields.put(seen.tenant.0)?.put(&seen.declaration.name)?.put(seen.at.0)?.put(declaration)?;
        Ok(())
    }
}

/// For `upsert_agents`: the last word of each agent, in the order of their names.
pub(super) fn agents(agents: &[AgentSeen]) -> Result<Params<'_>> {
    let last: BTreeMap<_, _> =
        agents.iter().map(|seen| ((seen.tenant, seen.declaration.name.as_str()), seen)).collect();
    let row = |seen| Ok(AgentRow { seen, declaration: rows::encode_text(&seen.declaration)? });
    Params::default().try_rows(last.into_values().map(row))
}
