//! What a person does with one subtask.

use crate::{
    command::{Action, Reply},
    flow::{self, record_state, shift, skip_downstream, unblock_dependents},
    id::{Index, RouteNo, TaskNo},
    reject::Reject,
    rows::Rows,
    subtask::{Happening, SubtaskState},
    time::Frame,
};

const UNHELD: &str = "wait until its worker is done, or cancel the task";

/// Applies one review action.
pub(crate) fn review(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    action: &Action,
) -> Result<Reply, Reject> {
    let state = state_of(rows, task, index)?;
    match action {
        Action::Retry => retry(rows, frame, task, index, state)?,
        Action::Release => release(rows, frame, task, index, state)?,
        Action::Skip { reason } => {
            decide(state, "skip")?;
            shift(rows, frame, task, index, Happening::Skip);
            record_state(rows, frame, task, index, reason);
            unblock_dependents(rows, frame, task, index);
        }
        Action::Fail { reason } => {
            decide(state, "fail")?;
            shift(rows, frame, task, index, Happening::Fail);
            record_state(rows, frame, task, index, reason);
            skip_downstream(rows, frame, task, index);
        }
        Action::Complete { output } => {
            decide(state, "complete")?;
            shift(rows, frame, task, index, Happening::Complete);
            rows.add_output(task, index, output.clone(), Vec::new());
            record_state(rows, frame, task, index, "completed by hand");
            unblock_dependents(rows, frame, task, index);
        }
    }
    state_of(rows, task, index).map(Reply::State)
}

/// Sends a subtask to another route by hand; one that nobody could do gets a new chance there.
pub(crate) fn route(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    route: RouteNo,
) -> Result<Reply, Reject> {
    let state = state_of(rows, task, index)?;
    if state.is_leased() || state.is_terminal() {
        return Err(Reject::SubtaskState { action: "route", state, hint: UNHELD });
    }
    rows.subtask_mut(task, index).route = route;
    if state == SubtaskState::Blocked {
        shift(rows, frame, task, index, Happening::Unblock);
    }
    record_state(rows, frame, task, index, "routed by hand");
    if rows.subtask(task, index).is_some_and(|sub| sub.queued.is_some()) {
        rows.fresh.push((task, index));
    }
    state_of(rows, task, index).map(Reply::State)
}

fn state_of(rows: &Rows, task: TaskNo, index: Index) -> Result<SubtaskState, Reject> {
    let head = rows.task(task).ok_or(Reject::TaskUnknown)?;
    if head.status.is_terminal() && rows.subtask(task, index).is_some_and(|sub| !sub.state.is_terminal()) {
        return Err(Reject::TaskFinished(head.status));
    }
    rows.subtask(task, index).map(|sub| sub.state).ok_or(Reject::SubtaskUnknown)
}

/// Skip, fail and complete are for what waits for somebody; a worker's own work is not taken from it.
fn decide(state: SubtaskState, action: &'static str) -> Result<(), Reject> {
    match state {
        SubtaskState::NeedsReview
        | SubtaskState::Blocked
        | SubtaskState::Ready
        | SubtaskState::Backoff
        | SubtaskState::Waiting => Ok(()),
        SubtaskState::Leased | SubtaskState::Running => {
            Err(Reject::SubtaskState { action, state, hint: UNHELD })
        }
        SubtaskState::Pending => {
            Err(Reject::SubtaskState { action, state, hint: "its dependencies come first" })
        }
        SubtaskState::Completed | SubtaskState::Failed | SubtaskState::Skipped | SubtaskState::Cancelled => {
            Err(Reject::SubtaskState { action, state, hint: "that is final" })
        }
    }
}

fn retry(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    state: SubtaskState,
) -> Result<(), Reject> {
    if !matches!(state, SubtaskState::NeedsReview | SubtaskState::Backoff) {
        let hint = "only one that needs review or backs off can be retried";
        return Err(Reject::SubtaskState { action: "retry", state, hint });
    }
    let sub = rows.subtask_mut(task, index);
    sub.failures = 0;
    sub.losses = 0;
    shift(rows, frame, task, index, Happening::Arrive);
    record_state(rows, frame, task, index, "retried by hand");
    Ok(())
}

fn release(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    state: SubtaskState,
) -> Result<(), Reject> {
    match state {
        SubtaskState::Waiting => {
            flow::release(rows, frame, task, index);
            Ok(())
        }
        SubtaskState::Pending => {
            rows.subtask_mut(task, index).held = false;
            Ok(())
        }
        SubtaskState::Ready
        | SubtaskState::Blocked
        | SubtaskState::Leased
        | SubtaskState::Running
        | SubtaskState::Backoff
        | SubtaskState::NeedsReview
        | SubtaskState::Completed
        | SubtaskState::Failed
        | SubtaskState::Skipped
        | SubtaskState::Cancelled => {
            let hint = "only one that is held can be released";
            Err(Reject::SubtaskState { action: "release", state, hint })
        }
    }
}
