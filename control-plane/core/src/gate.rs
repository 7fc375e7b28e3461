//! Gates: subtasks that wait for people, a signal or a time. No worker is held, and nothing is asked of the database
//! while they wait.

use bytes::Bytes;
use serde_json::json;

use crate::{
    command::{Decision, Reply, Sent},
    decide::{give_up, output, scope},
    draft::{Approval, Choice, Does, OnTimeout, SignalGate, Then, Timer},
    event::What,
    expr,
    flow::{self, Why, complete, plan, record_state, shift, skip, wake_subtask},
    id::{Index, TaskNo},
    limits,
    note::{self, Gate, NoteKey, Signal, Signals, Vote},
    plan::Plan,
    reject::Reject,
    rows::Rows,
    snapshot,
    subtask::{Happening, SubtaskState},
    time::Frame,
};

/// Ids of signals that are remembered of one task, so that repeats are recognised.
const SEEN: usize = 200;

/// What is to be approved, by which a decision names it: the same for the same question about the same inputs.
pub fn digest<'a>(
    node_id: &str,
    input: Option<&str>,
    outputs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("downbeat 2026 approval 1");
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(node_id.as_bytes());
    part(input.unwrap_or_default().as_bytes());
    for (name, body) in outputs {
        part(name.as_bytes());
        part(body);
    }
    hasher.finalize().to_hex().to_string()
}

pub(crate) fn open_approval(
    rows: &mut Rows,
    frame: &Frame<'_>,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    approval: &Approval,
) {
    let Some(node) = plan.node(index) else { return };
    let input = plan.input(index).map(|input| input.get());
    let outputs = node.depends_on.iter().map(|&on| (plan.name_for(index, on), output(rows, task, on)));
    let gate = Gate { digest: digest(&node.id, input, outputs), ..Gate::default() };
    note::put(rows, task, NoteKey::Gate(index), &gate);
    snapshot::keep(rows, frame, task, &format!("before {}", node.key));
    shift(rows, frame, task, index, Happening::Hold);
    arm(rows, frame, task, index, approval.timeout_seconds);
    record_state(rows, frame, task, index, Why::coded("APPROVAL_ASKED", &approval.message));
}

pub(crate) fn open_signal(
    rows: &mut Rows,
    frame: &Frame<'_>,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    gate: &SignalGate,
) {
    shift(rows, frame, task, index, Happening::Hold);
    arm(rows, frame, task, index, gate.timeout_seconds);
    record_state(rows, frame, task, index, Why::reason(&format!("waits for the signal `{}`", gate.name)));
    let mut signals: Signals = note::get(rows, task, NoteKey::Signals).unwrap_or_default();
    let mut steps = limits::SIGNAL_STEPS;
    let matching = |signal: &Signal| matches(rows, plan, task, index, gate, signal, &mut steps);
    if let Some(at) = signals.waiting.iter().position(matching) {
        let signal = signals.waiting.remove(at);
        note::put(rows, task, NoteKey::Signals, &signals);
        take(rows, frame, task, index, &signal);
    }
}

pub(crate) fn open_timer(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, timer: Timer) {
    let at = match timer {
        Timer::Seconds(seconds) => frame.now.plus_ms(u64::from(seconds) * 1_000),
        Timer::Until(at) => at,
    };
    shift(rows, frame, task, index, Happening::Hold);
    if at <= frame.now {
        return complete(rows, frame, task, index, Bytes::new(), Why::reason("its time has come"));
    }
    wake_subtask(rows, task, index, at);
    record_state(rows, frame, task, index, Why::reason("waits for its time"));
}

/// The time of a gate is over.
pub(crate) fn time_over(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let plan = plan(rows, task);
    let Some(node) = plan.node(index) else { return };
    match &node.does {
        Does::Timer(_) => complete(rows, frame, task, index, Bytes::new(), Why::reason("its time has come")),
        Does::Approval(approval) => escalate(rows, frame, task, index, approval),
        Does::Signal(gate) => {
            let reason = format!("the signal `{}` did not come in time", gate.name);
            give_up(rows, frame, task, index, Why::coded("EXPIRED", &reason));
        }
        Does::Work | Does::Workflow(_) | Does::Group(_) | Does::Map(_) | Does::Loop(_) | Does::Round => {}
    }
}

