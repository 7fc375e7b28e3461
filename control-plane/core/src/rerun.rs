//! Doing it again. What is final stays final: whatever runs again is a new node in the place of the old one, so
//! that the history tells both, and what others delivered is used again.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    command::{Reply, Rerun},
    compensate, context,
    decide::give_up,
    draft::Does,
    effect::{Effect, Wake},
    event::What,
    flow::{self, Why, cancel_below, cancel_one, plan},
    group,
    id::{Index, TaskNo},
    plan::{Node, Plan},
    reject::Reject,
    rows::Rows,
    subtask::{Happening, Subtask, SubtaskState},
    task::TaskStatus,
    time::Frame,
};

const INNER: &str = "it belongs to a group that has ended; rerun the group";

/// Runs subtasks and all that depends on them again, also of a task that has ended.
pub(crate) fn rerun(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    rerun: &Rerun,
) -> Result<Reply, Reject> {
    let status = rows.task(task).ok_or(Reject::TaskUnknown)?.status;
    if matches!(status, TaskStatus::Planning | TaskStatus::Planned) {
        return Err(Reject::TaskNotStarted(status));
    }
    let plan = plan(rows, task);
    for &index in &rerun.from {
        let sub = rows.subtask(task, index).ok_or(Reject::SubtaskUnknown)?;
        let alive =
            |group: Index| rows.subtask(task, group).is_some_and(|row| row.state == SubtaskState::Waiting);
        let inner = plan.node(index).and_then(|node| node.parent);
        let hint = match inner {
            Some(group) if !alive(group) || status.is_terminal() => INNER,
            Some(group) if plan.node(group).is_some_and(|node| node.does.is_work()) => {
                "a worker added it; rerun the subtask of the worker"
            }
            _ if plan.is_replaced(index) => "something else has taken its place",
            _ if plan.node(index).is_some_and(|node| node.compensates.is_some()) => {
                "it undoes another one; rerun that one"
            }
            Some(group) if is_windowed(&plan, group) && sub.state == SubtaskState::Pending => {
                "its turn in the map has not come"
            }
            _ => continue,
        };
        return Err(Reject::SubtaskState { action: "rerun", state: sub.state, hint });
    }
    if rerun.from.is_empty() {
        return match &rerun.context {
            Some(_) if status.is_terminal() => Err(Reject::TaskFinished(status)),
            Some(keys) => {
                context::restore(rows, frame, task, keys, &rerun.by, &rerun.reason);
                Ok(Reply::Rerun { status, subtasks: Vec::new() })
            }
            None => Err(Reject::SubtaskUnknown),
        };
    }
    let mut rerun = rerun.clone();
    ask_again(&plan, &mut rerun);
    let again = closure(rows, &plan, task, &mut rerun);
    let unused: Vec<&str> = rerun
        .inputs
        .keys()
        .filter(|index| !again.contains(index))
        .filter_map(|index| plan.node(*index))
        .map(|node| node.key.as_str())
        .collect();
    if !unused.is_empty() {
        return Err(Reject::InputUnused(unused.join("`, `")));
    }
    if let Some(reason) = group::too_many(rows, task, again.len()) {
        return Err(Reject::TooManySubtasks(reason));
    }
    reopen(rows, frame, task);
    compensate::call_off(rows, frame, task);
    if let Some(keys) = &rerun.context {
        context::restore(rows, frame, task, keys, &rerun.by, &rerun.reason);
    }
    let first = plan.len();
    let owner = |index: &Index| plan.node(*index).and_then(|node| node.parent);
    let queues: Vec<bool> = again.iter().map(|i| owner(i).is_some_and(|of| is_windowed(&plan, of))).collect();
    repeat(rows, frame, &plan, task, &again, &rerun, |nth| queues[nth as usize]);
    let count = u32::try_from(again.len()).unwrap_or(u32::MAX);
    let (reason, by) = (rerun.reason.clone(), rerun.by.clone());
    rows.record(frame, task, What::Grown { index: None, first, count, reason, by });
    let groups: BTreeSet<Index> = again.iter().filter_map(owner).collect();
    for group in groups {
        recount(rows, task, group);
        if is_windowed(&plan, group) {
            // Behind those whose turn has not come, which stay the last of its children.
            let gone = again.iter().filter(|index| owner(index) == Some(group)).count();
            let row = rows.subtask_mut(task, group);
            row.attempts = row.attempts.saturating_sub(u16::try_from(gone).unwrap_or(u16::MAX));
            rows.undecided.push_back((task, group));
        }
    }
    let status = rows.task(task).map_or(status, |head| head.status);
    Ok(Reply::Rerun { status, subtasks: (first..first + count).collect() })
}

/// An approval that a rule put before something approves its input: with another one it is asked anew.
fn ask_again(plan: &Plan, rerun: &mut Rerun) {
    for (index, input) in rerun.inputs.clone() {
        let depends_on = plan.node(index).map_or(&[][..], |node| &node.depends_on);
        let guards = |on: &Index| plan.node(*on).is_some_and(|node| node.guards);
        for gate in depends_on.iter().copied().filter(guards) {
            rerun.from.insert(gate);
            rerun.inputs.insert(gate, input.clone());
        }
    }
}

