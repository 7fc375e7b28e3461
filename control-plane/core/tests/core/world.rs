//! A database and a committer in a few maps: loads what `reads()` declares, decides, places, stores.
//!
//! Every batch is checked against laws that hold whatever the commands are, so each test proves them too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use downbeat_core::{
    apply::apply,
    command::{Command, Reply, Verdict},
    context::{Entry, Held, Written, keys, seed},
    effect::{Effect, Next, Queued, Wake},
    event::{Event, What},
    id::{Index, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo},
    invariant,
    nested::Nesting,
    note::NoteKey,
    place::place,
    plan::{Plan, RouteSpec},
    policy::Policy,
    reads::{Reads, other_task_of, reads, task_of},
    reject::Reject,
    rows::{Changes, Output, Rows},
    session::{Seat, Session, Skill, WorkerDeclaration},
    subtask::{Subtask, SubtaskState},
    task::{Task, TaskStatus},
    time::{Frame, Time},
};

/// The replica that tests speak to unless they say otherwise.
pub(crate) const HERE: ReplicaNo = ReplicaNo(1);

/// The rows of a database, and what replicas and workers remember beside it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) now: Time,
    stamp: i64,
    pub(crate) tasks: BTreeMap<TaskNo, Task>,
    pub(crate) plans: BTreeMap<TaskNo, Arc<Plan>>,
    pub(crate) subtasks: BTreeMap<(TaskNo, Index), Subtask>,
    pub(crate) sessions: BTreeMap<SessionNo, Session>,
    pub(crate) history: BTreeMap<TaskNo, Vec<Event>>,
    pub(crate) outputs: BTreeMap<(TaskNo, Index), Output>,
    pub(crate) notes: BTreeMap<(TaskNo, NoteKey), Bytes>,
    routes: BTreeMap<RouteSpec, RouteNo>,
    /// Who is connected where, as far as the replicas know.
    pub(crate) roster: BTreeMap<(ReplicaNo, SessionNo), Arc<WorkerDeclaration>>,
    /// Every lease that was ever assigned, in order.
    pub(crate) given: BTreeMap<(TaskNo, Index), Vec<(LeaseId, SessionNo)>>,
    /// What effects asked for at once, until it is sent or lost.
    pub(crate) prompts: BTreeMap<(TaskNo, Index), Command>,
    /// What effects asked for of tasks within tasks, until it is done or lost.
    pub(crate) nestings: Vec<Nesting>,
}