/// Nobody of this level decided in time: the next one is asked too, or it has expired.
fn escalate(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, approval: &Approval) {
    let mut gate: Gate = note::get(rows, task, NoteKey::Gate(index)).unwrap_or_default();
    gate.level += 1;
    if gate.level < approval.approvers.len() {
        note::put(rows, task, NoteKey::Gate(index), &gate);
        rows.subtask_mut(task, index).wake_at = None;
        arm(rows, frame, task, index, approval.timeout_seconds);
        let reason =
            format!("not decided in time; level {} of {} is asked", gate.level + 1, approval.approvers.len());
        return record_state(rows, frame, task, index, Why::coded("ESCALATED", &reason));
    }
    let then = match approval.on_timeout {
        OnTimeout::Fail => None,
        OnTimeout::Approve => Some(Then::Complete),
        OnTimeout::Reject => Some(Then::Fail),
    };
    match then.and_then(|then| approval.options.iter().find(|option| option.then == then)) {
        None => {
            let why = Why::coded("EXPIRED", "nobody decided in time");
            give_up(rows, frame, task, index, why);
        }
        Some(option) => {
            let reason = format!("nobody decided in time, so it counts as `{}`", option.name);
            settle(rows, frame, task, index, option, true, &gate.votes, Why::coded("EXPIRED", &reason));
        }
    }
}

/// What somebody chose.
pub(crate) fn decide(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    decision: &Decision,
) -> Result<Reply, Reject> {
    let head = rows.task(task).ok_or(Reject::TaskUnknown)?;
    let state = rows.subtask(task, index).map(|sub| sub.state).ok_or(Reject::SubtaskUnknown)?;
    let (ended, plan) = (head.status.is_terminal().then_some(head.status), plan(rows, task));
    let Some(Does::Approval(approval)) = plan.node(index).map(|node| &node.does) else {
        return Err(Reject::SubtaskState { action: "decide", state, hint: "it is no approval" });
    };
    let mut gate: Gate = note::get(rows, task, NoteKey::Gate(index)).unwrap_or_default();
    let again = |vote: &Vote| vote.by == decision.by && vote.option == decision.option;
    if gate.digest == decision.digest && gate.votes.iter().any(again) {
        return Ok(Reply::State(state));
    }
    if let Some(status) = ended {
        return Err(Reject::TaskFinished(status));
    }
    if state != SubtaskState::Waiting {
        let hint = if state.is_terminal() { "that is final" } else { "it is not open" };
        return Err(Reject::SubtaskState { action: "decide", state, hint });
    }
    if gate.digest != decision.digest {
        return Err(Reject::DigestMismatch { digest: gate.digest, got: decision.digest.clone() });
    }
    let asked = &approval.approvers[..approval.approvers.len().min(gate.level + 1)];
    let may = |level: &crate::draft::Approvers| {
        level.names.contains(&decision.by) || level.roles.iter().any(|role| decision.roles.contains(role))
    };
    if !asked.is_empty() && !asked.iter().any(may) {
        return Err(Reject::NotAnApprover(decision.by.clone()));
    }
    let Some(option) = approval.options.iter().find(|option| option.name == decision.option) else {
        let known: Vec<&str> = approval.options.iter().map(|option| option.name.as_str()).collect();
        return Err(Reject::OptionUnknown { got: decision.option.clone(), known: known.join(", ") });
    };
    gate.votes.retain(|vote| vote.by != decision.by);
    gate.votes.push(Vote {
        by: decision.by.clone(),
        option: decision.option.clone(),
        comment: decision.comment.clone(),
        at: frame.now,
    });
    note::put(rows, task, NoteKey::Gate(index), &gate);
    let Decision { by, option: chosen, comment, .. } = decision.clone();
    rows.record(frame, task, What::Voted { index, option: chosen, by, comment });
    let agree = gate.votes.iter().filter(|vote| vote.option == option.name).count() as u64;
    if agree >= u64::from(approval.quorum) {
        let code = if option.then == Then::Fail { "REJECTED" } else { "DECIDED" };
        let reason = format!("`{}` was chosen", option.name);
        let why = Why { code, reason: &reason, by: &decision.by };
        settle(rows, frame, task, index, option, false, &gate.votes, why);
    }
    let state = rows.subtask(task, index).map_or(state, |sub| sub.state);
    Ok(Reply::State(state))
}

