//! Groups: subtasks that are done by others which belong to them. One mechanism for all that expands: the parts of a
//! group, the elements of a map, the rounds of a loop, and what a worker adds to its own subtask.
//!
//! A group is `waiting` while they run; its row counts those that have not ended. It is looked at when one of them
//! has, without loading the others: what takes more is left to an [`Attend`](crate::command::Command::Attend).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    check::PREVIOUS,
    command::{Reply, Verdict},
    decide::{self, give_up, output, postpone, scope},
    draft::{ContextKeys, Does, Loop, Map, OnFailure, OnLimit, Retry, RunIf},
    effect::{Effect, Next},
    event::What,
    expr::{self, Scope},
    flow::{Why, cancel_below, complete, plan, shift},
    id::{Index, LeaseAt, SessionNo, TaskNo},
    limits,
    plan::{NO_ROUTE, Node, Plan},
    reject::Reject,
    rerun,
    rows::Rows,
    subtask::{Happening, Subtask, SubtaskState},
    task::Course,
    time::Frame,
};

/// Its turn has come: what belongs to it is added to the plan. One that is begun anew goes on where it failed.
pub(crate) fn begin(rows: &mut Rows, frame: &Frame<'_>, plan: Arc<Plan>, task: TaskNo, index: Index) {
    let Some(node) = plan.node(index) else { return };
    shift(rows, frame, task, index, Happening::Hold);
    if plan.children(index).next().is_some() {
        return rerun::resume_group(rows, frame, &plan, task, index);
    }
    let (nodes, window) = match &node.does {
        Does::Group(_) | Does::Round => (parts(&plan, index), None),
        Does::Map(map) => {
            let Some(elements) = elements(rows, frame, &plan, task, index, map) else { return };
            (elements, map.max_parallel)
        }
        Does::Loop(_) => (vec![numbered_round(&plan, index, 1)], None),
        Does::Work | Does::Approval(_) | Does::Signal(_) | Does::Timer(_) | Does::Workflow(_) => return,
    };
    drop(plan);
    add(rows, frame, task, index, nodes, window);
}

/// One of its children has ended: does as much as can be done with the rows at hand.
pub(crate) fn attend(rows: &mut Rows, frame: &Frame<'_>, plan: Arc<Plan>, task: TaskNo, index: Index) {
    let (Some(node), Some(sub)) = (plan.node(index), rows.subtask(task, index)) else { return };
    let (pending, failed, begun) = (sub.pending, sub.failed, u32::from(sub.attempts));
    let (exceeded, window) = match &node.does {
        Does::Map(map) => (map.failures.exceeded_by(failed), map.max_parallel),
        Does::Group(_)
        | Does::Loop(_)
        | Does::Round
        | Does::Work
        | Does::Approval(_)
        | Does::Signal(_)
        | Does::Timer(_)
        | Does::Workflow(_) => (false, None),
    };
    if pending == 0 || exceeded {
        if decide::is_at_hand(rows, &plan, task, index) {
            join(rows, frame, plan, task, index);
        } else {
            postpone(rows, frame, task, index);
        }
        return;
    }
    // Whatever had been left for later is seen to.
    if sub.wake_at.is_some() {
        rows.subtask_mut(task, index).wake_at = None;
    }
    let Some(window) = window else { return };
    let all = u32::try_from(plan.children(index).len()).unwrap_or(u32::MAX);
    let running = begun.saturating_sub(all - pending);
    let to = all.min(begun + window.saturating_sub(running));
    if to <= begun {
        return;
    }
    let next: Vec<Index> = plan.children(index).skip(begun as usize).take((to - begun) as usize).collect();
    if next.iter().any(|child| rows.subtask(task, *child).is_none()) {
        rows.subtask_mut(task, index).wake_at = Some(frame.now);
        rows.push(Effect::Next(Next { task, index, begin: Some((begun, to)) }));
        return;
    }
    let group = rows.subtask_mut(task, index);
    group.attempts = u16::try_from(to).unwrap_or(u16::MAX);
    for child in next {
        let sub = rows.subtask_mut(task, child);
        sub.pending = sub.pending.checked_sub(1).expect("its map held it back");
        rows.undecided.push_back((task, child));
    }
}

