//! Tasks within tasks: each attempt of a subtask is one task, and both tell the same of its end.

use std::collections::BTreeSet;

use downbeat_core::{
    id::{Index, TaskNo},
    nested::inner_id,
    plan::{Node, Plan},
    subtask::{Subtask, SubtaskState},
    task::TaskStatus,
};

use super::Known;

/// What is wrong with a task that is new, as of the commit that wrote it, and these subtasks. A later command of the
/// batch may have cancelled the subtask that it is: then it waited until that.
pub(super) fn begun_wrongly(
    known: &Known<'_>,
    written: &BTreeSet<(TaskNo, Index)>,
    no: TaskNo,
    id: &str,
    plan: &Plan,
) -> Option<String> {
    let inside = plan.inside()?;
    let (task, index) = (inside.task, inside.index);
    let row = known.subtask(task, index);
    let waits = |row: &Subtask| {
        let cancelled_since = row.state == SubtaskState::Cancelled && written.contains(&(task, index));
        (row.state == SubtaskState::Waiting || cancelled_since)
            && (row.attempts, row.pending) == (inside.attempt, 1)
    };
    if !row.is_some_and(waits) {
        return Some(format!("task {no} is {task}/{index}, which did not wait for it: {row:?}"));
    }
    if id != inner_id(&inside.subtask_id, inside.attempt) {
        return Some(format!("task {no} is {task}/{index}, and is called `{id}`"));
    }
    let before = (1..inside.attempt).filter_map(|attempt| {
        let id = inner_id(&inside.subtask_id, attempt);
        known.named(&id).filter(|no| !known.status(*no).is_some_and(TaskStatus::is_terminal))
    });
    let goes_on: Vec<TaskNo> = before.collect();
    (!goes_on.is_empty()).then(|| format!("task {no} began while {goes_on:?} go on"))
}

/// The task that a subtask was, if it has completed, with its plan.
pub(super) fn completed<'k>(
    known: &Known<'k>,
    node: Option<&Node>,
    row: Option<&Subtask>,
) -> Option<(TaskNo, &'k Plan)> {
    let inner = known.named(&inner_id(&node?.id, row?.attempts))?;
    let seen = known.0.get(&inner)?;
    (seen.record.task.status == TaskStatus::Completed).then_some((inner, &*seen.plan))
}

/// What is wrong with the task that a subtask was, at the end.
pub(super) fn left_wrongly(known: &Known<'_>, no: TaskNo, plan: &Plan) -> Option<String> {
    let inside = plan.inside()?;
    let status = known.status(no)?;
    let row = known.subtask(inside.task, inside.index)?;
    let unheard = row.attempts == inside.attempt && (row.pending > 0 || row.wake_at.is_some());
    let over = row.state.is_terminal();
    (over && (!status.is_terminal() || unheard)).then(|| {
        let (task, index, status) = (inside.task, inside.index, status.word());
        format!("task {no} is {status}, and it is {task}/{index}, which is over: {row:?}")
    })
}
