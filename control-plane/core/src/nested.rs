//! Tasks within tasks: a subtask that is a whole task of a stored workflow, the *inner* task. The server puts it
//! together and submits it; what it may begin, what it is told and what its end means stands here.
//!
//! Nothing is held meanwhile. What is to be done for an inner task is an effect; should that be lost, a `wake_at` asks
//! for it again: that of the subtask, until its task exists and knows what it has to, and that of an inner task that
//! has ended, until the subtask knows. Each command changes both tasks at once, or neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    decide::{give_up, is_at_hand, postpone, scope},
    draft::{Call, Does},
    effect::Effect,
    execute, expr,
    flow::{Why, complete, plan, record_state, shift, wake_subtask},
    group,
    id::{Index, RouteNo, TaskId, TaskNo, TenantNo},
    limits,
    plan::{Node, Plan},
    reject::Reject,
    rows::Rows,
    subtask::{Happening, Subtask, SubtaskState},
    task::{Mode, Priority, TaskStatus},
    time::{Frame, Time},
};

/// After so long without an outcome the same is asked for again: longer than anybody takes who is still at it.
const AGAIN_MS: u64 = 5_000;

/// Which subtask of which task an inner task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    pub task: TaskNo,
    pub task_id: TaskId,
    pub index: Index,
    pub subtask_id: String,
    /// Which of the tasks that the subtask began, from 1.
    pub attempt: u16,
    /// How many tasks it stands in, at most [`NESTING_DEPTH`](limits::NESTING_DEPTH).
    pub depth: u32,
}

/// What the server does for an inner task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// Put it together and submit it, or say why not.
    Begin(Box<Begin>),
    /// Have the inner task of that id follow the subtask.
    Pass { tenant: TenantNo, task: TaskNo, index: Index, inner: TaskId },
    /// It has ended: tell the subtask that it is.
    Tell { inner: TaskNo },
}

/// A task to be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    pub tenant: TenantNo,
    pub id: TaskId,
    pub inside: Inside,
    pub call: Call,
    /// A JSON object.
    pub parameters: Bytes,
    pub priority: Priority,
    pub deadline: Option<Time>,
}

/// The id of the inner task that the subtask with this id begins as its `attempt`-th. One that would be too long is cut
/// and told apart by a digest.
pub fn inner_id(subtask_id: &str, attempt: u16) -> TaskId {
    let whole = format!("{subtask_id}::{attempt}");
    if whole.len() <= limits::TASK_ID_BYTES {
        return whole;
    }
    let digest = blake3::hash(whole.as_bytes()).to_hex();
    let tail = format!("~{}::{attempt}", &digest[..32]);
    let room = limits::TASK_ID_BYTES - tail.len();
    format!("{}{tail}", &whole[..whole.floor_char_boundary(room)])
}

/// What a task delivers as a whole, as a group of its subtasks would: their outputs by key, null of what was not
/// completed. `outputs` are those that it has.
pub fn result(plan: &Plan, subtasks: &[Subtask], outputs: &BTreeMap<Index, Bytes>) -> Bytes {
    let own = |(index, node): (Index, &'_ Arc<Node>)| {
        (node.stands_alone() && !plan.is_replaced(index)).then_some(index)
    };
    let completed =
        |index: &Index| subtasks.get(*index as usize).is_some_and(|sub| sub.state == SubtaskState::Completed);
    let member = |index: Index| {
        let output = outputs.get(&index).filter(|_| completed(&index));
        (plan.local_key(index), output.map_or(&[][..], |output| output))
    };
    Bytes::from(group::object((0..).zip(plan.nodes()).filter_map(own).map(member)))
}