/// All that belongs to it has ended, or too much of it has failed.
fn join(rows: &mut Rows, frame: &Frame<'_>, plan: Arc<Plan>, task: TaskNo, index: Index) {
    let (Some(node), Some(sub)) = (plan.node(index), rows.subtask(task, index)) else { return };
    let failed = sub.failed;
    match &node.does {
        Does::Map(map) if map.failures.exceeded_by(failed) => {
            let why = Why::reason("its map has failed");
            cancel_below(rows, frame, task, index, why);
            let reason = format!("{failed} of {} elements failed", plan.children(index).len());
            give_up(rows, frame, task, index, Why::coded("TOO_MANY_FAILURES", &reason));
        }
        Does::Map(_) => {
            let body = list_of(rows, &plan, task, index);
            finish(rows, frame, task, index, body, "all elements have ended");
        }
        Does::Group(_) | Does::Round | Does::Loop(_) if failed > 0 => {
            let failed = plan.children(index).find(|child| {
                rows.subtask(task, *child).is_some_and(|sub| sub.state == SubtaskState::Failed)
            });
            let reason = format!("`{}` failed", failed.map_or("", |child| plan.local_key(child)));
            give_up(rows, frame, task, index, Why::coded("CHILD_FAILED", &reason));
        }
        Does::Group(_) | Does::Round => {
            let body = object_of(rows, &plan, task, index);
            finish(rows, frame, task, index, body, "all its parts have ended");
        }
        Does::Loop(of) => {
            if let Some(round) = end_round(rows, frame, &plan, task, index, of) {
                drop(plan);
                add(rows, frame, task, index, vec![round], None);
            }
        }
        Does::Work | Does::Approval(_) | Does::Signal(_) | Does::Timer(_) | Does::Workflow(_) => {}
    }
}

fn finish(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, index: Index, body: Vec<u8>, reason: &str) {
    if body.len() > limits::GROUP_OUTPUT_BYTES {
        let reason = format!(
            "its outputs together: at most {} bytes (GROUP_OUTPUT_BYTES), got {}",
            limits::GROUP_OUTPUT_BYTES,
            body.len()
        );
        return give_up(rows, frame, task, index, Why::coded("OUTPUT_TOO_LARGE", &reason));
    }
    complete(rows, frame, task, index, Bytes::from(body), Why::reason(reason));
}

/// `{"draft": ..., "review": ...}`
fn object_of(rows: &Rows, plan: &Plan, task: TaskNo, index: Index) -> Vec<u8> {
    object(plan.children(index).map(|child| (plan.local_key(child), output(rows, task, child))))
}

/// An object of outputs by key; empty ones are null.
pub(crate) fn object<'a>(members: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut body = b"{".to_vec();
    for (n, (key, output)) in members.enumerate() {
        // Keys are names: nothing in them is escaped.
        body.extend_from_slice(if n > 0 { b",\"" } else { b"\"" });
        body.extend_from_slice(key.as_bytes());
        body.extend_from_slice(b"\":");
        body.extend_from_slice(or_null(output));
    }
    body.push(b'}');
    body
}

/// The elements' outputs in the order of the elements; null where one failed or was skipped.
fn list_of(rows: &Rows, plan: &Plan, task: TaskNo, index: Index) -> Vec<u8> {
    let by_place: BTreeMap<Option<u32>, Index> =
        plan.children(index).map(|child| (plan.node(child).and_then(|node| node.nth), child)).collect();
    let mut body = b"[".to_vec();
    for (n, child) in by_place.into_values().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(or_null(output(rows, task, child)));
    }
    body.push(b']');
    body
}

fn or_null(json: &[u8]) -> &[u8] {
    if json.is_empty() { b"null" } else { json }
}

