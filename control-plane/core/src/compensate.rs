//! Undoing what was done: before a task has failed, is cancelled so, or ends by its deadline, each of its completed
//! subtasks that says how is undone, the last one first. Until that is over the task goes on.

use std::collections::BTreeMap;

use crate::{
    draft::{Does, OnFailure, RunIf},
    effect::{Effect, Wake},
    event::What,
    flow::{Why, cancel_one, enter, plan},
    group,
    id::{Index, TaskNo},
    nested,
    plan::{Node, Plan},
    rows::Rows,
    subtask::{Subtask, SubtaskState},
    task::{Course, Task, TaskStatus},
    time::Frame,
};

/// Whether the task would have failed now, and something may have to be undone before.
pub(crate) fn is_due(rows: &Rows, task: TaskNo) -> bool {
    let fails = |head: &Task| {
        let decided = head.status.is_terminal() || head.course.end().is_some();
        !decided && head.due_status() == TaskStatus::Failed
    };
    rows.task(task).is_some_and(fails) && rows.plan(task).is_some_and(|plan| plan.may_compensate())
}

/// Leaves it to a command of its own, which loads the whole task; its row asks for it too.
pub(crate) fn ask(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    if rows.task(task).is_some_and(|head| head.wake_at.is_none_or(|at| at > frame.now)) {
        rows.task_mut(task).wake_at = Some(frame.now);
        rows.push(Effect::Wake { at: frame.now, wake: Wake::Task(task) });
    }
}

/// Ends the task from outside, once what was done is undone; all else that is unfinished is cancelled at once.
pub(crate) fn end(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, course: Course, reason: &str) {
    let plan = plan(rows, task);
    for (index, node) in (0..).zip(plan.nodes()) {
        if node.compensates.is_none() {
            cancel_one(rows, frame, task, index, Why::reason(reason));
            nested::undo(rows, &plan, task, index);
        }
    }
    drop(plan);
    let head = rows.task_mut(task);
    head.course = course;
    reason.clone_into(&mut head.reason);
    head.wake_at = None;
    begin(rows, frame, task);
}

/// Something runs again, so that the task does not end yet: what is not undone so far is not, and its time is its
/// deadline's again.
pub(crate) fn call_off(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let plan = plan(rows, task);
    for index in plan.undone().flat_map(|of| plan.undone_by(of)) {
        cancel_one(rows, frame, task, *index, Why::reason("what it undoes stays, or runs again"));
    }
    let head = rows.task_mut(task);
    let decided = head.course.end().is_some();
    if decided {
        head.course = Course::Auto;
        head.reason.clear();
        head.deadline = head.deadline.filter(|at| *at > frame.now);
    }
    head.wake_at = head.deadline.filter(|_| !head.waits_for_person());
    if let Some(at) = head.wake_at.filter(|_| decided) {
        rows.push(Effect::Wake { at, wake: Wake::Task(task) });
    }
}

/// Whether what it did is gone, perhaps in part: what undoes it was begun.
pub(crate) fn is_undone(rows: &Rows, plan: &Plan, task: TaskNo, index: Index) -> bool {
    let begun = |sub: &Subtask| sub.lease.is_some() || sub.state == SubtaskState::Completed;
    plan.undone_by(index).iter().any(|by| rows.subtask(task, *by).is_some_and(begun))
}

/// Whether something undoes it, or did, or a person decided otherwise; not where that was called off before it began.
fn is_seen_to(rows: &Rows, plan: &Plan, task: TaskNo, index: Index) -> bool {
    let called_off = |sub: &Subtask| sub.lease.is_none() && sub.state == SubtaskState::Cancelled;
    plan.undone_by(index).iter().any(|by| rows.subtask(task, *by).is_some_and(|sub| !called_off(sub)))
}

