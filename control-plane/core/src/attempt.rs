//! One execution under one lease: how it reports, and the ways it ends.

use crate::{
    command::{Verdict, WorkResult},
    decide,
    draft::{Does, OnFailure},
    effect::{Effect, Wake},
    event::{AttemptError, What},
    flow::{End, Why, arrive, cancel_below, end_lease, plan, revoke, shift, tell, wake_subtask},
    gate,
    id::{Index, LeaseAt, SessionNo, TaskNo},
    nested,
    rows::Rows,
    subtask::{Happening, Outcome, SubtaskState},
    time::Frame,
};

/// Whether the message comes under the current lease of a session that holds it.
fn verdict(rows: &Rows, at: LeaseAt, session: SessionNo, outcome: Outcome) -> Verdict {
    match rows.subtask(at.task, at.index) {
        Some(sub) if sub.lease == Some(at.lease) => match sub.session {
            Some(holder) if holder == session => Verdict::Accepted,
            None if sub.outcome == Some(outcome) => Verdict::Duplicate,
            Some(_) | None => Verdict::Stale,
        },
        Some(_) | None => Verdict::Stale,
    }
}

/// Whether the lease is the subtask's current one, whoever holds it.
fn is_current(rows: &Rows, at: LeaseAt) -> bool {
    rows.subtask(at.task, at.index).is_some_and(|sub| sub.lease == Some(at.lease) && sub.session.is_some())
}

/// A worker's result.
pub(crate) fn finish(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    session: SessionNo,
    result: &WorkResult,
) -> Verdict {
    let outcome = match result {
        WorkResult::Completed { .. } => Outcome::Completed,
        WorkResult::Failed { .. } => Outcome::Failed,
        WorkResult::Suspended => Outcome::Suspended,
    };
    let verdict = verdict(rows, at, session, outcome);
    if verdict != Verdict::Accepted {
        return verdict;
    }
    end_lease(rows, at.task, at.index, outcome);
    match result {
        WorkResult::Completed { output, artifacts } => {
            rows.add_output(at.task, at.index, output.clone(), artifacts.clone());
            if rows.subtask(at.task, at.index).is_some_and(|sub| sub.pending > 0) {
                // Its children have to end first; what it delivered is kept until then.
                suspend(rows, frame, at, outcome, "its children go on");
            } else {
                let state = shift(rows, frame, at.task, at.index, Happening::Complete);
                record_end(rows, frame, at, state, outcome, None, "");
                tell(rows, at.task, at.index, End::Succeeded);
            }
        }
        WorkResult::Suspended => suspend(rows, frame, at, outcome, "waits for its children"),
        WorkResult::Failed { error, retryable } => {
            fail(rows, frame, at, outcome, error.clone(), *retryable);
        }
    }
    verdict
}

/// The worker has given it back until its children have ended, which they may have already.
fn suspend(rows: &mut Rows, frame: &Frame<'_>, at: LeaseAt, outcome: Outcome, reason: &str) {
    let sub = rows.subtask_mut(at.task, at.index);
    // They may have ended just before. Whoever never has anything to wait for would go round for ever.
    sub.losses = if sub.pending > 0 { 0 } else { sub.losses + 1 };
    if sub.losses > frame.policy.losses_max {
        let reason = format!("it suspended {} times with nothing to wait for", sub.losses);
        return exhaust(rows, frame, at, outcome, None, &reason);
    }
    let state = shift(rows, frame, at.task, at.index, Happening::Suspend);
    record_end(rows, frame, at, state, outcome, None, reason);
    rows.undecided.push_back((at.task, at.index));
}

/// The worker has it in hand, and perhaps says how far it is.
pub(crate) fn report(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    session: SessionNo,
    message: Option<&str>,
) -> Verdict {
    if verdict(rows, at, session, Outcome::Completed) != Verdict::Accepted {
        return Verdict::Stale;
    }
    let sub = rows.subtask(at.task, at.index).expect("checked above");
    if sub.state == SubtaskState::Leased {
        let wake_at = sub.wake_at;
        shift(rows, frame, at.task, at.index, Happening::Start);
        rows.subtask_mut(at.task, at.index).wake_at = wake_at;
        rows.record(
            frame,
            at.task,
            What::Subtask {
                index: at.index,
                state: SubtaskState::Running,
                reason: String::new(),
                code: String::new(),
                by: String::new(),
            },
        );
    }
    if let Some(message) = message {
        let what = What::Progress { index: at.index, lease: at.lease, message: message.to_owned() };
        rows.record(frame, at.task, what);
    }
    Verdict::Accepted
}

/// Nobody took it up: back in line, as if it had never been handed out.
pub(crate) fn hand_back(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    session: SessionNo,
    connection: u32,
) {
    if is_current(rows, at) && rows.session(session).is_some_and(|row| row.connection == connection) {
        revoke(rows, at.task, at.index, Outcome::Lost);
        rows.subtask_mut(at.task, at.index).attempts -= 1;
        shift(rows, frame, at.task, at.index, Happening::Requeue);
        rows.record(frame, at.task, What::Returned { index: at.index, lease: at.lease });
    }
}

