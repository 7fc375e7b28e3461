//! Which rows a command needs. Everything it declares is locked and loaded before it is applied.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use crate::{
    command::{Command, Writer},
    draft::{Does, OnFailure},
    expr,
    id::{Index, LeaseAt, SessionNo, TaskId, TaskNo, TenantNo},
    note::NoteKey,
    plan::{Node, Plan},
};

/// The rows of one batch. Locks are taken in this order: sessions, tasks by number, hinted tasks without
/// waiting. A task's lock covers its subtasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Sessions that may change.
    pub sessions: BTreeSet<SessionNo>,
    /// Sessions that may be given leases, or may have them taken: they must not change meanwhile.
    pub seats: BTreeSet<SessionNo>,
    /// Tasks by the client's name: may not exist yet.
    pub ids: BTreeSet<(TenantNo, TaskId)>,
    pub tasks: BTreeSet<TaskNo>,
    /// Of these tasks all subtasks.
    pub whole: BTreeSet<TaskNo>,
    pub subtasks: BTreeSet<(TaskNo, Index)>,
    /// Subtasks that are probably ready. Loaded only where the task can be locked without waiting.
    pub hints: BTreeSet<(TaskNo, Index)>,
    /// What these delivered, if they are completed. Never changes once it is there.
    pub outputs: BTreeSet<(TaskNo, Index)>,
    pub notes: BTreeSet<(TaskNo, NoteKey)>,
    /// Values of the shared context, by key (`None`: all), if they were written. Of these tasks the note that tells where
    /// they are is wanted too. What a write has written never changes.
    pub context: BTreeSet<(TaskNo, Option<String>)>,
    /// More may be written than the rows that were loaded, so these have to be locked.
    pub locks: bool,
}

/// The task whose plan [`reads`] wants to see.
pub fn task_of(command: &Command) -> Option<TaskNo> {
    match command {
        Command::Execute { task, .. }
        | Command::Pause { task }
        | Command::Cancel { task, .. }
        | Command::Review { task, .. }
        | Command::Rerun { task, .. }
        | Command::Snapshot { task, .. }
        | Command::WriteContext { task, .. }
        | Command::Decide { task, .. }
        | Command::Signal { task, .. }
        | Command::Route { task, .. }
        | Command::Wake { task, .. }
        | Command::Attend { task, .. }
        | Command::Refuse { task, .. }
        | Command::Pass { task, .. }
        | Command::Join { task, .. }
        | Command::Block { task, .. }
        | Command::Unblock { task, .. } => Some(*task),
        Command::Finish { at, .. }
        | Command::Spawn { at, .. }
        | Command::ReadContext { at, .. }
        | Command::Report { at, .. }
        | Command::Return { at, .. }
        | Command::Lose { at }
        | Command::Silence { at } => Some(at.task),
        Command::Submit(_)
        | Command::OpenSession { .. }
        | Command::ResumeSession { .. }
        | Command::DetachSession { .. }
        | Command::ExpireSession { .. }
        | Command::DrainSession { .. }
        | Command::ForgetSession { .. } => None,
    }
}

/// The other task that the command is about, of which [`reads`] wants to see the plan too: the inner one, or that of
/// the subtask that a new task is.
pub fn other_task_of(command: &Command) -> Option<TaskNo> {
    match command {
        Command::Pass { inner, .. } | Command::Join { inner, .. } => Some(*inner),
        Command::Submit(submit) => submit.request.inside.as_ref().map(|inside| inside.task),
        _ => None,
    }
}

