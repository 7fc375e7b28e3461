//! The rows of one batch: loaded by the store, changed by the rules, written back by the store.
//!
//! The store fills them and takes the [`Changes`] out; only this crate changes what is inside.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    command::Request,
    context::{Held, Written},
    effect::Effect,
    event::{Artifact, Event, What},
    id::{Index, SessionNo, TaskId, TaskNo, TenantNo},
    note::{self, NoteKey},
    plan::{Node, Plan},
    reads::Reads,
    session::{AgentDeclaration, Session},
    subtask::{Subtask, SubtaskState},
    task::Task,
    time::{Frame, Time},
};

/// Where a row stands against the database.
#[derive(Debug, PartialEq, Eq)]
enum Fate<T> {
    Loaded,
    /// Handed out for a change; this is how it was. Written only if it differs in the end.
    Touched(T),
    New,
    Deleted,
}

#[derive(Debug)]
struct Slot<T> {
    row: T,
    fate: Fate<T>,
}

impl<T: Clone + PartialEq> Slot<T> {
    fn loaded(row: T) -> Slot<T> {
        Slot { row, fate: Fate::Loaded }
    }

    fn change(&mut self) -> &mut T {
        if self.fate == Fate::Loaded {
            self.fate = Fate::Touched(self.row.clone());
        }
        &mut self.row
    }

    /// Sorts the row into what is inserted, what is updated, or neither.
    fn sort<R>(self, into: impl FnOnce(T) -> R, new: &mut Vec<R>, changed: &mut Vec<R>) {
        match self.fate {
            Fate::New => new.push(into(self.row)),
            Fate::Touched(before) if before != self.row => changed.push(into(self.row)),
            Fate::Touched(_) | Fate::Loaded | Fate::Deleted => {}
        }
    }
}

/// All rows a batch may look at.
#[derive(Debug, Default)]
pub struct Rows {
    tasks: BTreeMap<TaskNo, Slot<Task>>,
    ids: BTreeMap<(TenantNo, TaskId), TaskNo>,
    plans: BTreeMap<TaskNo, Arc<Plan>>,
    subtasks: BTreeMap<(TaskNo, Index), Slot<Subtask>>,
    sessions: BTreeMap<SessionNo, Slot<Session>>,
    notes: BTreeMap<(TaskNo, NoteKey), Slot<Option<Bytes>>>,
    /// What subtasks delivered: of those that were asked for and are completed, and in this batch.
    delivered: BTreeMap<(TaskNo, Index), Bytes>,
    new_plans: Vec<NewPlan>,
    growth: Vec<Growth>,
    outputs: Vec<Output>,
    agents: Vec<AgentSeen>,
    events: BTreeMap<TaskNo, Vec<Event>>,
    effects: Vec<Effect>,
    /// Entered the queue in this batch and not yet placed.
    pub(crate) fresh: Vec<(TaskNo, Index)>,
    /// What they waited for has happened: to be decided before the command ends, or by one of their own.
    pub(crate) undecided: VecDeque<(TaskNo, Index)>,
}

/// What is to be written, in the order of keys.
#[derive(Debug, Default)]
pub struct Changes {
    pub new_tasks: Vec<Task>,
    /// Each task of which anything changes, also where its own row stays as it is: by this row stores tell
    /// whether what belongs to a task is what it was.
    pub tasks: Vec<Task>,
    pub new_plans: Vec<NewPlan>,
    /// What plans grew by, in order.
    pub growth: Vec<Growth>,
    pub new_subtasks: Vec<SubtaskRow>,
    pub subtasks: Vec<SubtaskRow>,
    pub outputs: Vec<Output>,
    pub notes: Vec<NoteRow>,
    pub history: Vec<History>,
    pub new_sessions: Vec<Session>,
    pub sessions: Vec<Session>,
    pub dead_sessions: Vec<SessionNo>,
    pub agents: Vec<AgentSeen>,
}