/// What one batch came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) replies: Vec<Result<Reply, Reject>>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) changes: Changes,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            // Waits of less than five milliseconds have no jitter, so that tables can name them.
            policy: Policy { backoff_base_ms: 4, grace_ms: 15_000, losses_max: 2, ..Policy::default() },
            now: Time(1_000_000),
            stamp: 0,
            tasks: BTreeMap::new(),
            plans: BTreeMap::new(),
            subtasks: BTreeMap::new(),
            sessions: BTreeMap::new(),
            history: BTreeMap::new(),
            outputs: BTreeMap::new(),
            notes: BTreeMap::new(),
            routes: BTreeMap::new(),
            roster: BTreeMap::new(),
            given: BTreeMap::new(),
            prompts: BTreeMap::new(),
            nestings: Vec::new(),
        }
    }

    /// The number of what a subtask needs.
    pub(crate) fn route(&mut self, spec: &RouteSpec) -> RouteNo {
        let next = RouteNo(self.routes.len() as i64 + 1);
        *self.routes.entry(spec.clone()).or_insert(next)
    }

    /// All routes, as if somebody somewhere served each of them.
    pub(crate) fn all_routes(&self) -> BTreeSet<RouteNo> {
        self.routes.values().copied().collect()
    }

    /// Decides a batch, stores it, and checks the laws.
    pub(crate) fn run(&mut self, replica: ReplicaNo, commands: &[Command]) -> Outcome {
        let hints = self.hints(&self.seats(replica, commands));
        self.run_with(replica, commands, &hints)
    }

    /// As [`World::run`], with the subtasks that the replica believes to be in line.
    pub(crate) fn run_with(
        &mut self,
        replica: ReplicaNo,
        commands: &[Command],
        hints: &[(TaskNo, Index)],
    ) -> Outcome {
        self.stamp += 1;
        let seats = self.seats(replica, commands);
        let outcome = self.decide(replica, commands, hints, seats.clone());
        self.check_traceless(replica, commands, hints, seats, &outcome);
        let before = self.clone();
        self.store(&outcome.changes);
        self.absorb(replica, commands, &outcome);
        self.check_rows(&before, &outcome);
        self.check_effects(&before, &outcome);
        self.check_invariants();
        outcome
    }

    /// Decides a batch that then fails to commit: only the sequence remembers.
    pub(crate) fn run_in_vain(&mut self, replica: ReplicaNo, commands: &[Command]) {
        self.stamp += 1;
        let seats = self.seats(replica, commands);
        self.decide(replica, commands, &self.hints(&seats), seats);
    }

    /// What a replica would try to place: the head of the line, as far as its seats reach.
    fn hints(&self, seats: &[Seat]) -> Vec<(TaskNo, Index)> {
        let free: usize = seats.iter().map(|seat| seat.free as usize).sum();
        let mut line = self.line();
        line.retain(|place| seats.iter().any(|s| s.free > 0 && s.skills.contains_key(&place.route)));
        line.truncate(free);
        line.into_iter().map(|place| (place.task, place.index)).collect()
    }

    /// Everything that stands in line, first comes first.
    pub(crate) fn line(&self) -> Vec<Queued> {
        let mut line: Vec<Queued> = self
            .subtasks
            .iter()
            .filter_map(|(&(task, index), row)| {
                let queued = row.queued?;
                Some(Queued { route: row.route, priority: row.priority, queued, task, index })
            })
            .collect();
        line.sort_unstable();
        line
    }

    /// The workers connected to a replica. One that delivers in this batch has its slot free already.
    fn seats(&self, replica: ReplicaNo, commands: &[Command]) -> Vec<Seat> {
        let delivered = |row: &Subtask| {
            commands.iter().any(|command| {
                let Command::Finish { at, session, .. } = command else { return false };
                row.lease == Some(at.lease) && row.session == Some(*session)
            })
        };
        let here = self.roster.iter().filter(|((at, _), _)| *at == replica);
        here.map(|(&(_, session), worker)| {
            let holds = |row: &&Subtask| row.session == Some(session) && !delivered(row);
            let held = self.subtasks.values().filter(holds).count();
            let skill = |spec: &RouteSpec| {
                let agent = worker.agents.iter().find(|a| spec.served_by(&a.name, &a.capabilities))?;
                Some(Skill { agent: agent.name.as_str().into(), sla_ms: agent.sla_ms })
            };
            Seat {
                session,
                worker: worker.worker.as_str().into(),
                free: worker.slots.saturating_sub(held as u32),
                skills: Arc::new(self.routes.iter().filter_map(|(s, &no)| Some((no, skill(s)?))).collect()),
            }
        })
        .collect()
    }

    /// Loads what is declared, and no more, and decides it.
    fn decide(
        &self,
        replica: ReplicaNo,
        commands: &[Command],
        hints: &[(TaskNo, Index)],
        seats: Vec<Seat>,
    ) -> Outcome {
        self.decide_beside(replica, commands, commands, hints, seats)
    }

    /// As [`World::decide`], with what all these commands declare.
    fn decide_beside(
        &self,
        replica: ReplicaNo,
        all: &[Command],
        commands: &[Command],
        hints: &[(TaskNo, Index)],
        mut seats: Vec<Seat>,
    ) -> Outcome {
        let mut declared = Reads {
            seats: seats.iter().map(|seat| seat.session).collect(),
            hints: hints.iter().copied().collect(),
            ..Reads::default()
        };
        let both = |command| task_of(command).into_iter().chain(other_task_of(command));
        let named = all.iter().flat_map(both).chain(hints.iter().map(|hint| hint.0));
        let plans: BTreeMap<TaskNo, Arc<Plan>> =
            named.filter_map(|no| Some((no, Arc::clone(self.plans.get(&no)?)))).collect();
        for command in all {
            reads(command, &plans, &mut declared);
        }
        let mut rows = self.load(&declared);
        for (task, plan) in plans {
            rows.load_plan(task, plan);
        }
        let completed: Vec<(TaskNo, Index)> = rows.completed(&declared.outputs).collect();
        for (task, index) in completed {
            let body = self.outputs.get(&(task, index)).map(|output| output.body.clone());
            rows.load_output(task, index, body.unwrap_or_default());
        }
        let written: Vec<(TaskNo, u32)> = rows.context_values(&declared.context).collect();
        for (task, number) in written {
            let key = NoteKey::ContextValue(number);
            rows.load_note(task, key, Some(self.notes[&(task, key)].clone()));
        }
        let mut frame = Frame::new(self.now, self.stamp, &self.policy);
        let replies = commands.iter().map(|command| apply(&mut rows, &mut frame, command)).collect();
        place(&mut rows, &mut frame, replica, hints.iter().copied(), &mut seats);
        let (changes, effects) = rows.into_changes();
        Outcome { replies, effects, changes }
    }

    fn load(&self, declared: &Reads) -> Rows {
        let mut rows = Rows::default();
        for no in declared.sessions.union(&declared.seats) {
            self.sessions.get(no).into_iter().for_each(|row| rows.load_session(row.clone()));
        }
        let named = |task: &&Task| declared.ids.contains(&(task.tenant, task.id.clone()));
        let mut tasks = declared.tasks.clone();
        tasks.extend(self.tasks.values().filter(named).map(|task| task.no));
        tasks.extend(declared.hints.iter().map(|hint| hint.0));
        for no in tasks {
            self.tasks.get(&no).into_iter().for_each(|row| rows.load_task(row.clone()));
        }
        for &(task, key) in &declared.notes {
            rows.load_note(task, key, self.notes.get(&(task, key)).cloned());
        }
        let mut places: BTreeSet<(TaskNo, Index)> =
            declared.subtasks.union(&declared.hints).copied().collect();
        for &task in &declared.whole {
            places.extend(self.subtasks.range((task, 0)..=(task, Index::MAX)).map(|(&place, _)| place));
        }
        for place in places {
            let row = self.subtasks.get(&place).cloned();
            row.into_iter().for_each(|row| rows.load_subtask(place.0, place.1, row));
        }
        rows
    }

    fn store(&mut self, changes: &Changes) {
        for task in &changes.new_tasks {
            assert!(self.tasks.insert(task.no, task.clone()).is_none(), "task {} is not new", task.no);
        }
        for task in &changes.tasks {
            let old = self.tasks.insert(task.no, task.clone()).expect("a changed task exists");
            // Something of it runs again, which may have come to its end at once.
            let reran = |event: &Event| matches!(event.what, What::Task { status: TaskStatus::Running, .. });
            let mut news =
                changes.history.iter().filter(|more| more.task == task.no).flat_map(|more| &more.events);
            let again = news.any(reran);
            // Or it waited to be heard of.
            let heard = Task { wake_at: old.wake_at, ..task.clone() } == old;
            assert!(
                !old.status.is_terminal() || again || heard,
                "a final task was written: {old:?} became {task:?}"
            );
        }
        for new in &changes.new_plans {
            self.plans.insert(new.task, Arc::clone(&new.plan));
        }
        for more in &changes.growth {
            let plan = self.plans.get_mut(&more.task).expect("a plan that grows is there");
            assert_eq!(plan.len(), more.first, "a plan grows at its end");
            Arc::make_mut(plan).extend(&more.nodes);
        }
        for note in &changes.notes {
            let old = self.notes.insert((note.task, note.key), note.body.clone());
            let keeps = matches!(note.key, NoteKey::ContextValue(_));
            assert!(!keeps || old.is_none(), "a value was written twice: {note:?} after {old:?}");
        }
        for new in &changes.new_subtasks {
            let old = self.subtasks.insert((new.task, new.index), new.row.clone());
            assert!(old.is_none(), "a subtask is not new: {new:?}");
        }
        for changed in &changes.subtasks {
            let old = self.subtasks.insert((changed.task, changed.index), changed.row.clone());
            assert!(old.is_some(), "a changed subtask exists: {changed:?}");
        }
        for output in &changes.outputs {
            let old = self.outputs.insert((output.task, output.index), output.clone());
            assert!(old.is_none(), "delivered twice: {output:?} after {old:?}");
        }
        for more in &changes.history {
            self.history.entry(more.task).or_default().extend(more.events.iter().cloned());
        }
        for session in &changes.new_sessions {
            assert!(self.sessions.insert(session.no, session.clone()).is_none(), "{session:?} is not new");
        }
        for session in &changes.sessions {
            assert!(self.sessions.insert(session.no, session.clone()).is_some(), "{session:?} exists");
        }
        for no in &changes.dead_sessions {
            assert!(self.sessions.remove(no).is_some(), "session {no} existed");
        }
    }

    /// What replicas remember of a batch: who is connected, and who got what.
    fn absorb(&mut self, replica: ReplicaNo, commands: &[Command], outcome: &Outcome) {
        for (command, reply) in commands.iter().zip(&outcome.replies) {
            let at = match command {
                Command::OpenSession { replica, .. } | Command::ResumeSession { replica, .. } => *replica,
                _ => continue,
            };
            if let Ok(Reply::Session(no)) = reply
                && let Some(row) = self.sessions.get(no)
            {
                self.roster.insert((at, *no), Arc::clone(&row.declaration));
            }
        }
        for effect in &outcome.effects {
            match effect {
                Effect::SeatGone { session } => {
                    self.roster.remove(&(replica, *session));
                }
                Effect::Assign(assigned) => {
                    let given = self.given.entry((assigned.at.task, assigned.at.index)).or_default();
                    given.push((assigned.at.lease, assigned.session));
                }
                Effect::Wake { at, wake: Wake::Subtask(task, index) } if *at <= self.now => {
                    let wake = Command::Wake { task: *task, index: Some(*index) };
                    self.prompts.insert((*task, *index), wake);
                }
                Effect::Next(Next { task, index, begin }) => {
                    let attend = Command::Attend { task: *task, index: *index, begin: *begin };
                    self.prompts.insert((*task, *index), attend);
                }
                Effect::Nest(nesting) => self.nestings.push(nesting.clone()),
                Effect::Revoke { .. } | Effect::Queued(_) | Effect::Wake { .. } => {}
            }
        }
    }

    /// What is kept of a task's context.
    pub(crate) fn written(&self, task: TaskNo) -> Written {
        let note = self.notes.get(&(task, NoteKey::Context));
        note.map_or_else(Written::default, |body| serde_json::from_slice(body).expect("it was written"))
    }

    /// The context of `t`: `key(version)=value` of what is there.
    pub(crate) fn context(&self) -> String {
        let task = self.task_no("t");
        let plan = &self.plans[&task];
        let given = seed(plan);
        let said = |(key, entry): (&String, &Entry)| {
            let value = match entry.held {
                Held::Seed => given[key].get().to_owned(),
                Held::Write(number) => {
                    let body = &self.notes[&(task, NoteKey::ContextValue(number))];
                    String::from_utf8_lossy(body).into_owned()
                }
                Held::Deleted => return None,
            };
            Some(format!("{key}({})={value}", entry.version))
        };
        let keys = keys(plan, &self.written(task));
        keys.iter().filter_map(said).collect::<Vec<_>>().join(", ")
    }

    /// What a tick finds: whatever waits for a time that has come.
    pub(crate) fn due(&self) -> Vec<Command> {
        let due = self.subtasks.iter().filter(|(_, row)| row.wake_at.is_some_and(|at| at <= self.now));
        let subtasks = due.map(|(&(task, index), _)| Command::Wake { task, index: Some(index) });
        let unheard =
            |task: &&Task| task.status.is_terminal() && task.wake_at.is_some_and(|at| at <= self.now);
        let ended = self.tasks.values().filter(unheard);
        subtasks.chain(ended.map(|task| Command::Wake { task: task.no, index: None })).collect()
    }

    /// Sends what effects ask for at once, until nothing is.
    pub(crate) fn settle(&mut self) {
        for _ in 0..SETTLED_AFTER {
            let prompts: Vec<Command> = std::mem::take(&mut self.prompts).into_values().collect();
            if prompts.is_empty() {
                return;
            }
            self.run(HERE, &prompts);
        }
        panic!("not quiet after {SETTLED_AFTER} batches: {:?}", self.prompts);
    }

    /// Loses what effects asked for, and comes to rest by ticks: a tick sees less than all, and last first.
    pub(crate) fn settle_late(&mut self) {
        self.prompts.clear();
        for _ in 0..SETTLED_AFTER {
            let Some(due) = self.due().pop() else { return };
            self.run(HERE, &[due]);
            self.settle();
        }
        panic!("not quiet after {SETTLED_AFTER} ticks: {:?}", self.due());
    }
}