/// The subtask's turn has come, or that of its next attempt: it waits for a task of its own.
pub(crate) fn begin(
    rows: &mut Rows,
    frame: &Frame<'_>,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    call: &Call,
) {
    shift(rows, frame, task, index, Happening::Hold);
    let depth = depth_within(plan);
    if depth > limits::NESTING_DEPTH {
        let most = limits::NESTING_DEPTH;
        let reason = format!("at most {most} tasks within tasks (NESTING_DEPTH), got {depth}");
        return give_up(rows, frame, task, index, Why::coded("TOO_DEEP", &reason));
    }
    let reason = format!("begins a task of the workflow `{}`", call.name);
    record_state(rows, frame, task, index, Why::reason(&reason));
    attend(rows, frame, task, index);
}

fn depth_within(plan: &Plan) -> u32 {
    plan.inside().map_or(0, |inside| inside.depth) + 1
}

/// Asks for whatever is to be done for the subtask's inner task.
pub(crate) fn attend(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let plan = plan(rows, task);
    let (Some(head), Some(sub), Some(node)) = (rows.task(task), rows.subtask(task, index), plan.node(index))
    else {
        return;
    };
    let Does::Workflow(call) = &node.does else { return };
    let tenant = head.tenant;
    let nesting = if sub.pending > 0 {
        Nesting::Pass { tenant, task, index, inner: inner_id(&node.id, sub.attempts) }
    } else if sub.state != SubtaskState::Waiting {
        return;
    } else if !is_at_hand(rows, &plan, task, index) {
        return postpone(rows, frame, task, index);
    } else {
        let attempt = sub.attempts + 1;
        let sla = node.sla_seconds.map(|seconds| frame.now.plus_ms(u64::from(seconds) * 1_000));
        let parameters = match parameters(rows, &plan, task, index, call) {
            Ok(parameters) => parameters,
            Err((code, reason)) => return give_up(rows, frame, task, index, Why::coded(code, &reason)),
        };
        Nesting::Begin(Box::new(Begin {
            tenant,
            id: inner_id(&node.id, attempt),
            inside: Inside {
                task,
                task_id: head.id.clone(),
                index,
                subtask_id: node.id.clone(),
                attempt,
                depth: depth_within(&plan),
            },
            call: call.clone(),
            parameters,
            priority: node.priority,
            deadline: [sla, head.deadline].into_iter().flatten().min(),
        }))
    };
    rows.subtask_mut(task, index).wake_at = Some(frame.now.plus_ms(AGAIN_MS));
    rows.push(Effect::Nest(nesting));
}

/// The input's members and those of the expression, which go first; or a code and what is wrong.
fn parameters(
    rows: &Rows,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    call: &Call,
) -> Result<Bytes, (&'static str, String)> {
    type Members = BTreeMap<String, Box<RawValue>>;
    let members = |json: &str| serde_json::from_str::<Option<Members>>(json).map(Option::unwrap_or_default);
    let input = plan.input(index).map_or("null", RawValue::get);
    let mut all = members(input)
        .map_err(|_| ("INVALID_PARAMETERS", "input: must be an object, its parameters".to_owned()))?;
    if let Some(text) = &call.parameters_from {
        let failed = |issue| ("EXPRESSION_FAILED", format!("workflow.parameters_from: {issue}"));
        let given = expr::json(text, &scope(rows, plan, task, index)).map_err(failed)?;
        all.extend(members(given.get()).map_err(|_| failed("expected an object".to_owned()))?);
    }
    Ok(Bytes::from(serde_json::to_vec(&all).expect("JSON is written as it was read")))
}

/// Whether the subtask waits for its `attempt`-th task to begin.
fn awaits(rows: &Rows, task: TaskNo, index: Index, attempt: u16) -> bool {
    rows.subtask(task, index).is_some_and(|sub| {
        sub.state == SubtaskState::Waiting && sub.pending == 0 && sub.attempts + 1 == attempt
    })
}

