//! What a person does with one subtask.

use crate::{
    command::{Action, Reply},
    draft::Does,
    flow::{self, Why, cancel_below, plan, record_state, shift},
    id::{Index, RouteNo, TaskNo},
    reject::Reject,
    rerun,
    rows::Rows,
    subtask::{Happening, Outcome, SubtaskState},
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
    by: &str,
) -> Result<Reply, Reject> {
    let state = state_of(rows, task, index)?;
    let below = Why::reason("what it belongs to was decided");
    match action {
        Action::Retry => retry(rows, frame, task, index, state, by)?,
        Action::Release => release(rows, frame, task, index, state, by)?,
        Action::Skip { reason } => {
            decide(rows, task, index, state, "skip")?;
            cancel_below(rows, frame, task, index, below);
            flow::skip(rows, frame, task, index, true, Why { reason, by, ..Why::default() });
        }
        Action::Fail { reason } => {
            decide(rows, task, index, state, "fail")?;
            cancel_below(rows, frame, task, index, below);
            flow::fail(rows, frame, task, index, Why { reason, by, ..Why::default() });
        }
        Action::Complete { output } => {
            decide(rows, task, index, state, "complete")?;
            cancel_below(rows, frame, task, index, below);
            let why = Why { reason: "completed by hand", by, ..Why::default() };
            flow::complete(rows, frame, task, index, output.clone(), why);
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
    if !plan(rows, task).node(index).is_some_and(|node| node.does.is_work()) {
        return Err(Reject::SubtaskState { action: "route", state, hint: "no worker does it" });
    }
    rows.subtask_mut(task, index).route = route;
    if state == SubtaskState::Blocked {
        shift(rows, frame, task, index, Happening::Unblock);
    }
    record_state(rows, frame, task, index, Why::reason("routed by hand"));
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
fn decide(
    rows: &Rows,
    task: TaskNo,
    index: Index,
    state: SubtaskState,
    action: &'static str,
) -> Result<(), Reject> {
    let refused = |hint| Err(Reject::SubtaskState { action, state, hint });
    let delivered = rows.subtask(task, index).is_some_and(|sub| sub.outcome == Some(Outcome::Completed));
    let asks = plan(rows, task).node(index).is_some_and(|node| matches!(node.does, Does::Approval(_)));
    match state {
        SubtaskState::Waiting if asks => refused("it is for its approvers: decide it"),
        SubtaskState::NeedsReview if asks && action != "fail" => {
            refused("it is for its approvers: retry it, so that they are asked again")
        }
        SubtaskState::Waiting if delivered => refused("its worker has delivered, and its children go on"),
        SubtaskState::NeedsReview
        | SubtaskState::Blocked
        | SubtaskState::Ready
        | SubtaskState::Backoff
        | SubtaskState::Waiting => Ok(()),
        SubtaskState::Leased | SubtaskState::Running => refused(UNHELD),
        SubtaskState::Pending => refused("its dependencies come first"),
        SubtaskState::Completed | SubtaskState::Failed | SubtaskState::Skipped | SubtaskState::Cancelled => {
            refused("that is final")
        }
    }
}

fn retry(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    state: SubtaskState,
    by: &str,
) -> Result<(), Reject> {
    if !matches!(state, SubtaskState::NeedsReview | SubtaskState::Backoff) {
        let hint = "only one that needs review or backs off can be retried";
        return Err(Reject::SubtaskState { action: "retry", state, hint });
    }
    let plan = plan(rows, task);
    let Some(node) = plan.node(index) else { return Err(Reject::SubtaskUnknown) };
    let settled = rerun::settled(rows, task, node.depends_on.iter().copied());
    let sub = rows.subtask_mut(task, index);
    sub.failures = 0;
    sub.losses = 0;
    let why = Why { reason: "retried by hand", by, ..Why::default() };
    // One that no worker ever had is decided about as it was at first.
    if sub.attempts == 0 || !node.does.is_work() {
        (sub.pending, sub.failed, sub.skipped) = settled;
        shift(rows, frame, task, index, Happening::Reopen);
        record_state(rows, frame, task, index, why);
        rows.undecided.push_back((task, index));
    } else {
        shift(rows, frame, task, index, Happening::Arrive);
        record_state(rows, frame, task, index, why);
    }
    Ok(())
}

fn release(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    state: SubtaskState,
    by: &str,
) -> Result<(), Reject> {
    let held = rows.subtask(task, index).is_some_and(|sub| sub.held);
    match state {
        SubtaskState::Waiting if held => {
            flow::release(rows, frame, task, index, by);
            Ok(())
        }
        SubtaskState::Pending => {
            rows.subtask_mut(task, index).held = false;
            Ok(())
        }
        SubtaskState::Waiting
        | SubtaskState::Ready
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
