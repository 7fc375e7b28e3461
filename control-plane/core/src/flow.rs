//! How a subtask moves, and what its movement does to its task, to those that wait for it, and to the group it
//! belongs to. Every change of a state goes through [`shift`], so counters and queue places cannot drift.

use crate::{
    compensate,
    draft::Does,
    effect::{Effect, Wake},
    event::What,
    id::{Index, LeaseAt, TaskNo},
    nested,
    plan::Plan,
    rows::Rows,
    subtask::{Happening, Outcome, SubtaskState},
    task::{Course, TaskStatus},
    time::{Frame, Time},
};

/// How a subtask ended, to those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Completed, or a person went on without it.
    Succeeded,
    Failed,
    Skipped,
}

/// Why something was decided, and by whom; what is empty is not said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Why<'a> {
    /// UPPER_SNAKE_CASE.
    pub(crate) code: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) by: &'a str,
}

impl<'a> Why<'a> {
    pub(crate) fn reason(reason: &'a str) -> Why<'a> {
        Why { reason, ..Why::default() }
    }

    pub(crate) fn coded(code: &'a str, reason: &'a str) -> Why<'a> {
        Why { code, reason, by: "" }
    }
}

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
    let plan = plan(rows, task);
    let asks = plan.node(index).is_some_and(|node| matches!(node.does, Does::Approval(_)));
    let fatal = next == SubtaskState::Failed && plan.is_fatal(index);
    let head = rows.task_mut(task);
    head.in_review += u32::from(next == SubtaskState::NeedsReview);
    head.in_review -= u32::from(before == SubtaskState::NeedsReview);
    head.asking += u32::from(asks && next == SubtaskState::Waiting);
    head.asking -= u32::from(asks && before == SubtaskState::Waiting);
    head.failed += u32::from(fatal);
    head.unfinished -= u32::from(next.is_terminal());
    line_up(rows, frame, task, index);
    if before == SubtaskState::Waiting && next.is_terminal() {
        // The task that it is ends with it.
        nested::attend(rows, frame, task, index);
    }
    next
}