/// All that runs again or is restored. What is only restored loses its place in `rerun.restored` where it has to run.
fn closure(rows: &Rows, plan: &Plan, task: TaskNo, rerun: &mut Rerun) -> BTreeSet<Index> {
    let open = |index: Index| rows.subtask(task, index).is_some_and(|sub| !sub.state.is_terminal());
    // What is restored stands for itself: only what is to be done anew takes along what depends on it. But what still
    // waits for what is restored would wait for ever.
    let mut anew: BTreeSet<Index> =
        rerun.from.iter().copied().filter(|index| !rerun.restored.contains_key(index)).collect();
    for restored in rerun.restored.keys() {
        let waits = beside(plan, *restored).filter(|on| open(*on) && !rerun.restored.contains_key(on));
        anew.extend(waits);
    }
    // What was undone is not done, wherever it stands.
    let undone =
        plan.undone().filter(|of| plan.is_current(*of) && compensate::is_undone(rows, plan, task, *of));
    anew.extend(undone.map(|of| plan.outermost(of)));
    let mut again = downstream(plan, &anew);
    rerun.restored.retain(|index, _| !again.contains(index));
    again.extend(&rerun.from);
    // What belongs to something that runs again begins anew with it, and so do the rounds behind one.
    let mut closed = again.clone();
    let dropped: BTreeSet<Index> = again.iter().flat_map(|index| later_rounds(plan, *index)).collect();
    closed.extend(&dropped);
    again.retain(|index| {
        !dropped.contains(index) && !plan.groups(*index).any(|group| closed.contains(&group))
    });
    again
}

/// A group that has failed goes on: what did not succeed in it runs again.
pub(crate) fn resume_group(rows: &mut Rows, frame: &Frame<'_>, plan: &Plan, task: TaskNo, index: Index) {
    let succeeded = |child: &Index| {
        rows.subtask(task, *child)
            .is_some_and(|sub| sub.state == SubtaskState::Completed || sub.state == SubtaskState::Skipped)
    };
    let from: BTreeSet<Index> = plan.children(index).filter(|child| !succeeded(child)).collect();
    let again = downstream(plan, &from);
    if again.is_empty() {
        // Nothing in it failed: it is decided anew.
        recount(rows, task, index);
        return rows.undecided.push_back((task, index));
    }
    if let Some(reason) = group::too_many(rows, task, again.len()) {
        return give_up(rows, frame, task, index, Why::coded("TOO_MANY_SUBTASKS", &reason));
    }
    let kept = plan.children(index).len() - again.len();
    let begun = window(plan, index).unwrap_or(u32::MAX);
    let first = plan.len();
    repeat(rows, frame, plan, task, &again, &Rerun::default(), |nth| nth >= begun);
    let count = u32::try_from(again.len()).unwrap_or(u32::MAX);
    rows.record(
        frame,
        task,
        What::Grown {
            index: Some(index),
            first,
            count,
            reason: "what failed runs again".into(),
            by: String::new(),
        },
    );
    recount(rows, task, index);
    let all = u32::try_from(kept).unwrap_or(u32::MAX).saturating_add(count.min(begun));
    rows.subtask_mut(task, index).attempts = u16::try_from(all).unwrap_or(u16::MAX);
}

/// How many children of a map may run at the same time; `None`: all, or it is no map.
fn window(plan: &Plan, index: Index) -> Option<u32> {
    match &plan.node(index)?.does {
        Does::Map(map) => map.max_parallel,
        Does::Work
        | Does::Approval(_)
        | Does::Signal(_)
        | Does::Timer(_)
        | Does::Workflow(_)
        | Does::Group(_)
        | Does::Loop(_)
        | Does::Round => None,
    }
}

fn is_windowed(plan: &Plan, index: Index) -> bool {
    window(plan, index).is_some()
}

/// What a node whose dependencies are loaded still waits for, and how the others ended: unfinished, failed, skipped.
pub(crate) fn settled(rows: &Rows, task: TaskNo, of: impl Iterator<Item = Index>) -> (u32, u32, u32) {
    let (mut pending, mut failed, mut skipped) = (0, 0, 0);
    for on in of {
        match rows.subtask(task, on) {
            Some(Subtask { state: SubtaskState::Completed, .. })
            | Some(Subtask { state: SubtaskState::Skipped, waived: true, .. }) => {}
            Some(Subtask { state: SubtaskState::Failed, .. }) => failed += 1,
            Some(Subtask { state: SubtaskState::Skipped | SubtaskState::Cancelled, .. }) => skipped += 1,
            Some(_) | None => pending += 1,
        }
    }
    (pending, failed, skipped)
}

/// These, and everything that depends on them where they stand.
fn downstream(plan: &Plan, from: &BTreeSet<Index>) -> BTreeSet<Index> {
    let mut again = from.clone();
    let mut todo: Vec<Index> = from.iter().copied().collect();
    while let Some(index) = todo.pop() {
        for dependent in beside(plan, index) {
            if again.insert(dependent) {
                todo.push(dependent);
            }
        }
    }
    again
}