/// The nodes of a map's elements; `None`: it has ended without any.
fn elements(
    rows: &mut Rows,
    frame: &Frame<'_>,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    map: &Map<Vec<Node>>,
) -> Option<Vec<Node>> {
    let elements = match expr::list(&map.over, &scope(rows, plan, task, index)) {
        Ok(elements) => elements,
        Err(issue) => {
            let reason = format!("map.over: {issue}");
            give_up(rows, frame, task, index, Why::coded("EXPRESSION_FAILED", &reason));
            return None;
        }
    };
    if elements.len() > limits::MAP_ELEMENTS {
        let (most, got) = (limits::MAP_ELEMENTS, elements.len());
        let reason = format!("map.over: at most {most} elements (MAP_ELEMENTS), got {got}");
        give_up(rows, frame, task, index, Why::coded("TOO_MANY_ELEMENTS", &reason));
        return None;
    }
    if elements.is_empty() {
        finish(rows, frame, task, index, b"[]".to_vec(), "there are no elements");
        return None;
    }
    Some((0..).zip(elements).map(|(nth, item)| element(plan, index, map, nth, item)).collect())
}

/// The node of one element: the body itself where that is one subtask, else a round that holds it.
fn element(plan: &Plan, index: Index, map: &Map<Vec<Node>>, nth: u32, item: Box<RawValue>) -> Node {
    let key = nth.to_string();
    let mut node = match &map.body[..] {
        [only] => part(plan, index, only, 0, None),
        _ => round(plan, index, map.body.iter().any(|part| !part.outer.is_empty())),
    };
    node.key = child_key(plan, index, &key);
    node.item = Some(item);
    node.nth = Some(nth);
    node
}

/// One run of the body of `index`. `linked`: it knows what the map or loop depends on.
fn round(plan: &Plan, index: Index, linked: bool) -> Node {
    let owner = plan.node(index);
    Node {
        key: String::new(),
        id: String::new(),
        agent: String::new(),
        capabilities: Vec::new(),
        route: NO_ROUTE,
        input: None,
        depends_on: owner.filter(|_| linked).map_or_else(Vec::new, |node| node.depends_on.clone()),
        sla_seconds: None,
        attempts_max: 1,
        retry: Retry::default(),
        fallback: Vec::new(),
        priority: owner.map(|node| node.priority).unwrap_or_default(),
        run_if: RunIf::AllDone,
        when: None,
        on_failure: OnFailure::Fail,
        compensate: None,
        context: ContextKeys::Given,
        compensates: None,
        does: Does::Round,
        outer: Vec::new(),
        parent: Some(index),
        replaces: None,
        drops: Vec::new(),
        guards: false,
        item: None,
        nth: None,
    }
}

/// A round of a loop, behind the one before it.
fn numbered_round(plan: &Plan, index: Index, nth: u32) -> Node {
    let mut node = round(plan, index, true);
    node.key = child_key(plan, index, &nth.to_string());
    node.nth = Some(nth);
    node.depends_on.extend(plan.children(index).next_back());
    node
}

/// A round has ended: the loop has too, or there is another one, which is given.
fn end_round(
    rows: &mut Rows,
    frame: &Frame<'_>,
    plan: &Plan,
    task: TaskNo,
    index: Index,
    of: &Loop<Vec<Node>>,
) -> Option<Node> {
    let last = plan.children(index).next_back()?;
    let rounds = plan.node(last).and_then(|node| node.nth).unwrap_or(1);
    let body = output(rows, task, last).to_vec();
    let mut scope = loop_scope(rows, plan, task, index, last);
    scope.set_int("iteration", rounds.into());
    match expr::is_true(&of.until, &scope) {
        Ok(true) => {
            let reason = format!("done after {rounds} rounds");
            finish(rows, frame, task, index, body, &reason);
        }
        Ok(false) if rounds < of.max_iterations => return Some(numbered_round(plan, index, rounds + 1)),
        Ok(false) => {
            let reason = format!("`until` did not hold after {rounds} rounds (max_iterations)");
            let why = Why::coded("LOOP_LIMIT", &reason);
            match of.on_limit {
                OnLimit::Fail => give_up(rows, frame, task, index, why),
                OnLimit::Complete => complete(rows, frame, task, index, Bytes::from(body), why),
            }
        }
        Err(issue) => {
            let reason = format!("loop.until: {issue}");
            give_up(rows, frame, task, index, Why::coded("EXPRESSION_FAILED", &reason));
        }
    }
    None
}