/// The plan of a task that something was loaded of.
pub(crate) fn plan(rows: &Rows, task: TaskNo) -> std::sync::Arc<Plan> {
    rows.plan(task).expect("a loaded task has its plan")
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

/// A worker may have it: it starts, or waits to be released.
pub(crate) fn arrive(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let held = rows.subtask(task, index).is_some_and(|sub| sub.held);
    if held {
        shift(rows, frame, task, index, Happening::Hold);
        record_state(rows, frame, task, index, Why::reason("held until it is released"));
    } else {
        shift(rows, frame, task, index, Happening::Arrive);
    }
}

/// Lets a subtask that waits to be released go on.
pub(crate) fn release(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, by: &str) {
    rows.subtask_mut(task, index).held = false;
    shift(rows, frame, task, index, Happening::Arrive);
    record_state(rows, frame, task, index, Why { reason: "released", by, ..Why::default() });
}

/// Ends a subtask without a worker, with what it delivered.
pub(crate) fn complete(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    output: bytes::Bytes,
    why: Why<'_>,
) {
    shift(rows, frame, task, index, Happening::Complete);
    rows.add_output(task, index, output, Vec::new());
    record_state(rows, frame, task, index, why);
    tell(rows, task, index, End::Succeeded);
}

/// Ends a subtask as skipped. `waived`: a person went on without it.
pub(crate) fn skip(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    waived: bool,
    why: Why<'_>,
) {
    shift(rows, frame, task, index, Happening::Skip);
    if waived {
        rows.subtask_mut(task, index).waived = true;
    }
    record_state(rows, frame, task, index, why);
    tell(rows, task, index, if waived { End::Succeeded } else { End::Skipped });
}

/// Ends a subtask as failed.
pub(crate) fn fail(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, why: Why<'_>) {
    shift(rows, frame, task, index, Happening::Fail);
    record_state(rows, frame, task, index, why);
    tell(rows, task, index, End::Failed);
}

/// Tells those that wait for a subtask that it has ended: what depends on it, and the group it belongs to. What
/// belongs to it ends with it.
pub(crate) fn tell(rows: &mut Rows, task: TaskNo, index: Index, end: End) {
    let plan = plan(rows, task);
    for &dependent in plan.dependents(index) {
        if count(rows, task, dependent, end) == 0 || end != End::Succeeded {
            rows.undecided.push_back((task, dependent));
        }
    }
    let Some(parent) = plan.node(index).and_then(|node| node.parent) else { return };
    if plan.is_replaced(index) {
        return;
    }
    let handled = end == End::Failed && plan.handles_failure_of(index);
    count(rows, task, parent, if handled { End::Succeeded } else { end });
    if rows.subtask(task, parent).is_some_and(|group| group.state == SubtaskState::Waiting) {
        rows.undecided.push_back((task, parent));
    }
}

/// Gives how many are still waited for.
fn count(rows: &mut Rows, task: TaskNo, waiting: Index, end: End) -> u32 {
    let sub = rows.subtask_mut(task, waiting);
    sub.pending = sub.pending.checked_sub(1).expect("what is waited for ends once");
    sub.failed += u32::from(end == End::Failed);
    sub.skipped += u32::from(end == End::Skipped);
    sub.pending
}

/// Cancels what belongs to a subtask and has not ended. Nobody is told: the subtask itself ends, or begins anew.
pub(crate) fn cancel_below(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, why: Why<'_>) {
    for below in plan(rows, task).descendants(index) {
        cancel_one(rows, frame, task, below, why);
    }
}

/// Cancels one subtask, if it has not ended; whoever works on it is told.
pub(crate) fn cancel_one(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, why: Why<'_>) {
    let Some(sub) = rows.subtask(task, index) else { return };
    let (before, lease, attempt) = (sub.state, sub.lease, sub.attempts);
    if before.is_terminal() {
        return;
    }
    if before.is_leased() {
        revoke(rows, task, index, Outcome::Cancelled);
    }
    let state = shift(rows, frame, task, index, Happening::Cancel);
    let Some(lease) = lease.filter(|_| before.is_leased()) else {
        return record_state(rows, frame, task, index, why);
    };
    let (outcome, reason) = (Outcome::Cancelled, why.reason.to_owned());
    rows.record(frame, task, What::Ended { index, state, lease, attempt, outcome, error: None, reason });
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
pub(crate) fn record_state(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, why: Why<'_>) {
    let state = rows.subtask(task, index).expect("recorded subtasks are loaded").state;
    let Why { code, reason, by } = why;
    let (code, reason, by) = (code.to_owned(), reason.to_owned(), by.to_owned());
    rows.record(frame, task, What::Subtask { index, state, reason, code, by });
}

/// Brings the task's status in line with its counters, and its clock with who is waited for.
pub(crate) fn settle(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let Some(head) = rows.task(task) else { return };
    let due = head.due_status();
    if compensate::is_due(rows, task) {
        return compensate::ask(rows, frame, task);
    }
    let decided = head.course.end().filter(|end| *end == due);
    let reason = decided.map_or_else(String::new, |_| head.reason.clone());
    enter(rows, frame, task, due, &reason);
    if rows.task(task).is_some_and(|head| head.deadline.is_some()) {
        run_clock(rows, frame, task);
    }
}

/// Moves the task into a status, if it is not there.
///
/// # Panics
/// When the table has no such transition: callers refuse first.
pub(crate) fn enter(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, status: TaskStatus, reason: &str) {
    let Some(head) = rows.task(task).filter(|head| head.status != status) else { return };
    assert!(head.status.may_become(status), "no transition from {} to {}", head.status.word(), status.word());
    let head = rows.task_mut(task);
    head.status = status;
    if !reason.is_empty() {
        head.reason = reason.to_owned();
    }
    if status.is_terminal() {
        head.ended_at = Some(frame.now);
        if head.course.end().is_some() {
            head.course = Course::Auto;
        }
        // Also what was to be undone is not: nothing is left to be woken for.
        head.wake_at = None;
    }
    run_clock(rows, frame, task);
    rows.record(frame, task, What::Task { status, reason: reason.to_owned() });
    nested::report(rows, frame, task);
}

fn run_clock(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    if let Some(at) = rows.task_mut(task).run_clock(frame.now) {
        rows.push(Effect::Wake { at, wake: Wake::Task(task) });
    }
}

/// Ends the task at once: whatever is unfinished is cancelled, whoever works on it is told.
pub(crate) fn end_task(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, status: TaskStatus, reason: &str) {
    for index in 0..plan(rows, task).len() {
        cancel_one(rows, frame, task, index, Why::reason(reason));
    }
    enter(rows, frame, task, status, reason);
}