/// What depends on it where it stands, but for the next round of a loop, which the loop asks for itself.
fn beside(plan: &Plan, index: Index) -> impl Iterator<Item = Index> + '_ {
    let parent = plan.node(index).and_then(|node| node.parent);
    let of_loop = parent.is_some_and(|parent| is_loop(plan, parent));
    let follows = move |on: &Index| {
        let beside = |node: &Node| node.parent == parent && node.compensates.is_none() && !of_loop;
        plan.node(*on).is_some_and(beside) && !plan.is_replaced(*on)
    };
    plan.dependents(index).iter().copied().filter(follows)
}

fn is_loop(plan: &Plan, index: Index) -> bool {
    plan.node(index).is_some_and(|node| matches!(node.does, Does::Loop(_)))
}

/// Of a round of a loop, those that came after it.
fn later_rounds(plan: &Plan, index: Index) -> Vec<Index> {
    let nth = |of: Index| plan.node(of).and_then(|node| node.nth);
    match plan.node(index).and_then(|node| node.parent).filter(|parent| is_loop(plan, *parent)) {
        Some(parent) => plan.children(parent).filter(|round| nth(*round) > nth(index)).collect(),
        None => Vec::new(),
    }
}

fn repeat(
    rows: &mut Rows,
    frame: &Frame<'_>,
    plan: &Plan,
    task: TaskNo,
    again: &BTreeSet<Index>,
    rerun: &Rerun,
    held_back: impl Fn(u32) -> bool,
) {
    let fatal = |index: &&Index| {
        let failed = rows.subtask(task, **index).is_some_and(|sub| sub.state == SubtaskState::Failed);
        failed && plan.is_fatal(**index)
    };
    let fatal = u32::try_from(again.iter().filter(fatal).count()).unwrap_or(u32::MAX);
    rows.task_mut(task).failed -= fatal;
    for &index in again {
        for index in later_rounds(plan, index).into_iter().chain([index]) {
            let why = Why::coded("RERUN", "it runs again");
            cancel_below(rows, frame, task, index, why);
            cancel_one(rows, frame, task, index, why);
        }
    }
    let places: BTreeMap<Index, Index> = again.iter().copied().zip(plan.len()..).collect();
    let copy = |&index: &Index| {
        let node = plan.node(index)?;
        Some(Node {
            depends_on: node.depends_on.iter().map(|on| places.get(on).copied().unwrap_or(*on)).collect(),
            input: match rerun.inputs.get(&index) {
                Some(input) => Some(input.clone()),
                None => plan.node(*rerun.inputs_of.get(&index).unwrap_or(&index))?.input.clone(),
            },
            replaces: Some(index),
            drops: later_rounds(plan, index),
            ..node.clone()
        })
    };
    let nodes = again.iter().filter_map(copy).collect();
    let restored: BTreeMap<Index, Index> =
        rerun.restored.iter().filter_map(|(index, old)| Some((*places.get(index)?, *old))).collect();
    group::grow(rows, frame, task, nodes, held_back);
    for (index, old) in restored {
        let output = rows.delivered(task, old).cloned().unwrap_or_default();
        restore(rows, frame, task, index, output, plan.node(old).map_or("", |node| &node.id));
    }
}

/// A new node takes over what the node delivered whose place it is in.
fn restore(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, output: bytes::Bytes, from: &str) {
    flow::shift(rows, frame, task, index, Happening::Hold);
    let reason = format!("takes over what `{from}` delivered");
    flow::complete(rows, frame, task, index, output, Why::coded("RESTORED", &reason));
}

/// Brings a group's counters in line with its children, some of which are new.
fn recount(rows: &mut Rows, task: TaskNo, index: Index) {
    let plan = plan(rows, task);
    let (pending, mut failed, skipped) = settled(rows, task, plan.children(index));
    let handled = plan.children(index).filter(|child| {
        plan.handles_failure_of(*child)
            && rows.subtask(task, *child).is_some_and(|sub| sub.state == SubtaskState::Failed)
    });
    failed -= u32::try_from(handled.count()).unwrap_or(0);
    let group = rows.subtask_mut(task, index);
    (group.pending, group.failed, group.skipped) = (pending, failed, skipped);
}

/// A task that has ended goes on.
fn reopen(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let Some(head) = rows.task(task).filter(|head| head.status.is_terminal()) else { return };
    // People may have been waited for to the very end.
    let waited_ms = head.stopped_at.zip(head.ended_at).map_or(0, |(since, until)| until.since_ms(since));
    let deadline = head.deadline.map(|at| at.plus_ms(waited_ms)).filter(|at| *at > frame.now);
    let head = rows.task_mut(task);
    head.started_at.get_or_insert(frame.now);
    head.ended_at = None;
    head.stopped_at = None;
    head.deadline = deadline;
    head.wake_at = head.deadline;
    head.reason.clear();
    if let Some(at) = head.wake_at {
        rows.push(Effect::Wake { at, wake: Wake::Task(task) });
    }
    flow::enter(rows, frame, task, TaskStatus::Running, "");
}
