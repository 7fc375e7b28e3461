//! What becomes of a subtask when what it waited for has happened: it runs, is skipped, or opens what it does without
//! a worker. Decided within the command that brought it about where all that has to be known is loaded, else by a
//! command of its own, which the row's `wake_at` asks for.
//!
//! What may add to the plan takes the handle by value and lets go of it before: a plan that is held is copied to grow.

use std::sync::Arc;

use crate::{
    context,
    draft::{Does, OnFailure, RunIf},
    effect::{Effect, Next},
    event::What,
    expr::{self, Scope},
    flow::{self, Why, arrive, plan, record_state, shift, skip},
    gate, group,
    id::{Index, TaskNo},
    nested,
    plan::{Node, Plan},
    reads::{self, Reads},
    rows::Rows,
    subtask::{Happening, Outcome, Subtask, SubtaskState},
    time::Frame,
};

/// Decides everything that this command brought about.
pub(crate) fn work_off(rows: &mut Rows, frame: &Frame<'_>) {
    while let Some((task, index)) = rows.undecided.pop_front() {
        decide(rows, frame, task, index);
    }
}

/// Decides about one subtask, if it is time.
pub(crate) fn decide(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    let (Some(head), Some(sub)) = (rows.task(task), rows.subtask(task, index)) else { return };
    if head.started_at.is_none() || head.status.is_terminal() {
        return;
    }
    let (state, held) = (sub.state, sub.held);
    let plan = plan(rows, task);
    let Some(node) = plan.node(index) else { return };
    match state {
        SubtaskState::Pending => begin(rows, frame, plan, task, index),
        SubtaskState::Waiting if node.does.is_work() && !held => resume(rows, frame, &plan, task, index),
        SubtaskState::Waiting if node.does.is_workflow() => nested::attend(rows, frame, task, index),
        SubtaskState::Waiting if node.does.is_group() => group::attend(rows, frame, plan, task, index),
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
        | SubtaskState::Cancelled => {}
    }
}

/// A subtask that cannot be done: a person decides, or it has failed, as its plan says.
pub(crate) fn give_up(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, why: Why<'_>) {
    let on_failure = plan(rows, task).node(index).map_or(OnFailure::Review, |node| node.on_failure);
    match on_failure {
        OnFailure::Review => {
            shift(rows, frame, task, index, Happening::Exhaust);
            record_state(rows, frame, task, index, why);
        }
        OnFailure::Fail => flow::fail(rows, frame, task, index, why),
    }
}

/// What an expression of a subtask may look at: what it depends on, its input, the task's context.
pub(crate) fn scope<'a>(rows: &'a Rows, plan: &'a Plan, task: TaskNo, index: Index) -> Scope<'a> {
    let mut scope = Scope::new();
    let dependencies = plan.node(index).map_or(&[][..], |node| &node.depends_on);
    scope.set_members(
        "outputs",
        dependencies.iter().map(|&on| (plan.name_for(index, on), output(rows, task, on))),
    );
    let state = |on| rows.subtask(task, on).map_or("", |sub| sub.state.word());
    scope.set_words("states", dependencies.iter().map(|&on| (plan.name_for(index, on), state(on))));
    scope.set("input", plan.input(index).map_or(b"", |input| input.get().as_bytes()));
    scope.set("item", plan.item(index).map_or(b"", |item| item.get().as_bytes()));
    context::show(&mut scope, rows, plan, task);
    scope
}

/// What a completed subtask delivered; empty: null, or it was not completed, whatever was kept of it.
pub(crate) fn output(rows: &Rows, task: TaskNo, index: Index) -> &[u8] {
    let completed = rows.subtask(task, index).is_some_and(|sub| sub.state == SubtaskState::Completed);
    rows.delivered(task, index).filter(|_| completed).map_or(&[], |body| body)
}

enum Verdict {
    Wait,
    Run,
    Skip,
}

fn verdict(node: &Node, sub: &Subtask) -> Verdict {
    let all = u32::try_from(node.depends_on.len()).unwrap_or(u32::MAX);
    let runs = match node.run_if {
        RunIf::AllSucceeded if sub.failed + sub.skipped > 0 => return Verdict::Skip,
        _ if sub.pending > 0 => return Verdict::Wait,
        RunIf::AllSucceeded | RunIf::AllDone => true,
        RunIf::AnySucceeded => all > sub.failed + sub.skipped,
        RunIf::AnyFailed => sub.failed > 0,
    };
    if runs { Verdict::Run } else { Verdict::Skip }
}

