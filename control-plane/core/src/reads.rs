//! Which rows a command needs. Everything it declares is locked and loaded before it is applied.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use crate::{
    command::Command,
    id::{Index, SessionNo, TaskId, TaskNo, TenantNo},
    plan::Plan,
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
}

/// The task whose plan [`reads`] wants to see.
pub fn task_of(command: &Command) -> Option<TaskNo> {
    match command {
        Command::Execute { task, .. }
        | Command::Pause { task }
        | Command::Cancel { task, .. }
        | Command::Review { task, .. }
        | Command::Route { task, .. }
        | Command::Wake { task, .. }
        | Command::Block { task, .. }
        | Command::Unblock { task, .. } => Some(*task),
        Command::Finish { at, .. }
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

/// Adds what the command reads; a place that the plan does not have is not asked for. `plans` holds the plan of every task that [`task_of`] named and that exists.
pub fn reads(command: &Command, plans: &BTreeMap<TaskNo, Arc<Plan>>, into: &mut Reads) {
    if let Some(task) = task_of(command) {
        into.tasks.insert(task);
    }
    let mut one = |task: TaskNo, index: Index| {
        let plan = plans.get(&task).filter(|plan| plan.node(index).is_some())?;
        into.subtasks.insert((task, index));
        Some(plan)
    };
    match command {
        Command::Submit(submit) => {
            into.ids.insert((submit.tenant, submit.id.clone()));
        }
        Command::Execute { task, .. }
        | Command::Pause { task }
        | Command::Cancel { task, .. }
        | Command::Review { task, .. }
        | Command::Wake { task, index: None } => {
            into.whole.insert(*task);
        }
        Command::Finish { at, .. } => {
            if let Some(plan) = one(at.task, at.index) {
                into.subtasks.extend(plan.dependents(at.index).iter().map(|&i| (at.task, i)));
            }
        }
        Command::Report { at, .. } | Command::Lose { at } | Command::Silence { at } => {
            one(at.task, at.index);
        }
        Command::Return { at, session, .. } => {
            one(at.task, at.index);
            into.seats.insert(*session);
        }
        Command::Route { task, index, .. }
        | Command::Wake { task, index: Some(index) }
        | Command::Block { task, index }
        | Command::Unblock { task, index } => {
            one(*task, *index);
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
