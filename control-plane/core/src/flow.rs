//! How a subtask moves, and what its movement does to its task and its dependents. Every change of a
//! state goes through [`shift`], so counters and queue places cannot drift.

use crate::{
    effect::{Effect, Wake},
    event::What,
    id::{Index, LeaseAt, TaskNo},
    rows::Rows,
    subtask::{Happening, Outcome, SubtaskState},
    task::TaskStatus,
    time::{Frame, Time},
};

/// Moves one subtask along the table, and keeps its task's counters and its place in line true.
///
/// # Panics
/// When the table has no such transition: callers refuse first.
pub(crate) fn shift(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    happening: Happening,
) -> SubtaskState {
    let sub = rows.subtask_mut(task, index);
    let before = sub.state;
    let next = before
        .next(happening)
        .unwrap_or_else(|| panic!("no transition from {} by {happening:?}", before.word()));
    sub.state = next;
    sub.since = frame.now;
    sub.wake_at = None;
    let head = rows.task_mut(task);
    head.in_review += u32::from(next == SubtaskState::NeedsReview);
    head.in_review -= u32::from(before == SubtaskState::NeedsReview);
    head.failed += u32::from(next == SubtaskState::Failed);
    head.unfinished -= u32::from(next.is_terminal());
    line_up(rows, frame, task, index);
    next
}

/// Gives a place in line to what may be leased, and takes it from what may not.
pub(crate) fn line_up(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let dispatching = rows.task(task).is_some_and(|head| head.status.is_dispatching());
    let Some(sub) = rows.subtask(task, index) else { return };
    let belongs = sub.state.is_ready() && dispatching;
    match (belongs, sub.queued) {
        (true, None) => {
            rows.subtask_mut(task, index).queued = Some(frame.stamp());
            rows.fresh.push((task, index));
        }
        (false, Some(_)) => rows.subtask_mut(task, index).queued = None,
        (true, Some(_)) | (false, None) => {}
    }
}

/// A subtask's dependencies are done: it starts, or waits to be released.
pub(crate) fn arrive(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let held = rows.subtask(task, index).is_some_and(|sub| sub.held);
    if held {
        shift(rows, frame, task, index, Happening::Hold);
        record_state(rows, frame, task, index, "held until it is released");
    } else {
        shift(rows, frame, task, index, Happening::Arrive);
    }
}

/// Lets a subtask that waits to be released go on.
pub(crate) fn release(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    rows.subtask_mut(task, index).held = false;
    shift(rows, frame, task, index, Happening::Arrive);
    record_state(rows, frame, task, index, "released");
}

/// Tells the dependents that one more dependency is done.
pub(crate) fn unblock_dependents(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let plan = rows.plan(task).expect("a loaded subtask has its plan");
    for &dependent in plan.dependents(index) {
        let sub = rows.subtask_mut(task, dependent);
        sub.pending = sub.pending.checked_sub(1).expect("a dependency finishes once");
        if sub.pending == 0 && sub.state == SubtaskState::Pending {
            arrive(rows, frame, task, dependent);
        }
    }
}

/// Skips all that cannot run any more because this subtask failed for good.
pub(crate) fn skip_downstream(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let plan = rows.plan(task).expect("a loaded subtask has its plan");
    let mut todo = vec![index];
    while let Some(from) = todo.pop() {
        for &dependent in plan.dependents(from) {
            if rows.subtask(task, dependent).is_some_and(|sub| sub.state == SubtaskState::Pending) {
                shift(rows, frame, task, dependent, Happening::Skip);
                let key = plan.node(from).map_or("", |node| node.key.as_str());
                record_state(rows, frame, task, dependent, &format!("`{key}` did not succeed"));
                todo.push(dependent);
            }
        }
    }
}

/// Ends the current lease: the row forgets its session and keeps how it ended.
pub(crate) fn end_lease(rows: &mut Rows, task: TaskNo, index: Index, outcome: Outcome) {
    let sub = rows.subtask_mut(task, index);
    sub.session = None;
    sub.outcome = Some(outcome);
}

/// Ends the current lease from outside; its session is told to stop.
pub(crate) fn revoke(rows: &mut Rows, task: TaskNo, index: Index, outcome: Outcome) {
    let sub = rows.subtask(task, index).expect("revoked subtasks are loaded");
    if let (Some(session), Some(lease)) = (sub.session, sub.lease) {
        rows.push(Effect::Revoke { session, at: LeaseAt { task, index, lease }, outcome });
    }
    end_lease(rows, task, index, outcome);
}

/// Arms a subtask's one timer.
pub(crate) fn wake_subtask(rows: &mut Rows, task: TaskNo, index: Index, at: Time) {
    rows.subtask_mut(task, index).wake_at = Some(at);
    rows.push(Effect::Wake { at, wake: Wake::Subtask(task, index) });
}

/// Writes down the state a subtask is in.
pub(crate) fn record_state(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, reason: &str) {
    let state = rows.subtask(task, index).expect("recorded subtasks are loaded").state;
    rows.record(frame, task, What::Subtask { index, state, reason: reason.to_owned() });
}

/// Brings the task's status in line with its counters.
pub(crate) fn settle(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    if let Some(head) = rows.task(task) {
        let due = head.due_status();
        enter(rows, frame, task, due, "");
    }
}

/// Moves the task into a status, if it is not there.
///
/// # Panics
/// When the table has no such transition: callers refuse first.
pub(crate) fn enter(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, status: TaskStatus, reason: &str) {
    let head = rows.task_mut(task);
    if head.status == status {
        return;
    }
    assert!(head.status.may_become(status), "no transition from {} to {}", head.status.word(), status.word());
    head.status = status;
    if !reason.is_empty() {
        head.reason = reason.to_owned();
    }
    if status.is_terminal() {
        head.ended_at = Some(frame.now);
    }
    if let Some(at) = head.run_clock(frame.now) {
        rows.push(Effect::Wake { at, wake: Wake::Task(task) });
    }
    rows.record(frame, task, What::Task { status, reason: reason.to_owned() });
}

/// Ends the task at once: whatever is unfinished is cancelled, whoever works on it is told.
pub(crate) fn end_task(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, status: TaskStatus, reason: &str) {
    let plan = rows.plan(task).expect("a loaded task has its plan");
    for index in (0..).take(plan.nodes().len()) {
        let Some(sub) = rows.subtask(task, index) else { continue };
        let (state, lease, attempt) = (sub.state, sub.lease, sub.attempts);
        if state.is_terminal() {
            continue;
        }
        if state.is_leased() {
            revoke(rows, task, index, Outcome::Cancelled);
        }
        let state_after = shift(rows, frame, task, index, Happening::Cancel);
        match lease.filter(|_| state.is_leased()) {
            Some(lease) => rows.record(
                frame,
                task,
                What::Ended {
                    index,
                    state: state_after,
                    lease,
                    attempt,
                    outcome: Outcome::Cancelled,
                    error: None,
                    reason: reason.to_owned(),
                },
            ),
            None => record_state(rows, frame, task, index, reason),
        }
    }
    enter(rows, frame, task, status, reason);
}
