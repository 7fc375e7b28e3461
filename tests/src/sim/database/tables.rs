//! The rows, and the closed set of looks at them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use downbeat_core::{
    effect::{Queued, Wake},
    event::Event,
    id::{Index, LeaseAt, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    plan::{Plan, RouteSpec},
    reads::Reads,
    rows::{AgentSeen, Changes, NewPlan, Output, Rows, SubtaskRow},
    session::Session,
    subtask::{Subtask, SubtaskState},
    task::Task,
    time::Time,
};
use downbeat_store::{
    Due, Leased, ListTasks, Places, PlanRecord, Result, Route, StoreError, TaskPage, TaskRecord, TaskSummary,
    Tick, context,
};
use serde_json::value::RawValue;

use super::schedules::Schedules;
use super::workflows::Workflows;

/// All rows of a database.
#[derive(Default)]
pub(super) struct Tables {
    stamp: i64,
    replica: i64,
    beats: BTreeMap<ReplicaNo, Time>,
    routes: Vec<Route>,
    routes_out_of_order: bool,
    tasks: BTreeMap<TaskNo, Task>,
    ids: BTreeMap<(TenantNo, String), TaskNo>,
    plans: BTreeMap<TaskNo, PlanRecord>,
    subtasks: BTreeMap<(TaskNo, Index), SubtaskRow>,
    /// An index of `subtasks`.
    line: BTreeMap<RouteNo, BTreeSet<Queued>>,
    /// An index of `subtasks`.
    waking: BTreeSet<(Time, TaskNo, Index)>,
    outputs: BTreeMap<(TaskNo, Index), Output>,
    notes: BTreeMap<(TaskNo, NoteKey), Bytes>,
    /// Batch by batch.
    history: BTreeMap<TaskNo, Vec<Vec<Event>>>,
    /// With the stamp of the batch that wrote the row last.
    sessions: BTreeMap<SessionNo, (i64, Session)>,
    agents: BTreeMap<(TenantNo, String), AgentSeen>,
    pub(super) workflows: Workflows,
    pub(super) schedules: Schedules,
}

// Batches.
impl Tables {
    pub(super) fn new(routes_out_of_order: bool) -> Tables {
        Tables { routes_out_of_order, ..Tables::default() }
    }

    pub(super) fn next_stamp(&mut self) -> i64 {
        self.stamp += 1;
        self.stamp
    }

    /// The tasks to be locked.
    pub(super) fn tasks_of(&self, reads: &Reads) -> BTreeSet<TaskNo> {
        let named = reads.ids.iter().filter_map(|id| self.ids.get(id));
        let places = reads.subtasks.iter().map(|(task, _)| task);
        let noted = reads.notes.iter().map(|(task, _)| task);
        reads.tasks.iter().chain(&reads.whole).chain(places).chain(noted).chain(named).copied().collect()
    }

    pub(super) fn load(
        &self,
        reads: &Reads,
        tasks: &BTreeSet<TaskNo>,
        hinted: &[(TaskNo, Index)],
        into: &mut Rows,
    ) {
        for no in reads.sessions.union(&reads.seats) {
            if let Some((_, session)) = self.sessions.get(no) {
                let mut session = session.clone();
                if !reads.sessions.contains(no) {
                    session.declaration = Arc::default();
                }
                into.load_session(session);
            }
        }
        let hinted_tasks: BTreeSet<TaskNo> = hinted.iter().map(|(task, _)| *task).collect();
        for no in tasks.union(&hinted_tasks) {
            if let Some(task) = self.tasks.get(no) {
                into.load_task(task.clone());
            }
        }
        for task in &reads.whole {
            for ((task, index), row) in self.subtasks_of(*task) {
                into.load_subtask(*task, *index, row.clone());
            }
        }
        for (task, index) in reads.subtasks.iter().chain(hinted) {
            if let Some(row) = self.subtasks.get(&(*task, *index)) {
                into.load_subtask(*task, *index, row.row.clone());
            }
        }
        for &(task, key) in &reads.notes {
            into.load_note(task, key, self.notes.get(&(task, key)).cloned());
        }
    }