/// Adds what the command reads; a place that the plan does not have is not asked for. `plans` holds the plan of every task that [`task_of`] named and that exists.
pub fn reads(command: &Command, plans: &BTreeMap<TaskNo, Arc<Plan>>, into: &mut Reads) {
    into.tasks.extend(task_of(command).into_iter().chain(other_task_of(command)));
    let plan = task_of(command).and_then(|task| Some((task, plans.get(&task)?)));
    let one = |index: Index| plan.filter(|(_, plan)| plan.node(index).is_some());
    match command {
        Command::Submit(submit) => {
            into.ids.insert((submit.tenant, submit.id.clone()));
            if let Some(inside) = &submit.request.inside {
                into.subtasks.insert((inside.task, inside.index));
            }
            into.locks |= !submit.context.is_empty();
            if submit.served.is_some() && submit.plan.nodes().iter().any(|node| !node.is_plain()) {
                into.locks = true;
            }
        }
        Command::Execute { task, .. } | Command::Pause { task } | Command::Cancel { task, .. } => {
            into.whole.insert(*task);
            let grows =
                |plan: &Plan| plan.may_compensate() || plan.nodes().iter().any(|node| !node.is_plain());
            into.locks |= plan.is_some_and(|(_, plan)| grows(plan));
        }
        Command::Wake { task, index: None } => {
            into.whole.insert(*task);
            into.locks |= plan.is_some_and(|(_, plan)| plan.may_compensate());
        }
        Command::Review { task, index, .. } => {
            into.whole.insert(*task);
            if let Some((task, plan)) = one(*index) {
                decision(task, *index, plan, into);
            }
        }
        Command::Rerun { task, rerun } => {
            into.whole.insert(*task);
            into.outputs.extend(rerun.restored.values().map(|old| (*task, *old)));
            if rerun.context.is_some() {
                into.notes.insert((*task, NoteKey::Context));
            }
            into.locks = true;
        }
        Command::Snapshot { task, .. } => {
            into.notes.insert((*task, NoteKey::Snapshots));
        }
        Command::WriteContext { task, write } => {
            into.notes.insert((*task, NoteKey::Context));
            if let Writer::Worker { at, .. } = write.writer
                && one(at.index).is_some()
            {
                into.subtasks.insert((*task, at.index));
                into.notes.insert((*task, NoteKey::ContextWrite(at.index)));
            }
        }
        Command::ReadContext { at, .. } => {
            if one(at.index).is_some() {
                into.subtasks.insert((at.task, at.index));
                into.notes.insert((at.task, NoteKey::Context));
            }
        }
        Command::Finish { at, .. } => {
            if let Some((task, plan)) = one(at.index) {
                completing(task, at.index, plan, into);
            }
        }
        Command::Lose { at } | Command::Silence { at } => {
            if let Some((task, plan)) = one(at.index) {
                failing(task, at.index, plan, into);
            }
        }
        Command::Wake { task: _, index: Some(index) } => {
            if let Some((task, plan)) = one(*index) {
                failing(task, *index, plan, into);
                if plan.node(*index).is_some_and(|node| !node.does.is_group()) {
                    decision(task, *index, plan, into);
                }
            }
        }
        Command::Attend { index, begin: None, .. } => {
            if let Some((task, plan)) = one(*index) {
                ending(task, *index, plan, into);
                decision(task, *index, plan, into);
            }
        }
        Command::Attend { index, begin: Some((from, to)), .. } => {
            if let Some((task, plan)) = one(*index) {
                into.subtasks.insert((task, *index));
                let children = plan.children(*index).skip(*from as usize).take((to - from) as usize);
                into.subtasks.extend(children.map(|child| (task, child)));
            }
        }
        Command::Refuse { index, .. } => {
            if let Some((task, plan)) = one(*index) {
                ending(task, *index, plan, into);
            }
        }
        Command::Join { index, .. } => {
            if let Some((task, plan)) = one(*index) {
                completing(task, *index, plan, into);
            }
        }
        Command::Pass { index, inner, .. } => {
            if let Some((task, _)) = one(*index) {
                into.subtasks.insert((task, *index));
            }
            into.whole.insert(*inner);
            into.locks = true;
        }
        Command::Decide { index, .. } => {
            if let Some((task, plan)) = one(*index) {
                decision(task, *index, plan, into);
            }
        }
        Command::Signal { signal, .. } => {
            let Some((task, plan)) = plan else { return };
            into.notes.insert((task, NoteKey::Signals));
            into.locks = true;
            for (index, node) in (0..).zip(plan.nodes()) {
                let waits = matches!(&node.does, Does::Signal(gate) if gate.name == signal.name);
                if waits && !plan.is_replaced(index) {
                    decision(task, index, plan, into);
                }
            }
        }
        Command::Spawn { at, .. } => {
            if let Some((task, plan)) = one(at.index) {
                into.subtasks.insert((task, at.index));
                into.subtasks.extend(plan.children(at.index).map(|child| (task, child)));
                into.locks = true;
            }
        }
        Command::Return { at, session, .. } => {
            if let Some((task, _)) = one(at.index) {
                into.subtasks.insert((task, at.index));
            }
            into.seats.insert(*session);
        }
        Command::Report { at: LeaseAt { index, .. }, .. }
        | Command::Route { index, .. }
        | Command::Block { index, .. }
        | Command::Unblock { index, .. } => {
            if let Some((task, _)) = one(*index) {
                into.subtasks.insert((task, *index));
            }
        }
        Command::OpenSession { .. } => {}
        Command::ResumeSession { session, .. }
        | Command::DetachSession { session, .. }
        | Command::ExpireSession { session, .. }
        | Command::DrainSession { session }
        | Command::ForgetSession { session } => {
            into.sessions.insert(*session);
        }
    }
}

