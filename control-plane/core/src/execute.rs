//! Starting, holding, pausing and cancelling a whole task.

use std::collections::BTreeSet;

use crate::{
    command::Reply,
    effect::{Effect, Wake},
    flow::{arrive, end_task, enter, line_up, record_state, release, shift},
    id::{Index, RouteNo, TaskNo},
    reject::Reject,
    rows::Rows,
    subtask::{Happening, SubtaskState},
    task::{Mode, TaskStatus},
    time::Frame,
};

/// Starts a planned task, resumes a paused one, or states anew what is held. Repeating it changes nothing.
pub(crate) fn execute(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    mode: Mode,
    checkpoints: &BTreeSet<Index>,
    served: &BTreeSet<RouteNo>,
) -> Result<Reply, Reject> {
    let status = rows.task(task).ok_or(Reject::TaskUnknown)?.status;
    match status {
        TaskStatus::Completed => return Ok(Reply::Executed { status, blocked: Vec::new() }),
        TaskStatus::Failed | TaskStatus::Cancelled => return Err(Reject::TaskFinished(status)),
        TaskStatus::Planning => return Err(Reject::TaskNotStarted(status)),
        TaskStatus::Planned | TaskStatus::Paused | TaskStatus::Running | TaskStatus::NeedsReview => {}
    }
    let head = rows.task_mut(task);
    head.mode = mode;
    head.started_at.get_or_insert(frame.now);
    let resumed = if head.in_review > 0 { TaskStatus::NeedsReview } else { TaskStatus::Running };
    if status == TaskStatus::Planned {
        enter(rows, frame, task, TaskStatus::Running, "");
    } else {
        enter(rows, frame, task, resumed, "");
    }
    let mut blocked = Vec::new();
    for index in (0..).take(rows.task(task).map_or(0, |head| head.total as usize)) {
        hold_or_start(rows, frame, task, index, mode == Mode::Manual || checkpoints.contains(&index));
        if block_or_unblock(rows, frame, task, index, served) {
            blocked.push(index);
        }
    }
    let status = rows.task(task).map_or(status, |head| head.status);
    Ok(Reply::Executed { status, blocked })
}

fn hold_or_start(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, held: bool) {
    let Some(sub) = rows.subtask(task, index) else { return };
    let (state, pending) = (sub.state, sub.pending);
    if matches!(
        state,
        SubtaskState::Pending | SubtaskState::Ready | SubtaskState::Blocked | SubtaskState::Waiting
    ) && sub.held != held
    {
        rows.subtask_mut(task, index).held = held;
    }
    match state {
        SubtaskState::Pending if pending == 0 => arrive(rows, frame, task, index),
        SubtaskState::Ready | SubtaskState::Blocked if held => arrive(rows, frame, task, index),
        SubtaskState::Waiting if !held => release(rows, frame, task, index),
        SubtaskState::Ready | SubtaskState::Blocked => line_up(rows, frame, task, index),
        SubtaskState::Pending
        | SubtaskState::Waiting
        | SubtaskState::Leased
        | SubtaskState::Running
        | SubtaskState::Backoff
        | SubtaskState::NeedsReview
        | SubtaskState::Completed
        | SubtaskState::Failed
        | SubtaskState::Skipped
        | SubtaskState::Cancelled => {}
    }
}

/// Blocks what nobody can do and unblocks what somebody can; says whether it is blocked now.
fn block_or_unblock(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    served: &BTreeSet<RouteNo>,
) -> bool {
    let Some(sub) = rows.subtask(task, index) else { return false };
    match (sub.state, served.contains(&sub.route)) {
        (SubtaskState::Ready, false) => {
            block(rows, frame, task, index);
            true
        }
        (SubtaskState::Blocked, true) => {
            unblock(rows, frame, task, index);
            false
        }
        (state, _) => state == SubtaskState::Blocked,
    }
}

/// A ready subtask that no live worker can do becomes `blocked`: the alert is the event.
pub(crate) fn block(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    if rows.subtask(task, index).is_some_and(|sub| sub.state == SubtaskState::Ready && sub.queued.is_some()) {
        shift(rows, frame, task, index, Happening::Block);
        record_state(rows, frame, task, index, "no live worker can do it");
    }
}

/// A blocked subtask that somebody can do again is `ready`, in its old place in line.
pub(crate) fn unblock(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    if rows.subtask(task, index).is_some_and(|sub| sub.state == SubtaskState::Blocked) {
        shift(rows, frame, task, index, Happening::Unblock);
        record_state(rows, frame, task, index, "a capable worker registered");
        rows.fresh.push((task, index));
    }
}

/// No new leases; what runs may finish.
pub(crate) fn pause(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) -> Result<Reply, Reject> {
    let status = rows.task(task).ok_or(Reject::TaskUnknown)?.status;
    match status {
        TaskStatus::Paused => return Ok(Reply::Status(status)),
        TaskStatus::Planning | TaskStatus::Planned => return Err(Reject::TaskNotStarted(status)),
        TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => {
            return Err(Reject::TaskFinished(status));
        }
        TaskStatus::Running | TaskStatus::NeedsReview => {}
    }
    enter(rows, frame, task, TaskStatus::Paused, "");
    for index in 0..rows.task(task).map_or(0, |head| head.total) {
        line_up(rows, frame, task, index);
    }
    Ok(Reply::Status(TaskStatus::Paused))
}

/// Ends the task for good.
pub(crate) fn cancel(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    reason: &str,
) -> Result<Reply, Reject> {
    let status = rows.task(task).ok_or(Reject::TaskUnknown)?.status;
    match status {
        TaskStatus::Cancelled => {}
        TaskStatus::Completed | TaskStatus::Failed => return Err(Reject::TaskFinished(status)),
        TaskStatus::Planning
        | TaskStatus::Planned
        | TaskStatus::Running
        | TaskStatus::Paused
        | TaskStatus::NeedsReview => end_task(rows, frame, task, TaskStatus::Cancelled, reason),
    }
    Ok(Reply::Status(TaskStatus::Cancelled))
}

/// The task's deadline has passed.
pub(crate) fn deadline(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let Some(at) = rows.task(task).and_then(|head| head.wake_at) else { return };
    if at > frame.now {
        // Another clock thought that it was time.
        rows.push(Effect::Wake { at, wake: Wake::Task(task) });
    } else {
        end_task(rows, frame, task, TaskStatus::Failed, "its deadline has passed");
    }
}