/// Adds what undoes, one after the other. With nothing to be undone the task has ended.
pub(crate) fn begin(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    let plan = plan(rows, task);
    let order = order(rows, &plan, task);
    let first = plan.len();
    let mut undone = keys_undone(&plan);
    let mut nodes: Vec<Node> =
        (first..).zip(&order).filter_map(|(at, index)| undo(&plan, *index, at, first)).collect();
    for (node, index) in nodes.iter_mut().zip(&order) {
        let before = undone.entry(plan.node(*index).map_or("", |node| &node.key)).or_default();
        *before += 1;
        if *before > 1 {
            node.key = format!("{}.{before}", node.key);
        }
    }
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let head = rows.task_mut(task);
    let decided = head.course.end().is_some();
    head.wake_at = head.deadline.filter(|_| !decided);
    let goes_on = decided && head.status == TaskStatus::Paused && (count > 0 || head.unfinished > 0);
    let full = group::too_many(rows, task, nodes.len());
    if goes_on {
        enter(rows, frame, task, TaskStatus::Running, "");
    }
    if count == 0 || full.is_some() {
        let Some(head) = rows.task(task).filter(|head| head.due_status().is_terminal()) else { return };
        let why = full.map(|why| format!("nothing was undone: {why}"));
        let said = Some(head.reason.clone()).filter(|reason| !reason.is_empty());
        let reason: Vec<String> = said.into_iter().chain(why).collect();
        return enter(rows, frame, task, head.due_status(), &reason.join("; "));
    }
    group::grow(rows, frame, task, nodes, |_| false);
    let (reason, by) = ("what was done is undone".to_owned(), String::new());
    rows.record(frame, task, What::Grown { index: None, first, count, reason, by });
}

/// How often something of each key was undone: what runs again has the key of what was undone before.
fn keys_undone(plan: &Plan) -> BTreeMap<&str, u32> {
    let mut undone = BTreeMap::new();
    for of in plan.nodes().iter().filter_map(|node| plan.node(node.compensates?)) {
        *undone.entry(of.key.as_str()).or_default() += 1;
    }
    undone
}

/// What was completed and can be undone, the last one first.
fn order(rows: &Rows, plan: &Plan, task: TaskNo) -> Vec<Index> {
    let mut ranks: BTreeMap<Index, u32> = BTreeMap::new();
    let mut done: Vec<(_, u32, Index)> = (0..plan.len())
        .filter(|&index| plan.is_current(index) && !is_seen_to(rows, plan, task, index))
        .filter(|&index| plan.node(index).is_some_and(|node| node.compensate.is_some()))
        .filter_map(|index| {
            let sub = rows.subtask(task, index).filter(|sub| sub.state == SubtaskState::Completed)?;
            Some((sub.since, rank(plan, index, &mut ranks), index))
        })
        .collect();
    done.sort_unstable();
    done.into_iter().rev().map(|(_, _, index)| index).collect()
}

/// How long the longest way to it is: what depends on something ranks above it, also when both ended at the same time.
fn rank(plan: &Plan, index: Index, known: &mut BTreeMap<Index, u32>) -> u32 {
    let mut todo = vec![index];
    while let Some(&at) = todo.last() {
        let on = plan.node(at).map_or(&[][..], |node| &node.depends_on);
        let missing: Vec<Index> = on.iter().copied().filter(|on| !known.contains_key(on)).collect();
        if missing.is_empty() {
            let rank = on.iter().map(|on| known[on] + 1).max().unwrap_or(0);
            known.insert(at, rank);
            todo.pop();
        } else {
            todo.extend(missing);
        }
    }
    known[&index]
}

/// The node at `at` that undoes one; `first`: where those that undo begin.
fn undo(plan: &Plan, index: Index, at: Index, first: Index) -> Option<Node> {
    let node = plan.node(index)?;
    let undo = node.compensate.clone()?;
    Some(Node {
        key: format!("{}.compensation", node.key),
        id: String::new(),
        agent: undo.agent,
        capabilities: undo.capabilities,
        route: undo.route,
        input: undo.input.or_else(|| plan.input(index).map(ToOwned::to_owned)),
        depends_on: [Some(index), at.checked_sub(1).filter(|before| *before >= first)]
            .into_iter()
            .flatten()
            .collect(),
        run_if: RunIf::AllDone,
        when: None,
        on_failure: OnFailure::Review,
        compensate: None,
        compensates: Some(index),
        does: Does::Work,
        outer: Vec::new(),
        parent: None,
        replaces: None,
        drops: Vec::new(),
        item: None,
        nth: None,
        fallback: Vec::new(),
        ..node.clone()
    })
}
