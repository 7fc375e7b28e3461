//! The auditor. It looks at the database the moment a commit is durable, keeps its own account of what was
//! promised to whom, and says what does not agree. It never asks the control plane.

mod contexts;
mod nested;
mod promises;
mod schedules;
mod sessions;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use downbeat_core::{
    event::{Event, What},
    id::{Index, LeaseAt, LeaseId, ReplicaNo, SessionNo, TaskNo},
    invariant,
    plan::{Node, Plan},
    rows::Changes,
    session::SessionState,
    subtask::{Outcome, Subtask, SubtaskState},
    task::{Task, TaskStatus},
    time::Time,
};
use downbeat_server::replica::Liveness;
use downbeat_store::{Store, TaskRecord};
use futures::FutureExt;

use self::{
    contexts::Contexts, promises::Promises, schedules::Schedules, sessions::Sessions, streams::Hello,
};
pub use self::{promises::Offer, streams::Stream};
use super::weather::Settings;

/// Keeps the account.
pub struct Auditor {
    found: Vec<String>,
    tasks: BTreeMap<TaskNo, Seen>,
    ids: BTreeMap<String, TaskNo>,
    sessions: Sessions,
    promises: Promises,
    schedules: Schedules,
    contexts: Contexts,
    written: BTreeSet<(TaskNo, Index)>,
    /// Attempts that their worker lost without a word.
    forgotten: BTreeSet<LeaseId>,
    /// Attempts that a worker works on, as it said to the control plane, and was heard; since when.
    heard_of: BTreeMap<LeaseId, Heard>,
    /// Whom a lease was given to, and when.
    given: BTreeMap<LeaseId, (SessionNo, u64)>,
    liveness: Liveness,
    now_ms: u64,
    /// Streams whose worker named a session and what it works on, and was not welcomed yet.
    hellos: BTreeMap<u64, Hello>,
    /// By session, the connection at which it was taken up last: what an older one's Hello says is void.
    taken: BTreeMap<SessionNo, u32>,
    /// The newest stream on which a session was named to a replica.
    newest: BTreeMap<(SessionNo, ReplicaNo), u64>,
    /// Attempts that a Hello did not name though its session held them.
    disowned: BTreeSet<LeaseId>,
    /// The database's clock jumps in this seed: times say nothing.
    clock_jumps: bool,
    digest: DefaultHasher,
    ends: Ends,
}

/// When something was heard first.
#[derive(Clone, Copy)]
struct Heard {
    moment: u64,
    ms: u64,
}

/// What was before a commit, and after it.
#[derive(Clone, Copy)]
struct Before<'a> {
    old: Option<&'a TaskRecord>,
    /// What is after it.
    new: &'a TaskRecord,
    /// Nothing of the batch was decided before this moment.
    began: u64,
}

/// How attempts ended, counted, and which tasks were subtasks of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    pub inner: u64,
    pub lost: u64,
    pub timed_out: u64,
    pub returned: u64,
    pub expired: u64,
    pub scheduled: u64,
}

/// A task as it was after the last commit that touched it.
struct Seen {
    plan: Arc<Plan>,
    record: TaskRecord,
    events: Vec<Event>,
}

/// Reads at once: what is asked here never waits.
fn look<T>(what: impl Future<Output = downbeat_store::Result<T>>) -> Result<T, String> {
    match what.now_or_never() {
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => Err(format!("the store cannot be read: {error}")),
        None => Err("the store makes its reader wait".into()),
    }
}

impl Auditor {
    /// An empty account.
    pub fn new(settings: &Settings) -> Auditor {
        let clock_jumps = settings.weather.clock_jump_every_ms > 0;
        Auditor {
            found: Vec::new(),
            tasks: BTreeMap::new(),
            ids: BTreeMap::new(),
            sessions: Sessions::new(settings, clock_jumps),
            promises: Promises::default(),
            schedules: Schedules::default(),
            contexts: Contexts::default(),
            written: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            heard_of: BTreeMap::new(),
            given: BTreeMap::new(),
            liveness: settings.liveness,
            now_ms: 0,
            hellos: BTreeMap::new(),
            taken: BTreeMap::new(),
            newest: BTreeMap::new(),
            disowned: BTreeSet::new(),
            clock_jumps,
            digest: DefaultHasher::new(),
            ends: Ends::default(),
        }
    }