/// Batches after which nothing may be left to be done at once.
const SETTLED_AFTER: usize = 200;

/// The laws.
impl World {
    /// The same rows and commands give the same changes; and what was refused or came too late leaves no
    /// trace: the batch without it comes to the same over the same rows.
    fn check_traceless(
        &self,
        replica: ReplicaNo,
        commands: &[Command],
        hints: &[(TaskNo, Index)],
        seats: Vec<Seat>,
        outcome: &Outcome,
    ) {
        let counts = |reply: &Result<Reply, Reject>| {
            !matches!(reply, Err(_) | Ok(Reply::Verdict(Verdict::Stale | Verdict::Duplicate)))
        };
        let (counted, replies): (Vec<Command>, Vec<_>) = commands
            .iter()
            .zip(&outcome.replies)
            .filter(|(_, reply)| counts(reply))
            .map(|(command, reply)| (command.clone(), reply.clone()))
            .unzip();
        let again = self.decide_beside(replica, commands, &counted, hints, seats);
        assert_eq!(again.replies, replies, "replies of {commands:?}");
        assert_eq!(again.effects, outcome.effects, "effects of {commands:?}");
        assert_eq!(format!("{:?}", again.changes), format!("{:?}", outcome.changes), "{commands:?}");
    }

    fn check_rows(&self, before: &World, outcome: &Outcome) {
        let new = outcome.changes.new_tasks.iter().map(|task| task.no);
        let heads: BTreeSet<TaskNo> = outcome.changes.tasks.iter().map(|task| task.no).chain(new).collect();
        let touched: BTreeSet<TaskNo> = outcome.changes.subtasks.iter().map(|sub| sub.task).collect();
        let outputs = outcome.changes.outputs.iter().map(|output| output.task);
        let history = outcome.changes.history.iter().map(|more| more.task);
        for no in touched.iter().copied().chain(outputs).chain(history) {
            assert!(heads.contains(&no), "something of {no} is written, and its head is not");
        }
        for task in outcome.changes.tasks.iter().filter(|task| !touched.contains(&task.no)) {
            assert_ne!(before.tasks.get(&task.no), Some(task), "written as it was");
        }
        for session in &outcome.changes.sessions {
            assert_ne!(before.sessions.get(&session.no), Some(session), "written as it was");
        }
        for changed in &outcome.changes.subtasks {
            let (old, new) = (&before.subtasks[&(changed.task, changed.index)], &changed.row);
            assert_ne!(old, new, "written as it was");
            if old.state.is_terminal() {
                assert_eq!(old.state, new.state, "a final state changed: {changed:?}");
                assert_eq!((old.lease, old.outcome), (new.lease, new.outcome), "{changed:?}");
            }
            assert!(old.lease <= new.lease, "leases only grow: {old:?} became {new:?}");
            let moved = old.state != new.state;
            assert!(!moved || new.since == self.now, "{changed:?} moved at {}", self.now.0);
            let followed =
                self.plans[&changed.task].node(changed.index).is_some_and(|n| n.does.is_workflow());
            let armed = new.wake_at.is_some() && new.state.is_terminal();
            assert!(!armed || followed, "armed for nothing: {changed:?}");
            assert!(new.session.is_none() || new.outcome.is_none(), "ended while it runs: {changed:?}");
        }
        for task in &outcome.changes.tasks {
            let armed = task.wake_at.is_some() && task.status.is_terminal();
            assert!(!armed || self.plans[&task.no].inside().is_some(), "armed for nothing: {task:?}");
        }
        for output in &outcome.changes.outputs {
            let state = self.subtasks[&(output.task, output.index)].state;
            // Kept until its children have ended, which they may not have done well.
            let parent = self.plans[&output.task].children(output.index).next().is_some();
            let kept = state == SubtaskState::Completed || parent;
            assert!(kept, "{output:?} of what is {}", state.word());
        }
    }