impl Changes {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        let Changes {
            new_tasks,
            tasks,
            new_plans,
            growth,
            new_subtasks,
            subtasks,
            outputs,
            notes,
            history,
            new_sessions,
            sessions,
            dead_sessions,
            agents,
        } = self;
        new_tasks.is_empty()
            && tasks.is_empty()
            && new_plans.is_empty()
            && growth.is_empty()
            && new_subtasks.is_empty()
            && subtasks.is_empty()
            && outputs.is_empty()
            && notes.is_empty()
            && history.is_empty()
            && new_sessions.is_empty()
            && sessions.is_empty()
            && dead_sessions.is_empty()
            && agents.is_empty()
    }
}

/// A subtask's row with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtaskRow {
    pub tenant: TenantNo,
    pub task: TaskNo,
    pub index: Index,
    pub row: Subtask,
}

/// A new task's request and plan.
#[derive(Clone, Debug)]
pub struct NewPlan {
    pub tenant: TenantNo,
    pub task: TaskNo,
    pub request: Request,
    pub plan: Arc<Plan>,
}

/// Nodes that were added to a plan; the first one has the place `first`.
#[derive(Clone, Debug)]
pub struct Growth {
    pub tenant: TenantNo,
    pub task: TaskNo,
    pub first: Index,
    pub nodes: Vec<Arc<Node>>,
}

/// A note as it is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteRow {
    pub tenant: TenantNo,
    pub task: TaskNo,
    pub key: NoteKey,
    /// JSON text.
    pub body: Bytes,
}

/// What a subtask delivered. Not written where there is nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub tenant: TenantNo,
    pub task: TaskNo,
    pub index: Index,
    /// JSON text; empty: null.
    pub body: Bytes,
    pub artifacts: Vec<Artifact>,
}

/// The events one batch adds to one task: consecutive, one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub tenant: TenantNo,
    pub task: TaskNo,
    pub events: Vec<Event>,
}

/// An agent as it was last declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSeen {
    pub tenant: TenantNo,
    pub declaration: AgentDeclaration,
    pub at: Time,
}

/// For the store: filling and emptying.
impl Rows {
    pub fn load_task(&mut self, task: Task) {
        self.ids.insert((task.tenant, task.id.clone()), task.no);
        self.tasks.insert(task.no, Slot::loaded(task));
    }

    pub fn load_subtask(&mut self, task: TaskNo, index: Index, row: Subtask) {
        self.subtasks.insert((task, index), Slot::loaded(row));
    }

    pub fn load_session(&mut self, session: Session) {
        self.sessions.insert(session.no, Slot::loaded(session));
    }

    /// A note that was asked for; `None`: there is none.
    pub fn load_note(&mut self, task: TaskNo, key: NoteKey, body: Option<Bytes>) {
        self.notes.insert((task, key), Slot::loaded(body));
    }

    /// What a completed subtask delivered; empty: null. Read after its row, or it might be missing.
    pub fn load_output(&mut self, task: TaskNo, index: Index, body: Bytes) {
        self.delivered.insert((task, index), body);
    }