    /// What was found since it was asked last.
    pub fn take_found(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.found);
        found.append(&mut self.sessions.found);
        found.append(&mut self.promises.found);
        found.append(&mut self.schedules.found);
        found.append(&mut self.contexts.found);
        found
    }

    /// A number that two runs of one seed must agree on.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// How attempts ended.
    pub fn ends(&self) -> Ends {
        Ends { expired: self.sessions.expired, scheduled: self.schedules.ordered, ..self.ends }
    }

    /// A batch is durable. Nothing of it was decided before the moment `began`.
    pub fn committed(
        &mut self,
        store: &dyn Store,
        changes: &Changes,
        now_ms: u64,
        database_now: Time,
        began: u64,
    ) {
        self.now_ms = now_ms;
        now_ms.hash(&mut self.digest);
        self.sessions.committed(changes, now_ms, database_now);
        for no in &changes.dead_sessions {
            match look(store.leases(&[*no])) {
                Ok(left) if left.is_empty() => {}
                Ok(left) => self.found.push(format!("session {no} is forgotten and still holds {left:?}")),
                Err(error) => self.found.push(error),
            }
        }
        let heads = changes.new_tasks.iter().chain(&changes.tasks).map(|task| task.no);
        let parts = changes.new_subtasks.iter().chain(&changes.subtasks).map(|row| row.task);
        self.written = changes.subtasks.iter().map(|row| (row.task, row.index)).collect();
        let touched: BTreeSet<TaskNo> = heads.chain(parts).collect();
        for no in touched {
            if let Err(error) = self.look_at(store, no, began) {
                self.found.push(format!("task {no}: {error}"));
            }
        }
    }

    fn look_at(&mut self, store: &dyn Store, no: TaskNo, began: u64) -> Result<(), String> {
        let record = look(store.task(no))?.ok_or("written, and not there")?;
        let before = self.tasks.remove(&no);
        let plan = match &before {
            Some(seen) if seen.plan.len() == record.task.total => Arc::clone(&seen.plan),
            Some(_) | None => look(store.plans(&[no]))?.pop().ok_or("it has no plan")?.plan,
        };
        let grown_from = before.as_ref().map(|seen| Arc::clone(&seen.plan));
        let (old, mut events) = match before {
            Some(seen) => (Some(seen.record), seen.events),
            None => (None, Vec::new()),
        };
        let known = events.len();
        events.extend(look(store.events(no, known as u64, u32::MAX))?);
        (no.0, record.task.status.word(), events.len()).hash(&mut self.digest);

        for broken in invariant::broken(&record.task, &plan, &record.subtasks, &events) {
            self.found.push(format!("task {no}: {broken}"));
        }
        let wrote = |event: &Event| matches!(event.what, What::Context { .. });
        if events[known..].iter().any(wrote) {
            self.contexts.committed(store, no, &plan, &events);
        }
        let is_new = old.is_none();
        if let Some(old) = &old {
            self.check_task_step(old, &record, &events[known..]);
        }
        let known_nodes = grown_from.as_ref().map_or(0, |plan| plan.len());
        self.promises.grown(no, &plan, known_nodes);
        if let Some(what) = grown_wrongly(grown_from.as_deref(), &plan) {
            self.found.push(format!("task {no}: {what}"));
        }
        let ended: BTreeSet<LeaseId> = events[known..].iter().filter_map(ended_lease).collect();
        for (index, row) in (0..).zip(&record.subtasks) {
            let old = old.as_ref().and_then(|old| old.subtasks.get(index as usize));
            self.check_subtask_step(no, index, old, row, &ended);
            if row.failures > plan.node(index).map_or(u16::MAX, |node| node.attempts_max) {
                self.found.push(format!("{no}/{index}: {} failures are too many", row.failures));
            }
        }
        for event in &events[known..] {
            let seen = Before { old: old.as_ref(), new: &record, began };
            self.check_event(store, no, &plan, seen, &events, event)?;
        }
        let (id, inner) = (record.task.id.clone(), Arc::clone(&plan));
        self.tasks.insert(no, Seen { plan, record, events });
        if is_new {
            self.ids.insert(id.clone(), no);
            self.ends.inner += u64::from(inner.inside().is_some());
            self.found.extend(nested::begun_wrongly(
                &Known(&self.tasks, &self.ids),
                &self.written,
                no,
                &id,
                &inner,
            ));
        }
        Ok(())
    }

    fn check_task_step(&mut self, old: &TaskRecord, new: &TaskRecord, news: &[Event]) {
        let (was, is) = (old.task.status, new.task.status);
        let no = old.task.no;
        // Somebody had something of it run again, or gave a name to its end.
        let again = news.iter().any(|event| matches!(event.what, What::Grown { index: None, .. }))
            && self.promises.may_repeat(no);
        let named = news.iter().all(|event| matches!(event.what, What::Snapshot { .. })) && was == is;
        // Or the task that it is a subtask of has heard of its end.
        let heard = Task { wake_at: old.task.wake_at, ..new.task.clone() } == old.task;
        if was.is_terminal() && !heard && !again && !named {
            self.found.push(format!("task {no} was final, and changed: {:?}", new.task));
        }
        // One batch may go several ways; only what is final can be judged from its ends.
        if was != is && (was.is_terminal() && !again || new.task.events <= old.task.events) {
            self.found.push(format!("task {no}: {} after {}", is.word(), was.word()));
        }
    }

    fn check_subtask_step(
        &mut self,
        task: TaskNo,
        index: Index,
        old: Option<&Subtask>,
        row: &Subtask,
        ended: &BTreeSet<LeaseId>,
    ) {
        let mut say = |what: String| self.found.push(format!("{task}/{index}: {what}"));
        if let Some(old) = old {
            let end = |row: &Subtask| (row.state, row.lease, row.outcome, row.waived);
            if old.state.is_terminal() && end(old) != end(row) {
                say(format!("{:?} was final, now {:?}", end(old), end(row)));
            }
            if old.lease > row.lease {
                say(format!("lease {:?} after {:?}", row.lease, old.lease));
            }
            let held = old.lease.filter(|_| old.session.is_some());
            let holds = row.lease.filter(|_| row.session.is_some());
            if let Some(lease) =
                held.filter(|_| held != holds && !ended.contains(&held.unwrap_or(LeaseId(0))))
            {
                say(format!("lease {lease} vanished without an end"));
            }
            if held.is_some() && held == holds && old.session != row.session {
                say("a lease went to another session".into());
            }
        }
        let news = old.is_none_or(|old| old.lease != row.lease || old.session != row.session);
        if let Some(session) = row.session.filter(|_| news) {
            self.given.extend(row.lease.map(|lease| (lease, (session, self.now_ms))));
            match self.sessions.state(session) {
                Some(SessionState::Open) => {}
                state => say(format!("leased to session {session}, which is {state:?}")),
            }
        }
    }

    fn check_event(
        &mut self,
        store: &dyn Store,
        task: TaskNo,
        plan: &Plan,
        before: Before<'_>,
        all: &[Event],
        event: &Event,
    ) -> Result<(), String> {
        match &event.what {
            What::Ended { index, state, lease, outcome: Outcome::Completed, .. } => {
                let output = look(store.outputs(&[(task, *index)]))?.pop();
                let over = *state == SubtaskState::Completed;
                self.promises.delivered(task, *index, *lease, output.map(|output| output.body), over);
            }
            What::Ended { lease, outcome: Outcome::Failed, error, .. } => {
                self.promises.failed(*lease, error.as_ref());
            }
            What::Ended { index, lease, outcome: Outcome::Lost, .. } => {
                self.ends.lost += 1;
                self.check_loss(before.old, task, *index, *lease);
            }
            What::Ended { index, lease, outcome: Outcome::TimedOut, error, .. } => {
                self.ends.timed_out += 1;
                let sla = error.as_ref().is_some_and(|error| error.code == "SLA_TIMEOUT");
                let ms = plan.node(*index).and_then(|node| node.sla_seconds).map(|s| i64::from(s) * 1_000);
                let began = leased(all, *lease).map_or(event.at, |begin| begin.at);
                if sla && !self.clock_jumps && ms.is_some_and(|ms| event.at.0 - began.0 < ms) {
                    self.found.push(format!("{task}/{index}: SLA over {} ms early", event.at.0 - began.0));
                }
            }
            What::Returned { index, lease } => {
                self.ends.returned += 1;
                if self.is_handed_back_in_error(before, *index, *lease) {
                    self.found.push(format!(
                        "{task}/{index}: lease {lease} was handed back, though its worker was heard to work on it"
                    ));
                }
            }
            What::Subtask { index, state: SubtaskState::Completed, code, .. } => {
                let output = look(store.outputs(&[(task, *index)]))?.pop().map(|output| output.body);
                let row = before.new.subtasks.get(*index as usize);
                let known = Known(&self.tasks, &self.ids);
                let inner = nested::completed(&known, plan.node(*index), row);
                self.promises.completed(plan, (task, *index), output, code, inner);
            }
            What::Context { index, lease, .. } => {
                if let (Some(index), Some(lease)) = (index, lease) {
                    let row = before.old.and_then(|old| old.subtasks.get(*index as usize));
                    let held = row.is_some_and(|row| row.lease == Some(*lease) && row.session.is_some());
                    let over =
                        |other: &Event| other.number < event.number && ended_lease(other) == Some(*lease);
                    if !held || all.iter().any(over) {
                        self.found.push(format!("{task}/{index}: lease {lease} was over, and wrote"));
                    }
                }
                self.contexts.written(store, task, event);
            }
            What::Voted { index, option, by, .. } => self.promises.voted(task, *index, by, option),
            What::Task { .. }
            | What::Subtask { .. }
            | What::Leased { .. }
            | What::Progress { .. }
            | What::Grown { .. }
            | What::Signalled { .. }
            | What::Snapshot { .. } => {}
            What::Ended { outcome: Outcome::Cancelled | Outcome::Suspended, .. } => {}
        }
        Ok(())
    }

    /// A lease may be handed back as long as nothing was heard of it. What is heard after that was decided comes
    /// too late; and whoever says hello without naming a lease says that it does not work on it.
    fn is_handed_back_in_error(&self, before: Before<'_>, index: Index, lease: LeaseId) -> bool {
        let row = before.old.and_then(|old| old.subtasks.get(index as usize));
        let holder = row.and_then(|row| row.session);
        let unnamed = |hello: &Hello| Some(hello.session) == holder && !hello.in_flight.contains(&lease);
        self.heard_of.get(&lease).is_some_and(|heard| heard.moment < before.began)
            && !self.forgotten.contains(&lease)
            && !self.disowned.contains(&lease)
            && !self.hellos.values().any(unnamed)
    }

    fn check_loss(&mut self, old: Option<&TaskRecord>, task: TaskNo, index: Index, lease: LeaseId) {
        let row = old.and_then(|old| old.subtasks.get(index as usize));
        let holder = row.and_then(|row| row.session.filter(|_| row.lease == Some(lease)));
        let gone = holder.is_none_or(|session| self.sessions.is_over(session));
        if !gone && !self.forgotten.contains(&lease) {
            self.found.push(format!(
                "{task}/{index}: lease {lease} counts as lost, but its session {holder:?} lives"
            ));
        }
    }
}