/// Whether an inner task may be submitted now, and is to start at once.
///
/// # Errors
/// [`Reject::NotAwaited`]: the subtask ended, or was replaced, before its task had begun.
pub(crate) fn admit(rows: &Rows, inside: &Inside) -> Result<bool, Reject> {
    let Inside { task, index, attempt, .. } = *inside;
    let does = |plan: &Plan| plan.node(index).is_some_and(|node| node.does.is_workflow());
    if !awaits(rows, task, index, attempt) || !rows.plan(task).is_some_and(|plan| does(&plan)) {
        return Err(Reject::NotAwaited);
    }
    Ok(rows.task(task).is_some_and(|head| head.status != TaskStatus::Paused))
}

/// The inner task was submitted.
pub(crate) fn begun(rows: &mut Rows, frame: &Frame<'_>, inside: &Inside, inner: &str) {
    let sub = rows.subtask_mut(inside.task, inside.index);
    sub.attempts = inside.attempt;
    sub.pending = 1;
    sub.wake_at = None;
    let reason = format!("is the task `{inner}`");
    record_state(rows, frame, inside.task, inside.index, Why::coded("TASK_BEGUN", &reason));
}

/// The inner task cannot be begun, however often that is tried.
pub(crate) fn refuse(
    rows: &mut Rows,
    frame: &Frame<'_>,
    (task, index): (TaskNo, Index),
    attempt: u16,
    code: &str,
    reason: &str,
) {
    if awaits(rows, task, index, attempt) {
        give_up(rows, frame, task, index, Why::coded(code, reason));
    }
}

/// The task was paused, or goes on: so do the inner ones.
pub(crate) fn pass_all(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let plan = plan(rows, task);
    for (index, node) in (0..).zip(plan.nodes()) {
        let begun = rows
            .subtask(task, index)
            .is_some_and(|sub| sub.state == SubtaskState::Waiting && sub.pending > 0);
        if begun && node.does.is_workflow() {
            attend(rows, frame, task, index);
        }
    }
}

/// What was done in the inner task is to be undone before that ends with its subtask, which has ended.
pub(crate) fn undo(rows: &mut Rows, plan: &Plan, task: TaskNo, index: Index) {
    let is_task = plan.node(index).is_some_and(|node| node.does.is_workflow());
    if is_task && rows.subtask(task, index).is_some_and(|sub| sub.pending > 0 && sub.wake_at.is_some()) {
        rows.subtask_mut(task, index).held = true;
    }
}

/// Has an inner task follow the subtask that it is: cancelled with it, paused with its task, and goes on with it.
/// `served`: the inner task's routes that a live worker serves.
pub(crate) fn pass(
    rows: &mut Rows,
    frame: &Frame<'_>,
    (task, index): (TaskNo, Index),
    inner: TaskNo,
    served: &BTreeSet<RouteNo>,
) {
    let is_of = rows.plan(inner).and_then(|plan| plan.inside().cloned());
    let (Some(head), Some(sub)) = (rows.task(task), rows.subtask(task, index)) else { return };
    let asked = sub.pending > 0 && sub.wake_at.is_some();
    let same = |of: &Inside| (of.task, of.index, of.attempt) == (task, index, sub.attempts);
    if !asked || !is_of.is_some_and(|of| same(&of)) {
        return;
    }
    let (over, paused) = (sub.state.is_terminal(), head.status == TaskStatus::Paused);
    let (undoes, said) = (sub.held, !head.reason.is_empty());
    let reason = match head.course.end().unwrap_or(head.status) {
        TaskStatus::Cancelled if said => head.reason.clone(),
        TaskStatus::Failed if said => format!("the task that it is within fails: {}", head.reason),
        _ => "the subtask that it is has ended".to_owned(),
    };
    let sub = rows.subtask_mut(task, index);
    sub.wake_at = None;
    if over {
        sub.pending = 0;
    }
    let status = rows.task(inner).map(|head| head.status);
    let stands = matches!(status, Some(TaskStatus::Planned | TaskStatus::Paused));
    // Refused: it has ended by itself, or it has not started and need not be paused.
    let _ = if over {
        execute::cancel(rows, frame, inner, &reason, undoes)
    } else if paused {
        execute::pause(rows, frame, inner)
    } else if stands {
        execute::execute(rows, frame, inner, Mode::Auto, &BTreeSet::new(), served)
    } else {
        return;
    };
}