    /// Of these, what is completed and has an output to be loaded.
    pub fn completed<'a>(
        &'a self,
        of: &'a BTreeSet<(TaskNo, Index)>,
    ) -> impl Iterator<Item = (TaskNo, Index)> + 'a {
        let completed = |sub: &Subtask| sub.state == SubtaskState::Completed;
        of.iter().copied().filter(move |&(task, index)| self.subtask(task, index).is_some_and(completed))
    }

    /// Where the values of these keys are that were written: each is to be loaded as a note.
    pub fn context_values<'a>(
        &'a self,
        of: &'a BTreeSet<(TaskNo, Option<String>)>,
    ) -> impl Iterator<Item = (TaskNo, u32)> + 'a {
        of.iter().flat_map(|(task, key)| {
            let written: Written = note::loaded(self, *task, NoteKey::Context).unwrap_or_default();
            let named = move |name: &String| key.as_ref().is_none_or(|key| key == name);
            written.keys.into_iter().filter(move |(name, _)| named(name)).filter_map(|(_, entry)| match entry
                .held
            {
                Held::Write(number) => Some((*task, number)),
                Held::Seed | Held::Deleted => None,
            })
        })
    }

    /// Whether each plan that was loaded is as long as its task's row says.
    pub fn plans_are_whole(&self) -> bool {
        self.plans
            .iter()
            .all(|(task, plan)| self.tasks.get(task).is_none_or(|head| head.row.total == plan.len()))
    }

    /// Plans come from a cache, never from the batch's own load.
    pub fn load_plan(&mut self, task: TaskNo, plan: Arc<Plan>) {
        self.plans.insert(task, plan);
    }

    /// What is to be done after the commit, and what is to be written for it.
    pub fn into_changes(self) -> (Changes, Vec<Effect>) {
        let mut changes = Changes {
            new_plans: self.new_plans,
            growth: self.growth,
            outputs: self.outputs,
            agents: self.agents,
            ..Changes::default()
        };
        for (task, events) in self.events {
            let head = &self.tasks[&task].row;
            changes.history.push(History { tenant: head.tenant, task, events });
        }
        for ((task, key), slot) in self.notes {
            if let (Fate::Touched(before), Some(body)) = (&slot.fate, &slot.row)
                && before.as_ref() != Some(body)
            {
                let (tenant, body) = (self.tasks[&task].row.tenant, body.clone());
                changes.notes.push(NoteRow { tenant, task, key, body });
            }
        }
        for ((task, index), slot) in self.subtasks {
            let into = |row| SubtaskRow { tenant: self.tasks[&task].row.tenant, task, index, row };
            slot.sort(into, &mut changes.new_subtasks, &mut changes.subtasks);
        }
        let grown = changes.new_subtasks.iter().map(|sub| sub.task);
        let noted = changes.notes.iter().map(|note| note.task);
        let touched: BTreeSet<TaskNo> =
            changes.subtasks.iter().map(|sub| sub.task).chain(grown).chain(noted).collect();
        for (no, slot) in self.tasks {
            if slot.fate != Fate::New && touched.contains(&no) {
                changes.tasks.push(slot.row);
            } else {
                slot.sort(|row| row, &mut changes.new_tasks, &mut changes.tasks);
            }
        }
        for (no, slot) in self.sessions {
            if slot.fate == Fate::Deleted {
                changes.dead_sessions.push(no);
            } else {
                slot.sort(|row| row, &mut changes.new_sessions, &mut changes.sessions);
            }
        }
        (changes, self.effects)
    }
}

/// For the rules.
impl Rows {
    pub(crate) fn task(&self, no: TaskNo) -> Option<&Task> {
        self.tasks.get(&no).map(|slot| &slot.row)
    }

    pub(crate) fn task_named(&self, tenant: TenantNo, id: &str) -> Option<&Task> {
        self.ids.get(&(tenant, id.to_owned())).and_then(|no| self.task(*no))
    }

    pub(crate) fn task_mut(&mut self, no: TaskNo) -> &mut Task {
        self.tasks.get_mut(&no).expect("the task was read before it is changed").change()
    }

    pub(crate) fn plan(&self, no: TaskNo) -> Option<Arc<Plan>> {
        self.plans.get(&no).cloned()
    }

    pub(crate) fn subtask(&self, task: TaskNo, index: Index) -> Option<&Subtask> {
        self.subtasks.get(&(task, index)).map(|slot| &slot.row)
    }

    pub(crate) fn subtask_mut(&mut self, task: TaskNo, index: Index) -> &mut Subtask {
        self.subtasks.get_mut(&(task, index)).expect("the subtask was declared by reads()").change()
    }

    pub(crate) fn note(&self, task: TaskNo, key: NoteKey) -> Option<&Bytes> {
        self.notes.get(&(task, key)).expect("the note was declared by reads()").row.as_ref()
    }

    pub(crate) fn set_note(&mut self, task: TaskNo, key: NoteKey, body: Bytes) {
        *self.notes.get_mut(&(task, key)).expect("the note was declared by reads()").change() = Some(body);
    }

    /// A note, if it was loaded or written, and there is one.
    pub(crate) fn loaded_note(&self, task: TaskNo, key: NoteKey) -> Option<&Bytes> {
        self.notes.get(&(task, key))?.row.as_ref()
    }