/// What is wrong with what became of a plan: it only ever grows, and no two that stand beside each other share a key.
fn grown_wrongly(before: Option<&Plan>, plan: &Plan) -> Option<String> {
    let known = before.map_or(&[][..], Plan::nodes);
    if known.len() == plan.nodes().len() && before.is_some() {
        return None;
    }
    for (old, node) in known.iter().zip(plan.nodes()) {
        let input = |node: &Node| node.input.as_ref().map(|input| input.get().to_owned());
        let is_same = (&old.id, &old.key, &old.depends_on, old.route, old.parent, old.replaces)
            == (&node.id, &node.key, &node.depends_on, node.route, node.parent, node.replaces);
        if !is_same || input(old) != input(node) {
            return Some(format!("a node of its plan was {old:?}, and is {node:?}"));
        }
    }
    let (mut keys, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (index, node) in (0..).zip(plan.nodes()) {
        if plan.is_current(index) && !keys.insert(&node.key) {
            return Some(format!("its plan has two subtasks `{}`", node.key));
        }
        if !ids.insert(&node.id) {
            return Some(format!("its plan has two subtasks `{}`", node.id));
        }
    }
    None
}

fn ended_lease(event: &Event) -> Option<LeaseId> {
    match &event.what {
        What::Ended { lease, .. } | What::Returned { lease, .. } => Some(*lease),
        What::Task { .. }
        | What::Subtask { .. }
        | What::Leased { .. }
        | What::Progress { .. }
        | What::Grown { .. }
        | What::Voted { .. }
        | What::Signalled { .. }
        | What::Context { .. }
        | What::Snapshot { .. } => None,
    }
}

fn leased(events: &[Event], of: LeaseId) -> Option<&Event> {
    events.iter().find(|event| matches!(event.what, What::Leased { lease, .. } if lease == of))
}

// What the simulation tells the auditor.
impl Auditor {
    /// A worker lost an attempt and will not say so.
    pub fn forgot(&mut self, lease: LeaseId) {
        self.forgotten.insert(lease);
    }

    /// A replica took in that the session's worker works on these.
    pub fn heard_of(&mut self, leases: impl IntoIterator<Item = LeaseId>, moment: u64, ms: u64) {
        for lease in leases {
            self.heard_of.entry(lease).or_insert(Heard { moment, ms });
        }
    }

    /// A replica took in something from the session's worker.
    pub fn heard(&mut self, session: SessionNo, replica: ReplicaNo, now_ms: u64) {
        self.sessions.heard(session, replica, now_ms);
    }

    /// A replica took in that the worker leaves.
    pub fn goodbye(&mut self, session: SessionNo) {
        self.sessions.goodbye(session);
    }

    /// Somebody who reads along was given these, as what follows the first `after` events.
    pub fn followed(&mut self, task: TaskNo, after: u64, events: &[Event], end: bool) {
        let Some(seen) = self.tasks.get(&task) else {
            self.found.push(format!("task {task} has a follower, and no row"));
            return;
        };
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        let rest = seen.events.get(from..).unwrap_or_default();
        if !rest.starts_with(events) {
            self.found
                .push(format!("task {task}: after event {after} a follower got {events:?}, not {rest:?}"));
        }
        let over = seen.record.task.status.is_terminal() && rest.len() == events.len();
        if end && !over && !self.promises.may_repeat(task) {
            self.found.push(format!("task {task}: a follower was told that it is over after event {after}"));
        }
    }

    /// The account of promises.
    pub fn promises(&mut self) -> (&mut Promises, Known<'_>) {
        (&mut self.promises, Known(&self.tasks, &self.ids))
    }

    /// The account of shared contexts.
    pub fn contexts(&mut self) -> (&mut Contexts, Known<'_>) {
        (&mut self.contexts, Known(&self.tasks, &self.ids))
    }

    /// The state of a subtask, as of the last commit.
    pub fn subtask(&self, task: TaskNo, index: Index) -> Option<&Subtask> {
        self.tasks.get(&task)?.record.subtasks.get(index as usize)
    }

    /// Whether a worker that holds this lease may still go on, as of the last commit.
    pub fn is_current(&self, task: TaskNo, index: Index, lease: LeaseId) -> bool {
        self.subtask(task, index).is_some_and(|row| row.lease == Some(lease) && row.session.is_some())
    }

    /// Every lease that is current, as of the last commit.
    pub fn current_leases(&self) -> Vec<(SessionNo, LeaseAt)> {
        let leases = self.tasks.iter().flat_map(|(no, seen)| {
            (0..).zip(&seen.record.subtasks).filter_map(|(index, row)| {
                Some((row.session?, LeaseAt { task: *no, index, lease: row.lease? }))
            })
        });
        leases.collect()
    }

    /// Sessions that are open, as of the last commit.
    pub fn open_sessions(&self) -> Vec<SessionNo> {
        self.sessions.open()
    }

    /// All sessions, as of the last commit.
    pub fn sessions_by_state(&self) -> Vec<(SessionNo, SessionState)> {
        self.sessions.states()
    }

    /// What is not final, in words.
    pub fn unfinished(&self) -> String {
        let mut text = String::new();
        for (no, seen) in self.tasks.iter().filter(|(_, seen)| !seen.record.task.status.is_terminal()) {
            text.push_str(&format!("task {no} {}\n", seen.record.task.status.word()));
            for (index, row) in
                seen.record.subtasks.iter().enumerate().filter(|(_, r)| !r.state.is_terminal())
            {
                text.push_str(&format!("  {index}: {row:?}\n"));
            }
        }
        text
    }

    /// The end: everything that was seen and promised is in the database still, to the byte.
    pub fn close(&mut self, store: &dyn Store) {
        for (no, seen) in &self.tasks {
            match (look(store.task(*no)), look(store.events(*no, 0, u32::MAX))) {
                (Ok(Some(record)), Ok(events)) => {
                    if record.task != seen.record.task || record.subtasks != seen.record.subtasks {
                        self.found.push(format!("task {no} changed without a commit"));
                    }
                    if events != seen.events {
                        self.found.push(format!("the history of task {no} was rewritten"));
                    }
                }
                (Ok(None), _) => self.found.push(format!("task {no} is gone")),
                (Err(error), _) | (_, Err(error)) => self.found.push(error),
            }
        }
        match look(store.sessions()) {
            Ok(rows) => self.sessions.close(&rows),
            Err(error) => self.found.push(error),
        }
        let known = Known(&self.tasks, &self.ids);
        let left = self.tasks.iter().filter_map(|(no, seen)| nested::left_wrongly(&known, *no, &seen.plan));
        self.found.extend(left.collect::<Vec<_>>());
        self.schedules.close(store);
        self.promises.close(store, &known);
    }
}

/// The tasks as the auditor saw them last.
pub struct Known<'a>(&'a BTreeMap<TaskNo, Seen>, &'a BTreeMap<String, TaskNo>);

impl Known<'_> {
    fn named(&self, id: &str) -> Option<TaskNo> {
        self.1.get(id).copied()
    }

    fn subtask(&self, task: TaskNo, index: Index) -> Option<&Subtask> {
        self.0.get(&task)?.record.subtasks.get(index as usize)
    }

    fn status(&self, task: TaskNo) -> Option<TaskStatus> {
        Some(self.0.get(&task)?.record.task.status)
    }

    fn plan(&self, task: TaskNo) -> Option<&Plan> {
        Some(&*self.0.get(&task)?.plan)
    }

    fn ended(&self, task: TaskNo, lease: LeaseId) -> Option<Outcome> {
        self.0.get(&task)?.events.iter().find_map(|event| match event.what {
            What::Ended { lease: of, outcome, .. } if of == lease => Some(outcome),
            _ => None,
        })
    }
}
