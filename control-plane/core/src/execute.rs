//! Starting, holding, pausing and cancelling a whole task.

use std::collections::BTreeSet;

use crate::{
    command::Reply,
    compensate,
    decide::work_off,
    effect::{Effect, Wake},
    flow::{Why, arrive, end_task, enter, line_up, plan, record_state, release, shift},
    id::{Index, RouteNo, TaskNo},
    nested,
    reject::Reject,
    rows::Rows,
    subtask::{Happening, Subtask, SubtaskState},
    task::{Course, Mode, TaskStatus},
    time::Frame,
};

/// Why a task has failed that nothing of it made fail.
const LATE: &str = "its deadline has passed";

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
    if head.course.end().is_none() {
        head.course = mode.into();
    }
    let manual = head.course == Course::Manual;
    head.started_at.get_or_insert(frame.now);
    let resumed = if head.in_review > 0 { TaskStatus::NeedsReview } else { TaskStatus::Running };
    if status == TaskStatus::Planned {
        enter(rows, frame, task, TaskStatus::Running, "");
    } else {
        enter(rows, frame, task, resumed, "");
    }
    let mut blocked = Vec::new();
    let total = rows.task(task).map_or(0, |head| head.total);
    for index in 0..total {
        hold_or_start(rows, frame, task, index, manual || checkpoints.contains(&index));
    }
    work_off(rows, frame);
    for index in 0..total {
        if block_or_unblock(rows, frame, task, index, served) {
            blocked.push(index);
        }
    }
    if status == TaskStatus::Paused {
        nested::pass_all(rows, frame, task);
    }
    let status = rows.task(task).map_or(status, |head| head.status);
    Ok(Reply::Executed { status, blocked })
}

fn hold_or_start(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, held: bool) {
    let does_work = plan(rows, task).node(index).is_some_and(|node| node.does.is_work());
    let Some(sub) = rows.subtask(task, index) else { return };
    let (state, was_held, held) = (sub.state, sub.held, held && does_work);
    let may_be_held = matches!(state, SubtaskState::Pending | SubtaskState::Ready | SubtaskState::Blocked);
    if may_be_held && was_held != held {
        rows.subtask_mut(task, index).held = held;
    }
    match state {
        SubtaskState::Pending => rows.undecided.push_back((task, index)),
        SubtaskState::Ready | SubtaskState::Blocked if held => arrive(rows, frame, task, index),
        SubtaskState::Waiting if was_held && !held => release(rows, frame, task, index, ""),
        SubtaskState::Ready | SubtaskState::Blocked => line_up(rows, frame, task, index),
        SubtaskState::Waiting
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
    let plan = plan(rows, task);
    // Whoever else may do it is asked after a while: the first one may be on its way.
    let falls_back = plan.node(index).is_some_and(|node| node.fallback_from(sub.route).is_some());
    match (sub.state, served.contains(&sub.route)) {
        (SubtaskState::Ready, false) if falls_back => false,
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
    let stuck = |sub: &&Subtask| sub.state == SubtaskState::Ready && sub.queued.is_some();
    let Some(route) = rows.subtask(task, index).filter(stuck).map(|sub| sub.route) else { return };
    let plan = plan(rows, task);
    if let Some(fallback) = plan.node(index).and_then(|node| node.fallback_from(route)) {
        rows.subtask_mut(task, index).route = fallback.route;
        rows.fresh.push((task, index));
        let reason = format!("no live worker can do it; falls back to `{}`", fallback.agent);
        record_state(rows, frame, task, index, Why::reason(&reason));
    } else {
        shift(rows, frame, task, index, Happening::Block);
        record_state(rows, frame, task, index, Why::reason("no live worker can do it"));
    }
}

/// A blocked subtask that somebody can do again is `ready`, in its old place in line.
pub(crate) fn unblock(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    if rows.subtask(task, index).is_some_and(|sub| sub.state == SubtaskState::Blocked) {
        shift(rows, frame, task, index, Happening::Unblock);
        record_state(rows, frame, task, index, Why::reason("a capable worker registered"));
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
    nested::pass_all(rows, frame, task);
    Ok(Reply::Status(TaskStatus::Paused))
}

/// Ends the task for good; with `compensate`, once what was done is undone.
pub(crate) fn cancel(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    reason: &str,
    compensate: bool,
) -> Result<Reply, Reject> {
    let head = rows.task(task).ok_or(Reject::TaskUnknown)?;
    let (status, undoes) = (head.status, head.course.end().is_some());
    match status {
        TaskStatus::Cancelled => {}
        TaskStatus::Completed | TaskStatus::Failed => return Err(Reject::TaskFinished(status)),
        TaskStatus::Planning
        | TaskStatus::Planned
        | TaskStatus::Running
        | TaskStatus::Paused
        | TaskStatus::NeedsReview => match head.started_at.filter(|_| compensate) {
            None => end_task(rows, frame, task, TaskStatus::Cancelled, reason),
            // What was done is being undone already; only what it ends as is another.
            Some(_) if head.course == Course::Failing => {
                let head = rows.task_mut(task);
                head.course = Course::Cancelling;
                reason.clone_into(&mut head.reason);
            }
            Some(_) if undoes => {}
            Some(_) => compensate::end(rows, frame, task, Course::Cancelling, reason),
        },
    }
    let status = rows.task(task).map_or(status, |head| head.status);
    Ok(Reply::Status(status))
}

/// The task's deadline has passed, what was done has to be undone, or somebody has to hear that it has ended.
pub(crate) fn deadline(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let Some(head) = rows.task(task) else { return };
    let Some(at) = head.wake_at else { return };
    if head.status.is_terminal() {
        nested::report(rows, frame, task);
    } else if compensate::is_due(rows, task) {
        compensate::begin(rows, frame, task);
    } else if at > frame.now {
        // Another clock thought that it was time.
        rows.push(Effect::Wake { at, wake: Wake::Task(task) });
    } else if rows.task(task).is_some_and(|head| head.started_at.is_some()) {
        compensate::end(rows, frame, task, Course::Failing, LATE);
    } else {
        end_task(rows, frame, task, TaskStatus::Failed, LATE);
    }
}
