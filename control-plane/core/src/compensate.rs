//! Undoing what was done: before a task has failed, each of its completed subtasks that says how is undone, the last one
//! first. Until that is over the task goes on.

use std::collections::BTreeMap;

use crate::{
    draft::{Does, OnFailure, RunIf},
    effect::{Effect, Wake},
    event::What,
    flow::{self, plan},
    group,
    id::{Index, TaskNo},
    plan::{Node, Plan},
    rows::Rows,
    subtask::SubtaskState,
    task::TaskStatus,
    time::Frame,
};

/// Whether the task would have failed now, and something may have to be undone before.
pub(crate) fn is_due(rows: &Rows, task: TaskNo) -> bool {
    let fails = |status: TaskStatus, due: TaskStatus| !status.is_terminal() && due == TaskStatus::Failed;
    rows.task(task).is_some_and(|head| fails(head.status, head.due_status()))
        && rows.plan(task).is_some_and(|plan| plan.may_compensate())
}

/// Leaves it to a command of its own, which loads the whole task; its row asks for it too.
pub(crate) fn ask(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo) {
    rows.task_mut(task).wake_at = Some(frame.now);
    rows.push(Effect::Wake { at: frame.now, wake: Wake::Task(task) });
}

/// Something runs again, so that the task does not fail yet: its time is its deadline's again.
pub(crate) fn call_off(rows: &mut Rows, task: TaskNo) {
    let head = rows.task_mut(task);
    head.wake_at = head.deadline.filter(|_| !head.waits_for_person());
}

/// Adds what undoes, one after the other. With nothing to be undone the task has failed.
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
    head.wake_at = head.deadline;
    let reason = group::too_many(rows, task, nodes.len());
    if count == 0 || reason.is_some() {
        let reason = reason.map_or_else(String::new, |why| format!("nothing was undone: {why}"));
        return flow::enter(rows, frame, task, TaskStatus::Failed, &reason);
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
        .filter(|&index| plan.is_current(index) && !plan.is_undone(index))
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
        item: None,
        nth: None,
        fallback: Vec::new(),
        ..node.clone()
    })
}