/// The task has entered its end. If it is an inner one, the subtask that it is has to hear of it.
pub(crate) fn report(rows: &mut Rows, frame: &Frame<'_>, inner: TaskNo) {
    let ended = rows.task(inner).is_some_and(|head| head.status.is_terminal());
    if ended && rows.plan(inner).is_some_and(|plan| plan.inside().is_some()) {
        rows.task_mut(inner).wake_at = Some(frame.now.plus_ms(AGAIN_MS));
        rows.push(Effect::Nest(Nesting::Tell { inner }));
    }
}

/// The inner task has ended: the subtask that it is ends with its result, or fails. Another task, or nothing, may be in
/// its place by now; then nobody has to hear of it.
pub(crate) fn join(rows: &mut Rows, frame: &Frame<'_>, inner: TaskNo, result: &Bytes) {
    let Some(inside) = rows.plan(inner).and_then(|plan| plan.inside().cloned()) else { return };
    let Some(ended) = rows.task(inner).filter(|head| head.status.is_terminal()) else { return };
    let (status, id, words) = (ended.status, ended.id.clone(), ended.reason.clone());
    rows.task_mut(inner).wake_at = None;
    let Inside { task, index, attempt, .. } = *inside;
    let Some(sub) = rows.subtask(task, index).filter(|sub| sub.attempts == attempt && sub.pending > 0) else {
        return;
    };
    let waits = sub.state == SubtaskState::Waiting;
    let sub = rows.subtask_mut(task, index);
    (sub.pending, sub.wake_at) = (0, None);
    if !waits {
        return;
    }
    let reason = format!("its task `{id}` is {}", status.word());
    let reason = if words.is_empty() { reason } else { format!("{reason}: {words}") };
    match status {
        TaskStatus::Completed if result.len() > limits::GROUP_OUTPUT_BYTES => {
            let (most, got) = (limits::GROUP_OUTPUT_BYTES, result.len());
            let reason =
                format!("{reason}; its result: at most {most} bytes (GROUP_OUTPUT_BYTES), got {got}");
            give_up(rows, frame, task, index, Why::coded("OUTPUT_TOO_LARGE", &reason));
        }
        TaskStatus::Completed => {
            complete(rows, frame, task, index, result.clone(), Why::coded("TASK_COMPLETED", &reason));
        }
        TaskStatus::Failed => fail(rows, frame, task, index, &reason),
        TaskStatus::Cancelled => {
            give_up(rows, frame, task, index, Why::coded("TASK_CANCELLED", &reason));
        }
        TaskStatus::Planning
        | TaskStatus::Planned
        | TaskStatus::Running
        | TaskStatus::Paused
        | TaskStatus::NeedsReview => {}
    }
}

/// Uses up an attempt: another task after a wait, or the subtask is given up.
fn fail(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, reason: &str) {
    const CODE: &str = "TASK_FAILED";
    let plan = plan(rows, task);
    let Some(node) = plan.node(index) else { return };
    let sub = rows.subtask_mut(task, index);
    sub.failures += 1;
    let failures = sub.failures;
    if failures >= node.attempts_max || node.retry.non_retryable.iter().any(|code| code == CODE) {
        return give_up(rows, frame, task, index, Why::coded(CODE, reason));
    }
    shift(rows, frame, task, index, Happening::BackOff);
    let wait = frame.policy.backoff_ms(&node.retry, failures, task.0 ^ i64::from(index));
    wake_subtask(rows, task, index, frame.now.plus_ms(wait));
    let reason = format!("{reason}; attempt {failures} of {}; next in {wait} ms", node.attempts_max);
    record_state(rows, frame, task, index, Why::coded(CODE, &reason));
}