    /// Writes all, or refuses and writes nothing.
    pub(super) fn write(&mut self, changes: &Changes, stamp: i64) -> Result<()> {
        self.refuse(changes)?;
        for new in &changes.new_plans {
            let id = changes.new_tasks.iter().find(|task| task.no == new.task).map(|task| task.id.clone());
            self.plans.insert(new.task, record(new, id.unwrap_or_default()));
        }
        for growth in &changes.growth {
            if let Some(record) = self.plans.get_mut(&growth.task) {
                Arc::make_mut(&mut record.plan).extend(&growth.nodes);
            }
        }
        for task in changes.new_tasks.iter().chain(&changes.tasks) {
            self.ids.insert((task.tenant, task.id.clone()), task.no);
            self.tasks.insert(task.no, task.clone());
        }
        changes.new_subtasks.iter().chain(&changes.subtasks).for_each(|row| self.put_subtask(row));
        for output in &changes.outputs {
            self.outputs.insert((output.task, output.index), output.clone());
        }
        for note in &changes.notes {
            self.notes.insert((note.task, note.key), note.body.clone());
        }
        for history in &changes.history {
            self.history.entry(history.task).or_default().push(history.events.clone());
        }
        for session in &changes.new_sessions {
            self.sessions.insert(session.no, (stamp, session.clone()));
        }
        for session in &changes.sessions {
            if let Some(row) = self.sessions.get_mut(&session.no) {
                // As in SQL: what was declared is written once.
                let declaration = Arc::clone(&row.1.declaration);
                *row = (stamp, Session { declaration, ..session.clone() });
            }
        }
        for no in &changes.dead_sessions {
            self.sessions.remove(no);
        }
        for agent in &changes.agents {
            self.agents.insert((agent.tenant, agent.declaration.name.clone()), agent.clone());
        }
        Ok(())
    }

    /// Finds what a database would not write.
    fn refuse(&self, changes: &Changes) -> Result<()> {
        for task in &changes.new_tasks {
            if self.ids.contains_key(&(task.tenant, task.id.clone())) {
                return Err(StoreError::Conflict(format!("task `{}` is there already", task.id)));
            }
        }
        for plan in &changes.new_plans {
            let metadata = &plan.request.metadata;
            let words = metadata.is_empty() || serde_json::from_slice::<&RawValue>(metadata).is_ok();
            if self.plans.contains_key(&plan.task) || !words {
                return Err(StoreError::Refused(format!("the plan of task {} cannot be written", plan.task)));
            }
        }
        for output in &changes.outputs {
            if self.outputs.contains_key(&(output.task, output.index)) {
                return Err(StoreError::Refused(format!("output {}/{} is there", output.task, output.index)));
            }
        }
        let mut lengths: BTreeMap<TaskNo, Index> = BTreeMap::new();
        for growth in &changes.growth {
            let new = changes.new_plans.iter().find(|new| new.task == growth.task).map(|new| &new.plan);
            let plan = new.or_else(|| self.plans.get(&growth.task).map(|record| &record.plan));
            let length = lengths.entry(growth.task).or_insert(plan.map_or(0, |plan| plan.len()));
            if *length != growth.first {
                return Err(StoreError::Refused(format!(
                    "the plan of task {} would have a gap",
                    growth.task
                )));
            }
            *length += Index::try_from(growth.nodes.len()).unwrap_or(Index::MAX);
        }
        Ok(())
    }

    fn put_subtask(&mut self, new: &SubtaskRow) {
        let key = (new.task, new.index);
        if let Some(old) = self.subtasks.insert(key, new.clone()) {
            if let Some(place) = place(key, &old.row) {
                self.line.entry(place.route).or_default().remove(&place);
            }
            if let Some(at) = old.row.wake_at {
                self.waking.remove(&(at, new.task, new.index));
            }
        }
        if let Some(place) = place(key, &new.row) {
            self.line.entry(place.route).or_default().insert(place);
        }
        if let Some(at) = new.row.wake_at {
            self.waking.insert((at, new.task, new.index));
        }
    }
}

/// As it is read from a database: the context that expressions see stands in the metadata.
fn record(new: &NewPlan, id: String) -> PlanRecord {
    let NewPlan { tenant, task, request, plan } = new;
    let plan = Plan::clone(plan).with_context(context(&request.metadata));
    PlanRecord { task: *task, tenant: *tenant, id, request: request.clone(), plan: Arc::new(plan) }
}

fn place((task, index): (TaskNo, Index), row: &Subtask) -> Option<Queued> {
    row.queued.map(|queued| Queued { route: row.route, priority: row.priority, queued, task, index })
}

