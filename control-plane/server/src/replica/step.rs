//! The batch step: load what the commands declare, decide them one by one, place, write, commit.
//!
//! A plain function of the store, the commands and the time: no channel, no clock of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use downbeat_core::{
    apply::apply,
    command::{Command, Reply, Verdict},
    effect::{Effect, Queued},
    event::{Event, What},
    id::{Index, RouteNo, TaskNo},
    note::NoteKey,
    place::place,
    plan::Plan,
    reads::{Reads, other_task_of, reads, task_of},
    reject::Reject,
    rows::{Changes, History},
    session::Seat,
    subtask::{Subtask, SubtaskState},
    task::Task,
    time::Frame,
};
use downbeat_store::{PlanRecord, Store, StoreError, Writer};

use super::{Mono, Outbound, Replica};
use crate::docs::Docs;

/// Leases given in one batch: bounds the batch's rows, and stays far below what it can mint.
const PLACEMENTS_MAX: usize = 512;
/// Seats locked in one batch.
const SEATS_MAX: usize = 64;
/// Conflicts after which a batch is given back: each means that another replica made progress.
const CONFLICTS_MAX: u32 = 20;

/// Why a command got no reply from the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused by the rules.
    Reject(Reject),
    /// Broke an invariant, or the database refuses its rows. Nothing of it was written.
    Poison(String),
}

/// A step's outcome.
#[derive(Debug, Default)]
pub struct Step {
    /// In the order of the commands.
    pub replies: Vec<Result<Reply, Failure>>,
    pub out: Vec<Outbound>,
    /// What happened, task by task; one that several batches changed comes once for each.
    pub history: Vec<History>,
    /// What was written of new tasks.
    pub created: BTreeMap<TaskNo, Created>,
}

/// A new task as its first batch left it.
#[derive(Debug)]
pub struct Created {
    pub head: Task,
    pub subtasks: Vec<Subtask>,
    pub events: Vec<Event>,
}