/// The worker is gone. Not the subtask's fault: the next worker gets it at once, unless this keeps happening.
pub(crate) fn lose(rows: &mut Rows, frame: &Frame<'_>, at: LeaseAt) {
    if !is_current(rows, at) {
        return;
    }
    revoke(rows, at.task, at.index, Outcome::Lost);
    let sub = rows.subtask_mut(at.task, at.index);
    sub.losses += 1;
    if sub.losses > frame.policy.losses_max {
        let reason = format!("{} workers were lost while they had it", sub.losses);
        return exhaust(rows, frame, at, Outcome::Lost, None, &reason);
    }
    let state = shift(rows, frame, at.task, at.index, Happening::Requeue);
    record_end(rows, frame, at, state, Outcome::Lost, None, "its worker was lost");
}

/// The agent promised to be heard of and was not.
pub(crate) fn silence(rows: &mut Rows, frame: &Frame<'_>, at: LeaseAt) {
    if is_current(rows, at) {
        time_out(rows, frame, at, "HEARTBEAT_TIMEOUT", "no progress was reported for longer than agreed");
    }
}

/// A subtask's timer: its backoff is over, or its SLA.
pub(crate) fn wake(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let Some(sub) = rows.subtask(task, index) else { return };
    let Some(at) = sub.wake_at else { return };
    if at > frame.now {
        // Another clock thought that it was time.
        rows.push(Effect::Wake { at, wake: Wake::Subtask(task, index) });
        return;
    }
    let state = sub.state;
    if state == SubtaskState::Backoff {
        let plan = plan(rows, task);
        match plan.node(index).map(|node| &node.does) {
            Some(Does::Workflow(call)) => nested::begin(rows, frame, &plan, task, index, call),
            Some(_) | None => arrive(rows, frame, task, index),
        }
    } else if state.is_terminal() {
        nested::attend(rows, frame, task, index);
    } else if matches!(state, SubtaskState::Pending | SubtaskState::Waiting) {
        let does = plan(rows, task).node(index).map(|node| node.does.map_body(|_| ()));
        match does {
            Some(Does::Approval(_) | Does::Signal(_) | Does::Timer(_)) if state == SubtaskState::Waiting => {
                gate::time_over(rows, frame, task, index);
            }
            Some(_) | None => decide::decide(rows, frame, task, index),
        }
    } else if let Some(lease) = sub.lease.filter(|_| sub.state.is_leased()) {
        let at = LeaseAt { task, index, lease };
        time_out(rows, frame, at, "SLA_TIMEOUT", "not finished within its SLA (start to close)");
    }
}

fn time_out(rows: &mut Rows, frame: &Frame<'_>, at: LeaseAt, code: &str, message: &str) {
    revoke(rows, at.task, at.index, Outcome::TimedOut);
    let error = AttemptError { code: code.to_owned(), message: message.to_owned() };
    fail(rows, frame, at, Outcome::TimedOut, error, true);
}

/// Uses up an attempt: another one after a wait, or a person decides.
fn fail(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    outcome: Outcome,
    error: AttemptError,
    retryable: bool,
) {
    let plan = plan(rows, at.task);
    let node = plan.node(at.index);
    let attempts_max = node.map_or(frame.policy.attempts_max, |node| node.attempts_max);
    let retry = node.map(|node| node.retry.clone()).unwrap_or_default();
    let retryable = retryable && !retry.non_retryable.contains(&error.code);
    let sub = rows.subtask_mut(at.task, at.index);
    sub.failures += 1;
    let failures = sub.failures;
    let (state, reason) = if retryable && failures < attempts_max {
        let state = shift(rows, frame, at.task, at.index, Happening::BackOff);
        let wait = frame.policy.backoff_ms(&retry, failures, at.lease.0);
        wake_subtask(rows, at.task, at.index, frame.now.plus_ms(wait));
        (state, format!("attempt {failures} of {attempts_max}; next in {wait} ms"))
    } else {
        let reason = if retryable {
            format!("all {attempts_max} attempts are used up")
        } else {
            "trying again is no use".to_owned()
        };
        return exhaust(rows, frame, at, outcome, Some(error), &reason);
    };
    record_end(rows, frame, at, state, outcome, Some(error), &reason);
}

/// No further attempt: a person decides, or the subtask has failed, as its plan says.
fn exhaust(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    outcome: Outcome,
    error: Option<AttemptError>,
    reason: &str,
) {
    let plan = plan(rows, at.task);
    let Some(node) = plan.node(at.index) else { return };
    let sub = rows.subtask_mut(at.task, at.index);
    if let Some(fallback) = node.fallback_from(sub.route) {
        sub.route = fallback.route;
        (sub.failures, sub.losses) = (0, 0);
        let state = shift(rows, frame, at.task, at.index, Happening::Requeue);
        let reason = format!("{reason}; falls back to `{}`", fallback.agent);
        return record_end(rows, frame, at, state, outcome, error, &reason);
    }
    match node.on_failure {
        OnFailure::Review => {
            let state = shift(rows, frame, at.task, at.index, Happening::Exhaust);
            record_end(rows, frame, at, state, outcome, error, reason);
        }
        OnFailure::Fail => {
            let state = shift(rows, frame, at.task, at.index, Happening::Fail);
            record_end(rows, frame, at, state, outcome, error, reason);
            cancel_below(rows, frame, at.task, at.index, Why::reason("what it belongs to has failed"));
            tell(rows, at.task, at.index, End::Failed);
        }
    }
}

fn record_end(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    state: SubtaskState,
    outcome: Outcome,
    error: Option<AttemptError>,
    reason: &str,
) {
    let attempt = rows.subtask(at.task, at.index).map_or(0, |sub| sub.attempts);
    let (index, lease, reason) = (at.index, at.lease, reason.to_owned());
    rows.record(frame, at.task, What::Ended { index, state, lease, attempt, outcome, error, reason });
}