/// What `until` looks at: what the subtasks of the round delivered, and how they ended.
fn loop_scope<'a>(rows: &'a Rows, plan: &'a Plan, task: TaskNo, index: Index, last: Index) -> Scope<'a> {
    let mut scope = scope(rows, plan, task, index);
    let members: BTreeMap<&str, &RawValue> =
        serde_json::from_slice(output(rows, task, last)).unwrap_or_default();
    scope.set_members("outputs", members.into_iter().map(|(key, body)| (key, body.get().as_bytes())));
    let state = |part| rows.subtask(task, part).map_or("", |sub| sub.state.word());
    scope.set_words("states", plan.children(last).map(|part| (plan.local_key(part), state(part))));
    scope
}

/// The parts of a group or round, ready to be added.
fn parts(plan: &Plan, index: Index) -> Vec<Node> {
    let Some(node) = plan.node(index) else { return Vec::new() };
    // Of a loop, the round before this one: those that begin the round, and those that name it, are handed what it
    // delivered.
    let is_loop = |parent: Index| plan.node(parent).is_some_and(|node| matches!(node.does, Does::Loop(_)));
    let siblings = node.parent.filter(|parent| is_loop(*parent));
    let previous = node
        .depends_on
        .iter()
        .copied()
        .find(|on| siblings.is_some() && plan.node(*on).is_some_and(|before| before.parent == siblings));
    plan.body_of(index).iter().map(|template| part(plan, index, template, plan.len(), previous)).collect()
}

/// A node of a body as a node of the plan. `base`: where the first of the body will stand.
fn part(plan: &Plan, index: Index, template: &Node, base: Index, previous: Option<Index>) -> Node {
    let around = plan.node(index).map_or(&[][..], |node| &node.depends_on);
    let mut depends_on: Vec<Index> = template.depends_on.iter().map(|local| base + local).collect();
    let begins = depends_on.is_empty();
    depends_on.extend(template.outer.iter().filter_map(|place| around.get(*place as usize).copied()));
    // Behind all that is drawn: bodies within count those.
    depends_on.extend(previous.filter(|_| begins || names_previous(template)));
    Node {
        key: child_key(plan, index, &template.key),
        depends_on,
        outer: Vec::new(),
        parent: Some(index),
        ..template.clone()
    }
}

/// Whether an expression of it looks at the round before.
fn names_previous(template: &Node) -> bool {
    // A loop's own looks at the rounds within it.
    let asked = template.does.expression().filter(|_| !matches!(template.does, Does::Loop(_)));
    let names = |text: &str, root| expr::members(text, root).is_none_or(|names| names.contains(PREVIOUS));
    template
        .when
        .as_deref()
        .into_iter()
        .chain(asked)
        .any(|text| names(text, "outputs") || names(text, "states"))
}

fn child_key(plan: &Plan, index: Index, local: &str) -> String {
    format!("{}.{local}", plan.node(index).map_or("", |node| node.key.as_str()))
}

/// Adds nodes that belong to `index` to the plan, with their rows. `window`: how many of them may begin now.
fn add(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    index: Index,
    nodes: Vec<Node>,
    window: Option<u32>,
) {
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    if let Some(reason) = too_many(rows, task, nodes.len()) {
        return give_up(rows, frame, task, index, Why::coded("TOO_MANY_SUBTASKS", &reason));
    }
    let begun = count.min(window.unwrap_or(count));
    grow(rows, frame, task, nodes, |nth| nth >= begun);
    let first = plan(rows, task).len() - count;
    let group = rows.subtask_mut(task, index);
    group.pending = count;
    group.failed = 0;
    group.skipped = 0;
    group.wake_at = None;
    group.attempts = u16::try_from(begun).unwrap_or(u16::MAX);
    let (reason, by) = (String::new(), String::new());
    rows.record(frame, task, What::Grown { index: Some(index), first, count, reason, by });
}