impl Replica {
    /// Decides a batch and makes it durable. On an error nothing is known to be durable and the same
    /// commands may be given again: whatever was already written is recognised.
    ///
    /// # Errors
    /// The store's, when it cannot be reached or written to.
    pub async fn step(
        &mut self,
        store: &dyn Store,
        writer: &mut dyn Writer,
        docs: &Docs,
        commands: &[Command],
        now: Mono,
    ) -> Result<Step, StoreError> {
        let mut poisoned = vec![None; commands.len()];
        let mut conflicts = 0;
        loop {
            let batch = self.prepare(store, docs, commands).await?;
            match self.attempt(store, writer, docs, &batch, commands, &mut poisoned, now).await {
                Ok(Some(Decided { replies, changes, effects })) => {
                    learn(docs, commands, &replies, &changes);
                    self.line.missed(&missed(&batch.hints, &effects), now);
                    let out = self.absorb(effects, now);
                    let (history, created) = written(changes);
                    return Ok(Step { replies, out, history, created });
                }
                Ok(None) => {}
                Err(StoreError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(StoreError::Refused(message)) => {
                    if commands.len() <= 1 {
                        return Ok(Step { replies: vec![Err(Failure::Poison(message))], ..Step::default() });
                    }
                    return self.one_by_one(store, writer, docs, commands, now).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The database refuses a value of one command: find out whose, so that the others go on.
    async fn one_by_one(
        &mut self,
        store: &dyn Store,
        writer: &mut dyn Writer,
        docs: &Docs,
        commands: &[Command],
        now: Mono,
    ) -> Result<Step, StoreError> {
        let mut all = Step::default();
        for command in commands {
            let alone = Box::pin(self.step(store, writer, docs, std::slice::from_ref(command), now));
            let step = alone.await?;
            all.replies.extend(step.replies);
            all.out.extend(step.out);
            all.history.extend(step.history);
            all.created.extend(step.created);
        }
        Ok(all)
    }

    async fn prepare(
        &mut self,
        store: &dyn Store,
        docs: &Docs,
        commands: &[Command],
    ) -> Result<Batch, StoreError> {
        let both = |command| task_of(command).into_iter().chain(other_task_of(command));
        let mut tasks: BTreeSet<TaskNo> = commands.iter().flat_map(both).collect();
        let mut plans = docs.plans(store, &tasks).await?;
        let mut routes = routes_touched(commands, &plans);
        routes.extend(self.line.routes());
        let seats = self.roster.seats(&routes, SEATS_MAX);
        let hints = self.hints(&seats);
        let hinted: BTreeSet<TaskNo> = hints.iter().map(|place| place.task).collect();
        let more: BTreeSet<TaskNo> = hinted.difference(&tasks).copied().collect();
        plans.extend(docs.plans(store, &more).await?);
        tasks.extend(more);
        let mut wanted = Reads::default();
        for command in commands {
            reads(command, &plans, &mut wanted);
        }
        wanted.seats.extend(seats.iter().map(|seat| seat.session));
        wanted.hints = hints.iter().map(|place| (place.task, place.index)).collect();
        Ok(Batch { plans, seats, hints, reads: wanted })
    }

    /// As many from the head of each line as there are free slots for them.
    fn hints(&self, seats: &[Seat]) -> Vec<Queued> {
        let mut hints: Vec<Queued> = Vec::new();
        let free: usize = seats.iter().map(|seat| seat.free as usize).sum();
        for route in self.line.routes() {
            let serving = seats.iter().filter(|seat| seat.skills.contains_key(&route));
            let room = serving.map(|seat| seat.free as usize).sum::<usize>().min(PLACEMENTS_MAX);
            hints.extend(self.line.head(route, room));
        }
        hints.sort_unstable();
        hints.truncate(free.min(PLACEMENTS_MAX));
        hints
    }

    /// One try. `None`: a command broke an invariant and was marked; try again without it.
    #[allow(clippy::too_many_arguments)]
    async fn attempt(
        &mut self,
        store: &dyn Store,
        writer: &mut dyn Writer,
        docs: &Docs,
        batch: &Batch,
        commands: &[Command],
        poisoned: &mut [Option<String>],
        now: Mono,
    ) -> Result<Option<Decided>, StoreError> {
        let mut loaded = writer.load(&batch.reads).await?;
        self.see_time(loaded.now, now);
        if let Err(error) = complete(store, docs, batch, &mut loaded).await {
            writer.rollback().await;
            return Err(error);
        }
        let decided = decide(self, loaded, batch, commands, poisoned);
        match &decided {
            // Also where nothing changes: what was answered has to be true.
            Some(decided) => writer.commit(&decided.changes).await?,
            None => writer.rollback().await,
        }
        Ok(decided)
    }
}

/// Adds what never changes to the rows: plans, and the outputs that are asked for.
async fn complete(
    store: &dyn Store,
    docs: &Docs,
    batch: &Batch,
    loaded: &mut downbeat_store::Loaded,
) -> Result<(), StoreError> {
    let rows = &mut loaded.rows;
    for (task, plan) in &batch.plans {
        rows.load_plan(*task, Arc::clone(plan));
    }
    if !rows.plans_are_whole() {
        batch.plans.keys().for_each(|task| docs.forget_plan(*task));
        return Err(StoreError::Conflict("a plan has grown since it was read".into()));
    }
    let mut asked: BTreeMap<TaskNo, Vec<Index>> = BTreeMap::new();
    for (task, index) in rows.completed(&batch.reads.outputs) {
        asked.entry(task).or_default().push(index);
    }
    for (task, indexes) in asked {
        // The rows say that they are completed, so what is not found now is null.
        let found = docs.outputs(store, task, &indexes).await?;
        for (index, delivered) in indexes.into_iter().zip(found) {
            rows.load_output(task, index, delivered.map(|output| output.body).unwrap_or_default());
        }
    }
    let mut written: BTreeMap<TaskNo, Vec<u32>> = BTreeMap::new();
    for (task, write) in rows.context_values(&batch.reads.context) {
        written.entry(task).or_default().push(write);
    }
    for (task, writes) in written {
        let found = docs.context_values(store, task, &writes).await?;
        for (write, value) in writes.into_iter().zip(found) {
            rows.load_note(task, NoteKey::ContextValue(write), Some(value));
        }
    }
    Ok(())
}

/// What happened, and what was written of new tasks.
fn written(changes: Changes) -> (Vec<History>, BTreeMap<TaskNo, Created>) {
    let Changes { new_tasks, new_subtasks, history, .. } = changes;
    let new = |head: Task| (head.no, Created { head, subtasks: Vec::new(), events: Vec::new() });
    let mut created: BTreeMap<TaskNo, Created> = new_tasks.into_iter().map(new).collect();
    for sub in new_subtasks {
        created.entry(sub.task).and_modify(|new| new.subtasks.push(sub.row));
    }
    for more in &history {
        created.entry(more.task).and_modify(|new| new.events.clone_from(&more.events));
    }
    (history, created)
}

/// What is durable now is what the next briefs will ask for.
fn learn(docs: &Docs, commands: &[Command], replies: &[Result<Reply, Failure>], changes: &Changes) {
    let mut finished = BTreeSet::new();
    for (command, reply) in commands.iter().zip(replies) {
        if let (Command::Finish { at, .. }, Ok(Reply::Verdict(Verdict::Accepted))) = (command, reply) {
            finished.insert((at.task, at.index));
        }
        if let (Command::Submit(submit), Ok(Reply::Submitted { task, existed: false, .. })) = (command, reply)
        {
            docs.learn_plan(PlanRecord {
                task: *task,
                tenant: submit.tenant,
                id: submit.id.clone(),
                request: submit.request.clone(),
                plan: Arc::clone(&submit.plan),
            });
        }
    }
    docs.learn_growth(&changes.growth);
    for note in &changes.notes {
        if let NoteKey::ContextValue(write) = note.key {
            docs.learn_context_value(note.task, write, note.body.clone());
        }
    }
    let mut delivered = BTreeSet::new();
    for output in &changes.outputs {
        delivered.insert((output.task, output.index));
        docs.learn_output(output.task, output.index, output.body.clone(), output.artifacts.clone());
    }
    // What is completed and has no output delivered null, unless it delivered before its children ended.
    for History { task, events, .. } in &changes.history {
        for event in events {
            let (index, now) = match event.what {
                What::Ended { index, state: SubtaskState::Completed, .. } => {
                    (index, finished.contains(&(*task, index)))
                }
                What::Subtask { index, state: SubtaskState::Completed, .. } => (index, true),
                _ => continue,
            };
            if now && !delivered.contains(&(*task, index)) {
                docs.learn_output(*task, index, Bytes::new(), Vec::new());
            }
        }
    }
}

struct Batch {
    plans: BTreeMap<TaskNo, Arc<Plan>>,
    seats: Vec<Seat>,
    hints: Vec<Queued>,
    reads: Reads,
}

/// What the core says to a batch.
struct Decided {
    replies: Vec<Result<Reply, Failure>>,
    changes: Changes,
    effects: Vec<Effect>,
}

fn decide(
    replica: &Replica,
    loaded: downbeat_store::Loaded,
    batch: &Batch,
    commands: &[Command],
    poisoned: &mut [Option<String>],
) -> Option<Decided> {
    let mut rows = loaded.rows;
    let mut frame = Frame::new(loaded.now, loaded.stamp, &replica.policy);
    let mut replies = Vec::with_capacity(commands.len());
    for (command, poison) in commands.iter().zip(poisoned.iter_mut()) {
        if let Some(message) = poison {
            replies.push(Err(Failure::Poison(message.clone())));
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| apply(&mut rows, &mut frame, command))) {
            Ok(reply) => replies.push(reply.map_err(Failure::Reject)),
            Err(panic) => {
                *poison = Some(panic_message(&*panic));
                tracing::error!(?command, message = poison.as_deref(), "a command broke an invariant");
                return None;
            }
        }
    }
    let mut seats = batch.seats.clone();
    let hints = batch.hints.iter().map(|place| (place.task, place.index));
    place(&mut rows, &mut frame, replica.no, hints, &mut seats);
    let (changes, effects) = rows.into_changes();
    Some(Decided { replies, changes, effects })
}

/// The routes whose subtasks the commands may put in line.
fn routes_touched(commands: &[Command], plans: &BTreeMap<TaskNo, Arc<Plan>>) -> BTreeSet<RouteNo> {
    let mut routes = BTreeSet::new();
    for command in commands {
        if let Command::Submit(submit) = command
            && submit.served.is_some()
        {
            let first = submit.plan.nodes().iter().filter(|node| node.depends_on.is_empty());
            routes.extend(first.map(|node| node.route));
        }
        let Some(plan) = task_of(command).and_then(|task| plans.get(&task)) else { continue };
        match command {
            Command::Finish { at, .. } => {
                let group = plan.node(at.index).and_then(|node| node.parent);
                for &index in plan.dependents(at.index).iter().chain(&group) {
                    let Some(node) = plan.node(index) else { continue };
                    if node.does.is_work() {
                        routes.insert(node.route);
                    } else {
                        // Whatever it opens.
                        routes.extend(plan.routes());
                    }
                }
            }
            Command::Return { at, .. } | Command::Lose { at } => {
                routes.extend(plan.node(at.index).map(|node| node.route));
            }
            Command::Wake { index: Some(index), .. }
                if plan.node(*index).is_some_and(|n| n.does.is_work()) =>
            {
                routes.extend(plan.node(*index).map(|node| node.route));
            }
            Command::Unblock { index, .. } => {
                routes.extend(plan.node(*index).map(|node| node.route));
            }
            Command::Route { route, .. } => {
                routes.insert(*route);
            }
            Command::Spawn { children, .. } => routes.extend(children.iter().map(|child| child.route)),
            Command::Pass { inner, .. } => {
                routes.extend(plans.get(inner).into_iter().flat_map(|plan| plan.routes()));
            }
            Command::Execute { .. }
            | Command::Join { .. }
            | Command::Refuse { .. }
            | Command::Review { .. }
            | Command::Decide { .. }
            | Command::Signal { .. }
            | Command::Rerun { .. }
            | Command::Attend { .. }
            | Command::Wake { index: Some(_), .. } => routes.extend(plan.routes()),
            Command::Submit(_)
            | Command::Pause { .. }
            | Command::Cancel { .. }
            | Command::Snapshot { .. }
            | Command::WriteContext { .. }
            | Command::ReadContext { .. }
            | Command::Report { .. }
            | Command::Silence { .. }
            | Command::Wake { index: None, .. }
            | Command::Block { .. }
            | Command::OpenSession { .. }
            | Command::ResumeSession { .. }
            | Command::DetachSession { .. }
            | Command::ExpireSession { .. }
            | Command::DrainSession { .. }
            | Command::ForgetSession { .. } => {}
        }
    }
    routes
}

/// The hints that neither were leased nor are still in line.
fn missed(hints: &[Queued], effects: &[Effect]) -> Vec<Queued> {
    let mut found: BTreeSet<(TaskNo, u32)> = BTreeSet::new();
    for effect in effects {
        match effect {
            Effect::Assign(assignment) => found.insert((assignment.at.task, assignment.at.index)),
            Effect::Queued(queued) => found.insert((queued.task, queued.index)),
            Effect::Revoke { .. }
            | Effect::Wake { .. }
            | Effect::Next(_)
            | Effect::Nest(_)
            | Effect::SeatGone { .. } => false,
        };
    }
    hints.iter().filter(|place| !found.contains(&(place.task, place.index))).copied().collect()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "panic".to_owned())
}