    /// A note of which it is known that there was none.
    pub(crate) fn add_note(&mut self, task: TaskNo, key: NoteKey, body: Bytes) {
        self.notes.insert((task, key), Slot { row: Some(body), fate: Fate::Touched(None) });
    }

    /// What it delivered, empty for null; `None` where that is not known.
    pub(crate) fn delivered(&self, task: TaskNo, index: Index) -> Option<&Bytes> {
        self.delivered.get(&(task, index))
    }

    /// Whether all of it was loaded, or came about in this batch.
    pub(crate) fn has(&self, wanted: &Reads) -> bool {
        let Reads {
            sessions: _,
            seats: _,
            ids: _,
            tasks: _,
            whole: _,
            hints: _,
            locks: _,
            subtasks,
            outputs,
            notes,
            context,
        } = wanted;
        subtasks.iter().all(|place| self.subtasks.contains_key(place))
            && notes.iter().all(|note| self.notes.contains_key(note))
            && self
                .context_values(context)
                .all(|(task, write)| self.notes.contains_key(&(task, NoteKey::ContextValue(write))))
            && self.completed(outputs).all(|(task, index)| self.delivered.contains_key(&(task, index)))
    }

    pub(crate) fn session(&self, no: SessionNo) -> Option<&Session> {
        self.sessions.get(&no).filter(|slot| slot.fate != Fate::Deleted).map(|slot| &slot.row)
    }

    pub(crate) fn session_mut(&mut self, no: SessionNo) -> &mut Session {
        self.sessions.get_mut(&no).expect("the session was declared by reads()").change()
    }

    pub(crate) fn insert_task(&mut self, task: Task, request: Request, plan: Arc<Plan>) {
        self.ids.insert((task.tenant, task.id.clone()), task.no);
        self.plans.insert(task.no, Arc::clone(&plan));
        self.new_plans.push(NewPlan { tenant: task.tenant, task: task.no, request, plan });
        self.tasks.insert(task.no, Slot { row: task, fate: Fate::New });
    }

    pub(crate) fn insert_subtask(&mut self, task: TaskNo, index: Index, row: Subtask) {
        self.subtasks.insert((task, index), Slot { row, fate: Fate::New });
    }

    /// Adds nodes to the plan of a task, without rows; gives the place of the first.
    pub(crate) fn grow_plan(&mut self, task: TaskNo, nodes: Vec<Node>) -> Index {
        let head = &self.tasks[&task].row;
        let plan = self.plans.get_mut(&task).expect("a loaded task has its plan");
        let first = plan.len();
        Arc::make_mut(plan).grow(&head.id, nodes);
        let nodes = plan.nodes()[first as usize..].to_vec();
        self.growth.push(Growth { tenant: head.tenant, task, first, nodes });
        first
    }

    pub(crate) fn insert_session(&mut self, session: Session) {
        self.sessions.insert(session.no, Slot { row: session, fate: Fate::New });
    }

    pub(crate) fn delete_session(&mut self, no: SessionNo) {
        if let Some(slot) = self.sessions.get_mut(&no) {
            slot.fate = Fate::Deleted;
        }
    }

    pub(crate) fn add_output(&mut self, task: TaskNo, index: Index, body: Bytes, artifacts: Vec<Artifact>) {
        self.delivered.insert((task, index), body.clone());
        if !body.is_empty() || !artifacts.is_empty() {
            let tenant = self.tasks[&task].row.tenant;
            self.outputs.push(Output { tenant, task, index, body, artifacts });
        }
    }

    pub(crate) fn add_agent(&mut self, seen: AgentSeen) {
        self.agents.push(seen);
    }

    /// Appends to the task's history; the number is the next one.
    pub(crate) fn record(&mut self, frame: &Frame<'_>, task: TaskNo, what: What) {
        let head = self.task_mut(task);
        head.events += 1;
        let event = Event { number: head.events, at: frame.now, what };
        self.events.entry(task).or_default().push(event);
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}