/// Why no more can be added to the task; `None`: they can.
pub(crate) fn too_many(rows: &Rows, task: TaskNo, more: usize) -> Option<String> {
    let got = rows.task(task).map_or(0, |head| head.total as usize) + more;
    (got > limits::TASK_SUBTASKS)
        .then(|| format!("at most {} subtasks of one task (TASK_SUBTASKS), got {got}", limits::TASK_SUBTASKS))
}

/// Adds nodes to the plan, with their rows; those whose dependencies have ended are decided about. `held_back`: by
/// their place among these, which wait for their turn beside.
pub(crate) fn grow(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    nodes: Vec<Node>,
    held_back: impl Fn(u32) -> bool,
) {
    let first = rows.grow_plan(task, nodes);
    let plan = plan(rows, task);
    let manual = rows.task(task).is_some_and(|head| head.course == Course::Manual);
    for index in first..plan.len() {
        let Some(node) = plan.node(index) else { continue };
        let (pending, failed, skipped) = rerun::settled(rows, task, node.depends_on.iter().copied());
        let held = manual && node.does.is_work();
        let mut row = Subtask::new(node, pending + u32::from(held_back(index - first)), held, frame.now);
        (row.failed, row.skipped) = (failed, skipped);
        rows.insert_subtask(task, index, row);
        rows.undecided.push_back((task, index));
    }
    let head = rows.task_mut(task);
    head.total = plan.len();
    head.unfinished += plan.len() - first;
}

/// A worker adds children to what it works on. Those that it added before are recognised by their keys.
pub(crate) fn spawn(
    rows: &mut Rows,
    frame: &Frame<'_>,
    at: LeaseAt,
    session: SessionNo,
    children: &[Node],
) -> Result<Reply, Reject> {
    let LeaseAt { task, index, lease } = at;
    let holds = |sub: &&Subtask| sub.lease == Some(lease) && sub.session == Some(session);
    if rows.subtask(task, index).filter(holds).is_none() {
        return Ok(Reply::Spawned { verdict: Verdict::Stale, children: Vec::new() });
    }
    let plan = plan(rows, task);
    if plan.depth(index) >= limits::GROUP_DEPTH {
        return Err(Reject::TooDeep { got: plan.depth(index) + 1 });
    }
    let known: BTreeMap<&str, Index> =
        plan.children(index).map(|child| (plan.local_key(child), child)).collect();
    let mut next = plan.len();
    let mut place = |child: &Node| {
        known.get(child.key.as_str()).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        })
    };
    let places: Vec<Index> = children.iter().map(&mut place).collect();
    let mut nodes = Vec::new();
    for (child, &at) in children.iter().zip(&places) {
        let asked = Node {
            key: child_key(&plan, index, &child.key),
            depends_on: child.depends_on.iter().map(|&local| places[local as usize]).collect(),
            parent: Some(index),
            ..child.clone()
        };
        match plan.node(at) {
            Some(there) if !is_same(there, &asked) => {
                return Err(Reject::ChildConflict(child.key.clone()));
            }
            Some(_) => {}
            None => nodes.push(asked),
        }
    }
    if let Some(reason) = too_many(rows, task, nodes.len()) {
        return Err(Reject::TooManySubtasks(reason));
    }
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    if count > 0 {
        let (first, are_first) = (plan.len(), known.is_empty());
        drop(plan);
        grow(rows, frame, task, nodes, |_| false);
        let parent = rows.subtask_mut(task, index);
        if are_first {
            (parent.failed, parent.skipped) = (0, 0);
        }
        parent.pending += count;
        parent.losses = 0;
        let (reason, by) = (String::new(), String::new());
        rows.record(frame, task, What::Grown { index: Some(index), first, count, reason, by });
    }
    Ok(Reply::Spawned { verdict: Verdict::Accepted, children: places })
}

/// Whether a child that is there is the one that is asked for: in all that can be asked. How many attempts there are
/// by default is the control plane's, and may have changed meanwhile.
fn is_same(there: &Node, asked: &Node) -> bool {
    let asked = Node { id: there.id.clone(), attempts_max: there.attempts_max, ..asked.clone() };
    let text = |node: &Node| serde_json::to_vec(node).expect("nodes are plain data");
    text(there) == text(&asked)
}