// Replicas and routes.
impl Tables {
    pub(super) fn join(&mut self, now: Time) -> ReplicaNo {
        self.replica += 1;
        self.beats.insert(ReplicaNo(self.replica), now);
        ReplicaNo(self.replica)
    }

    pub(super) fn leave(&mut self, replica: ReplicaNo) {
        self.beats.remove(&replica);
    }

    pub(super) fn tick(
        &mut self,
        now: Time,
        replica: ReplicaNo,
        dead_after_ms: u64,
        limit: usize,
        lines: bool,
    ) -> Tick {
        self.beats.insert(replica, now);
        let dead = now.0.saturating_sub(i64::try_from(dead_after_ms).unwrap_or(i64::MAX));
        self.beats.retain(|_, beat| beat.0 >= dead);
        let tasks = self.tasks.values().filter_map(|t| Some(Due { at: t.wake_at?, wake: Wake::Task(t.no) }));
        let subtasks = self.waking.iter().map(|&(at, t, i)| Due { at, wake: Wake::Subtask(t, i) });
        let rows = self.sessions.values().map(|(_, row)| row);
        let sessions = rows.filter_map(|s| Some(Due { at: s.wake_at?, wake: Wake::Session(s.no) }));
        let (mut due, later): (Vec<Due>, Vec<Due>) =
            tasks.chain(subtasks).chain(sessions).partition(|due| due.at <= now);
        due.sort_by_key(|due| (due.at, due.wake));
        due.truncate(limit);
        let in_line = |(route, line): (&RouteNo, &BTreeSet<Queued>)| (!line.is_empty()).then_some(*route);
        Tick {
            now,
            replicas: self.beats.keys().copied().collect(),
            due,
            next_due: later.iter().map(|due| due.at).min(),
            in_line: lines.then(|| self.line.iter().filter_map(in_line).collect()),
            schedules: self.schedules.due(now, limit),
            sessions_mark: (
                self.sessions.values().map(|(stamp, _)| stamp).sum(),
                i64::try_from(self.sessions.len()).unwrap_or(i64::MAX),
            ),
        }
    }

    pub(super) fn intern(&mut self, tenant: TenantNo, spec: &RouteSpec) -> RouteNo {
        if let Some(known) = self.routes.iter().find(|route| route.tenant == tenant && route.spec == *spec) {
            return known.no;
        }
        let place = if self.routes_out_of_order { self.routes.len() ^ 1 } else { self.routes.len() };
        let no = RouteNo(i64::try_from(place).unwrap_or(i64::MAX) + 1);
        self.routes.push(Route { no, tenant, spec: spec.clone() });
        no
    }

    pub(super) fn routes_after(&self, after: RouteNo) -> Vec<Route> {
        let mut found: Vec<Route> = self.routes.iter().filter(|route| route.no > after).cloned().collect();
        found.sort_by_key(|route| route.no);
        found
    }
}

// Looks.
impl Tables {
    fn subtasks_of(&self, task: TaskNo) -> impl Iterator<Item = (&(TaskNo, Index), &Subtask)> {
        self.subtasks.range((task, 0)..=(task, Index::MAX)).map(|(key, new)| (key, &new.row))
    }

    pub(super) fn find_task(&self, tenant: TenantNo, id: &str) -> Option<TaskNo> {
        self.ids.get(&(tenant, id.to_owned())).copied()
    }

    pub(super) fn plans(&self, tasks: &[TaskNo]) -> Vec<PlanRecord> {
        tasks.iter().filter_map(|no| self.plans.get(no)).cloned().collect()
    }

    pub(super) fn task(&self, no: TaskNo) -> Option<TaskRecord> {
        let task = self.tasks.get(&no)?.clone();
        Some(TaskRecord { task, subtasks: self.subtasks_of(no).map(|(_, row)| row.clone()).collect() })
    }

    pub(super) fn list(&self, list: &ListTasks) -> TaskPage {
        let wanted = |task: &&Task| {
            task.tenant == list.tenant
                && (list.statuses.is_empty() || list.statuses.contains(&task.status))
                && task.id.as_bytes().starts_with(list.id_prefix.as_bytes())
                && list.before.is_none_or(|before| task.no < before)
        };
        let mut found = self.tasks.values().rev().filter(wanted).map(|task| self.summary(task));
        let tasks: Vec<TaskSummary> = found.by_ref().take(list.limit as usize).collect();
        let next = if found.next().is_some() { tasks.last().map(|task| task.no) } else { None };
        TaskPage { tasks, next }
    }