    /// Effects tell the truth about the rows, and tell all of it.
    fn check_effects(&self, before: &World, outcome: &Outcome) {
        let told = |effect: &Effect| outcome.effects.contains(effect);
        for effect in &outcome.effects {
            match effect {
                Effect::Assign(assigned) => {
                    let row = &self.subtasks[&(assigned.at.task, assigned.at.index)];
                    assert_eq!(row.state, SubtaskState::Leased, "{assigned:?}");
                    assert_eq!((row.lease, row.session), (Some(assigned.at.lease), Some(assigned.session)));
                    assert_eq!(row.attempts, assigned.attempt, "{assigned:?}");
                }
                Effect::Revoke { session, at, .. } => {
                    let old = &before.subtasks[&(at.task, at.index)];
                    assert_eq!((old.lease, old.session), (Some(at.lease), Some(*session)), "{effect:?}");
                }
                Effect::Queued(place) => assert!(self.line().contains(place), "{effect:?}"),
                Effect::Wake { .. } | Effect::Next(_) | Effect::Nest(_) | Effect::SeatGone { .. } => {}
            }
        }
        let rows = outcome.changes.subtasks.iter().chain(&outcome.changes.new_subtasks);
        for row in rows {
            let place = (row.task, row.index);
            let old = before.subtasks.get(&place);
            if let Some(at) = row.row.wake_at
                && old.is_none_or(|old| old.wake_at != Some(at))
            {
                let of_group = |effect: &Effect| matches!(effect, Effect::Next(next) if (next.task, next.index) == (row.task, row.index));
                let wake = Effect::Wake { at, wake: Wake::Subtask(row.task, row.index) };
                let of_task = |effect: &Effect| {
                    matches!(effect, Effect::Nest(Nesting::Pass { task, index, .. }) if (*task, *index) == place)
                        || matches!(effect, Effect::Nest(Nesting::Begin(begin)) if (begin.inside.task, begin.inside.index) == place)
                };
                let other = |effect: &Effect| of_group(effect) || of_task(effect);
                assert!(told(&wake) || outcome.effects.iter().any(other), "{row:?}");
            }
            if let Some(place) = self.line().into_iter().find(|q| (q.task, q.index) == place)
                && old.is_none_or(|old| old.queued.is_none())
            {
                assert!(told(&Effect::Queued(place)), "{row:?}");
            }
        }
        let sessions = outcome.changes.sessions.iter().filter_map(|row| Some((row.no, row.wake_at?)));
        for (no, at) in sessions {
            assert!(told(&Effect::Wake { at, wake: Wake::Session(no) }), "session {no}");
        }
    }

    fn check_invariants(&self) {
        for (no, task) in &self.tasks {
            let range = (*no, 0)..=(*no, Index::MAX);
            let rows: Vec<Subtask> = self.subtasks.range(range).map(|(_, row)| row.clone()).collect();
            let events = self.history.get(no).map_or(&[][..], Vec::as_slice);
            let broken = invariant::broken(task, &self.plans[no], &rows, events);
            assert!(broken.is_empty(), "task {}: {broken:#?}\n{task:?}\n{rows:#?}", task.id);
            let broken = invariant::broken_context(&self.plans[no], &self.written(*no), events);
            assert!(broken.is_empty(), "task {}: {broken:#?}", task.id);
        }
    }
}