/// It is decided: what follows from the choice.
#[allow(clippy::too_many_arguments)]
fn settle(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    option: &Choice,
    expired: bool,
    votes: &[Vote],
    why: Why<'_>,
) {
    match option.then {
        Then::Complete => {
            let body = json!({ "option": option.name, "expired": expired, "votes": votes });
            complete(rows, frame, task, index, Bytes::from(body.to_string()), why);
        }
        Then::Fail => flow::fail(rows, frame, task, index, why),
        Then::Skip => skip(rows, frame, task, index, false, why),
    }
}

/// A signal came: the first gate that waits for it takes it, or it is kept.
pub(crate) fn signal(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, sent: &Sent) -> Result<Reply, Reject> {
    let head = rows.task(task).ok_or(Reject::TaskUnknown)?;
    let mut signals: Signals = note::get(rows, task, NoteKey::Signals).unwrap_or_default();
    if !sent.id.is_empty() && signals.seen.contains(&sent.id) {
        return Ok(Reply::Signalled { taken: false });
    }
    if head.status.is_terminal() {
        return Err(Reject::TaskFinished(head.status));
    }
    let payload = String::from_utf8_lossy(&sent.payload).into_owned();
    let signal = Signal { name: sent.name.clone(), payload, by: sent.by.clone() };
    let plan = plan(rows, task);
    let mut steps = limits::SIGNAL_STEPS;
    let mut takes = |index: &Index| {
        let waits = rows.subtask(task, *index).is_some_and(|sub| sub.state == SubtaskState::Waiting);
        let gate = plan.node(*index).map(|node| &node.does);
        matches!(gate, Some(Does::Signal(gate))
            if waits && matches(rows, &plan, task, *index, gate, &signal, &mut steps))
    };
    let taker = (0..plan.len()).find(&mut takes);
    if taker.is_none() && steps == 0 {
        return Err(Reject::SignalTooCostly);
    }
    if taker.is_none() && signals.waiting.len() >= limits::SIGNALS {
        return Err(Reject::TooManySignals(signals.waiting.len()));
    }
    if !sent.id.is_empty() {
        signals.seen.push(sent.id.clone());
        let surplus = signals.seen.len().saturating_sub(SEEN);
        signals.seen.drain(..surplus);
    }
    if taker.is_none() {
        signals.waiting.push(signal.clone());
    }
    note::put(rows, task, NoteKey::Signals, &signals);
    rows.record(frame, task, What::Signalled { name: signal.name.clone(), by: signal.by.clone() });
    if let Some(index) = taker {
        take(rows, frame, task, index, &signal);
    }
    Ok(Reply::Signalled { taken: taker.is_some() })
}

/// Whether the gate is for this signal. One that its expression cannot be asked about is not, nor is any once the steps
/// are used up.
fn matches(
    rows: &Rows,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    gate: &SignalGate,
    signal: &Signal,
    steps: &mut u64,
) -> bool {
    let asked = |expression: &String| {
        let mut scope = scope(rows, plan, task, index);
        scope.set("signal", signal.payload.as_bytes());
        expr::is_true_within(expression, &scope, steps).unwrap_or(false)
    };
    gate.name == signal.name && gate.matches.as_ref().is_none_or(asked)
}

fn take(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, signal: &Signal) {
    let reason = format!("the signal `{}` came", signal.name);
    let why = Why { code: "", reason: &reason, by: &signal.by };
    complete(rows, frame, task, index, Bytes::from(signal.payload.clone()), why);
}

fn arm(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, timeout_seconds: Option<u32>) {
    if let Some(seconds) = timeout_seconds {
        wake_subtask(rows, task, index, frame.now.plus_ms(u64::from(seconds) * 1_000));
    }
}