/// What has to be known to decide about a subtask whose dependencies, or whose children, have ended. Of one that
/// only has to get in line that is its own row.
pub(crate) fn decision(task: TaskNo, index: Index, plan: &Plan, into: &mut Reads) {
    let Some(node) = plan.node(index) else { return };
    into.subtasks.insert((task, index));
    if node.is_plain() {
        return;
    }
    ending(task, index, plan, into);
    let dependencies = node.depends_on.iter().map(|&dependency| (task, dependency));
    into.subtasks.extend(dependencies.clone());
    into.outputs.extend(dependencies);
    context(task, node, into);
    match node.does {
        Does::Work | Does::Timer(_) | Does::Workflow(_) => {}
        Does::Approval(_) => {
            into.notes.extend([(task, NoteKey::Gate(index)), (task, NoteKey::Snapshots)]);
            into.locks = true;
        }
        Does::Signal(_) => {
            into.notes.insert((task, NoteKey::Signals));
            into.locks = true;
        }
        Does::Group(_) | Does::Map(_) | Does::Loop(_) | Does::Round => {
            into.subtasks.extend(plan.descendants(index).into_iter().map(|below| (task, below)));
            into.outputs.extend(plan.children(index).map(|child| (task, child)));
            into.locks = true;
        }
    }
}

/// What its expressions name of the shared context.
fn context(task: TaskNo, node: &Node, into: &mut Reads) {
    for text in
        node.when.as_deref().into_iter().chain(node.does.expression()).filter(|text| text.contains("context"))
    {
        match expr::members(text, "context") {
            Some(keys) => into.context.extend(keys.into_iter().map(|key| (task, Some(key)))),
            None => drop(into.context.insert((task, None))),
        }
    }
    if into.context.range((task, None)..).next().is_some_and(|(of, _)| *of == task) {
        into.notes.insert((task, NoteKey::Context));
    }
}

/// What the end of a subtask changes beside it: those that wait for it, the group it belongs to, and what belongs to it.
pub(crate) fn ending(task: TaskNo, index: Index, plan: &Plan, into: &mut Reads) {
    let Some(node) = plan.node(index) else { return };
    let below = plan.descendants(index).into_iter();
    let near = plan.dependents(index).iter().copied().chain(node.parent).chain(below).chain([index]);
    into.subtasks.extend(near.map(|index| (task, index)));
}

/// What the completion of a subtask changes, with what is to be known to decide about those that waited for it.
fn completing(task: TaskNo, index: Index, plan: &Plan, into: &mut Reads) {
    ending(task, index, plan, into);
    let dependents = plan.dependents(index).iter().copied();
    let affected = dependents.chain(plan.node(index).and_then(|node| node.parent));
    let unlike = |node: &Node| !node.is_plain() && !node.does.is_group();
    for index in affected.filter(|&i| plan.node(i).is_some_and(unlike)) {
        decision(task, index, plan, into);
    }
}

/// What the failure of an attempt changes: it may be the end of the subtask.
fn failing(task: TaskNo, index: Index, plan: &Plan, into: &mut Reads) {
    into.subtasks.insert((task, index));
    if plan.node(index).is_some_and(|node| node.on_failure == OnFailure::Fail) {
        ending(task, index, plan, into);
    }
}