    fn summary(&self, task: &Task) -> TaskSummary {
        TaskSummary {
            no: task.no,
            id: task.id.clone(),
            title: self.plans.get(&task.no).map(|plan| plan.request.title.clone()).unwrap_or_default(),
            priority: task.priority,
            status: task.status,
            total: task.total,
            unfinished: task.unfinished,
            created_at: task.created_at,
            started_at: task.started_at,
            ended_at: task.ended_at,
        }
    }

    pub(super) fn outputs(&self, of: &[(TaskNo, Index)]) -> Vec<Output> {
        of.iter().filter_map(|key| self.outputs.get(key)).cloned().collect()
    }

    pub(super) fn outputs_of(&self, task: TaskNo) -> Vec<Output> {
        self.outputs.range((task, 0)..=(task, Index::MAX)).map(|(_, output)| output.clone()).collect()
    }

    pub(super) fn notes(&self, task: TaskNo) -> Vec<(NoteKey, Bytes)> {
        let listed = |key: &NoteKey| key.numbers().0 < NoteKey::UNLISTED;
        let mine = |((of, key), body): (&(TaskNo, NoteKey), &Bytes)| {
            (*of == task && listed(key)).then(|| (*key, body.clone()))
        };
        self.notes.iter().filter_map(mine).collect()
    }

    pub(super) fn notes_at(&self, task: TaskNo, keys: &[NoteKey]) -> Vec<(NoteKey, Bytes)> {
        keys.iter().filter_map(|key| Some((*key, self.notes.get(&(task, *key))?.clone()))).collect()
    }

    pub(super) fn events(&self, task: TaskNo, after: u64, limit: usize) -> Vec<Event> {
        let mut found = Vec::new();
        let batches = self.history.get(&task).map(Vec::as_slice).unwrap_or_default();
        let from = batches.partition_point(|batch| batch.last().is_none_or(|last| last.number <= after));
        for batch in &batches[from..] {
            // Whole batches: the last one is not cut.
            if found.len() >= limit {
                break;
            }
            found.extend(batch.iter().filter(|event| event.number > after).cloned());
        }
        found
    }

    pub(super) fn ready(&self, route: RouteNo, from: Places, limit: usize) -> Vec<Queued> {
        let line = self.line.get(&route).into_iter().flatten();
        line.filter(|place| place.queued >= from[place.priority as usize]).take(limit).copied().collect()
    }

    pub(super) fn stuck(
        &self,
        route: RouteNo,
        blocked: bool,
        before: Time,
        limit: usize,
    ) -> Vec<(TaskNo, Index)> {
        let wanted = |place: &&Queued| {
            self.subtasks.get(&(place.task, place.index)).is_some_and(|SubtaskRow { row, .. }| {
                (row.state == SubtaskState::Blocked) == blocked && (blocked || row.since < before)
            })
        };
        let line = self.line.get(&route).into_iter().flatten();
        line.filter(wanted).take(limit).map(|place| (place.task, place.index)).collect()
    }

    pub(super) fn sessions(&self) -> Vec<Session> {
        self.sessions.values().map(|(_, session)| session.clone()).collect()
    }

    pub(super) fn leases(&self, of: &[SessionNo]) -> Vec<Leased> {
        let lease = |(&(task, index), new): (&(TaskNo, Index), &SubtaskRow)| {
            let session = new.row.session.filter(|session| of.contains(session))?;
            Some(Leased { session, at: LeaseAt { task, index, lease: new.row.lease? }, route: new.row.route })
        };
        let mut found: Vec<Leased> = self.subtasks.iter().filter_map(lease).collect();
        found.sort_unstable();
        found
    }

    pub(super) fn lease_counts(&self, tenant: TenantNo) -> Vec<(SessionNo, u32)> {
        let mut counts: BTreeMap<SessionNo, u32> = BTreeMap::new();
        for new in self.subtasks.values().filter(|new| new.tenant == tenant) {
            if let Some(session) = new.row.session {
                *counts.entry(session).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    pub(super) fn agents(&self, tenant: TenantNo) -> Vec<AgentSeen> {
        let mine =
            |((of, _), agent): (&(TenantNo, String), &AgentSeen)| (*of == tenant).then(|| agent.clone());
        self.agents.iter().filter_map(mine).collect()
    }
}