fn begin(rows: &mut Rows, frame: &Frame<'_>, plan: Arc<Plan>, task: TaskNo, index: Index) {
    let (Some(node), Some(sub)) = (plan.node(index), rows.subtask(task, index)) else { return };
    match verdict(node, sub) {
        Verdict::Wait => {}
        Verdict::Run if node.is_plain() => arrive(rows, frame, task, index),
        Verdict::Run if !is_at_hand(rows, &plan, task, index) => postpone(rows, frame, task, index),
        Verdict::Run => match holds(rows, &plan, task, index, node) {
            Ok(true) => open(rows, frame, plan, task, index),
            Ok(false) => {
                let why = Why::coded("CONDITION_FALSE", "its condition does not hold");
                skip(rows, frame, task, index, false, why);
            }
            Err(issue) => {
                let reason = format!("when: {issue}");
                give_up(rows, frame, task, index, Why::coded("EXPRESSION_FAILED", &reason));
            }
        },
        Verdict::Skip => {
            if !has_ending(rows, &plan, task, index) {
                return postpone(rows, frame, task, index);
            }
            let reason = why_skipped(rows, &plan, task, index, node);
            skip(rows, frame, task, index, false, Why::coded("DEPENDENCIES", &reason));
        }
    }
}

fn holds(rows: &Rows, plan: &Plan, task: TaskNo, index: Index, node: &Node) -> Result<bool, String> {
    let Some(when) = &node.when else { return Ok(true) };
    expr::is_true(when, &scope(rows, plan, task, index))
}

fn why_skipped(rows: &Rows, plan: &Plan, task: TaskNo, index: Index, node: &Node) -> String {
    let unmet = |on: &&Index| {
        rows.subtask(task, **on).is_some_and(|sub| {
            matches!(sub.state, SubtaskState::Failed) || sub.state == SubtaskState::Skipped && !sub.waived
        })
    };
    match (node.run_if, node.depends_on.iter().find(unmet)) {
        (RunIf::AllSucceeded, Some(&on)) => format!("`{}` did not succeed", plan.name_for(index, on)),
        (run_if, _) => format!("its dependencies ended otherwise than `run_if: {}` asks for", run_if.word()),
    }
}

/// It runs: a worker may have it, or what needs none begins.
fn open(rows: &mut Rows, frame: &Frame<'_>, plan: Arc<Plan>, task: TaskNo, index: Index) {
    let Some(node) = plan.node(index) else { return };
    match &node.does {
        Does::Work => arrive(rows, frame, task, index),
        Does::Approval(approval) => gate::open_approval(rows, frame, &plan, task, index, approval),
        Does::Signal(signal) => gate::open_signal(rows, frame, &plan, task, index, signal),
        Does::Timer(timer) => gate::open_timer(rows, frame, task, index, *timer),
        Does::Workflow(call) => nested::begin(rows, frame, &plan, task, index, call),
        Does::Group(_) | Does::Map(_) | Does::Loop(_) | Does::Round => {
            group::begin(rows, frame, plan, task, index)
        }
    }
}

/// The children of a subtask have ended, and no worker has it. However they did, its own result counts: it finds in its
/// brief what became of them if it waits for them, and if it does not, it said that it needs nothing of them.
fn resume(rows: &mut Rows, frame: &Frame<'_>, plan: &Plan, task: TaskNo, index: Index) {
    let Some(sub) = rows.subtask(task, index).filter(|sub| sub.pending == 0) else { return };
    let (outcome, lease, attempt) = (sub.outcome, sub.lease, sub.attempts);
    if outcome != Some(Outcome::Completed) {
        shift(rows, frame, task, index, Happening::Arrive);
        return record_state(rows, frame, task, index, Why::reason("its children have ended"));
    }
    if !has_ending(rows, plan, task, index) {
        return postpone(rows, frame, task, index);
    }
    let state = shift(rows, frame, task, index, Happening::Complete);
    let (outcome, reason) = (Outcome::Completed, "its children have ended".to_owned());
    if let Some(lease) = lease {
        rows.record(frame, task, What::Ended { index, state, lease, attempt, outcome, error: None, reason });
    }
    flow::tell(rows, task, index, flow::End::Succeeded);
}

/// Whether everything that a decision about it looks at was loaded.
pub(crate) fn is_at_hand(rows: &Rows, plan: &Plan, task: TaskNo, index: Index) -> bool {
    let mut wanted = Reads::default();
    reads::decision(task, index, plan, &mut wanted);
    rows.has(&wanted)
}

/// Whether everything that its end changes was loaded.
fn has_ending(rows: &Rows, plan: &Plan, task: TaskNo, index: Index) -> bool {
    let mut wanted = Reads::default();
    reads::ending(task, index, plan, &mut wanted);
    rows.has(&wanted)
}

/// Leaves the decision to a command of its own, which loads what is missing. Its row asks for one too, should the
/// effect be lost.
pub(crate) fn postpone(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index) {
    if rows.subtask(task, index).is_some_and(|sub| sub.wake_at.is_none()) {
        rows.subtask_mut(task, index).wake_at = Some(frame.now);
    }
    rows.push(Effect::Next(Next { task, index, begin: None }));
}
