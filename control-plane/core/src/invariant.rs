//! What must always be true of a task, checked over its whole state by the simulation and the tests.

use crate::{
    context::{self, Written},
    draft::{Does, Map, RunIf},
    event::{Event, What},
    id::Index,
    plan::Plan,
    subtask::{Subtask, SubtaskState},
    task::{Task, TaskStatus},
};

/// Every invariant that the task breaks, in words; empty when all hold.
///
/// `subtasks` in the order of the plan, `events` in the order of their numbers.
pub fn broken(task: &Task, plan: &Plan, subtasks: &[Subtask], events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    if subtasks.len() != plan.nodes().len() {
        found.push(format!("{} rows for {} subtasks", subtasks.len(), plan.nodes().len()));
        return found;
    }
    check_counters(task, plan, subtasks, &mut found);
    for (i, sub) in subtasks.iter().enumerate() {
        let mut say = |what: String| found.push(format!("subtask {i} ({}): {what}", sub.state.word()));
        if sub.session.is_some() != sub.state.is_leased() {
            say(format!("session {:?}", sub.session));
        }
        if sub.queued.is_some() != (sub.state.is_ready() && task.status.is_dispatching()) {
            say(format!("place in line {:?} in a {} task", sub.queued, task.status.word()));
        }
        if sub.state == SubtaskState::Backoff && sub.wake_at.is_none() {
            say("nothing will wake it".into());
        }
        let is_task = plan.nodes()[i].does.is_workflow() && sub.attempts + sub.failures > 0;
        let unheard = is_task && sub.state.is_terminal() && sub.wake_at.is_some() != (sub.pending > 0);
        let unbegun = sub.state == SubtaskState::Waiting && sub.pending == 0 && sub.wake_at.is_none();
        if unheard || unbegun && plan.nodes()[i].does.is_workflow() {
            say("nothing will see to the task that it is".into());
        }
        if task.status.is_terminal() && !sub.state.is_terminal() {
            say(format!("unfinished in a {} task", task.status.word()));
        }
        let index = Index::try_from(i).unwrap_or(Index::MAX);
        if plan.is_current(index) {
            check_waiting(task, plan, subtasks, index, &mut say);
        } else if !sub.state.is_terminal() {
            say("something has taken its place, and it goes on".into());
        }
    }
    check_events(task, subtasks, events, &mut found);
    found
}

/// Every invariant that the task's shared context breaks: versions have no gaps, and what is kept is what the history
/// says. `events` is the whole history.
pub fn broken_context(plan: &Plan, written: &Written, events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    let mut keys = context::keys(plan, &Written::default());
    for event in events {
        let What::Context { key, entry, .. } = &event.what else { continue };
        let before = keys.insert(key.clone(), *entry).map_or(0, |entry| entry.version);
        if entry.version != before + 1 {
            found.push(format!("context `{key}`: version {} after {before}", entry.version));
        }
    }
    let kept = context::keys(plan, written);
    if kept != keys {
        found.push(format!("the context is {kept:?}, and the history says {keys:?}"));
    }
    found
}

/// What a subtask waits for: its counters, and that it neither goes ahead nor is left behind.
fn check_waiting(task: &Task, plan: &Plan, subtasks: &[Subtask], index: Index, say: &mut impl FnMut(String)) {
    let (node, sub) = (&plan.nodes()[index as usize], &subtasks[index as usize]);
    let count = |of: &[Index], is: fn(&Subtask) -> bool| {
        of.iter().filter(|&&on| is(&subtasks[on as usize])).count() as u32
    };
    let unfinished = |sub: &Subtask| !sub.state.is_terminal();
    let failed = |sub: &Subtask| sub.state == SubtaskState::Failed;
    let skipped = |sub: &Subtask| {
        sub.state == SubtaskState::Cancelled || sub.state == SubtaskState::Skipped && !sub.waived
    };
    let on = &node.depends_on[..];
    let expected = (count(on, unfinished), count(on, failed), count(on, skipped));
    let has = (sub.pending, sub.failed, sub.skipped);
    let parent = node.parent.map(|parent| &plan.nodes()[parent as usize].does);
    let held_back = matches!(parent, Some(Does::Map(Map { max_parallel: Some(_), .. })));
    if sub.state == SubtaskState::Pending && !task.status.is_terminal() {
        let held = u32::from(held_back && has.0 > expected.0);
        if has != (expected.0 + held, expected.1, expected.2) {
            say(format!("its row counts {has:?} of its dependencies, there are {expected:?}"));
        }
        let failed = node.run_if == RunIf::AllSucceeded && expected.1 + expected.2 > 0;
        let due = expected.0 + held == 0 || failed;
        if due && task.started_at.is_some() && sub.wake_at.is_none() {
            say("pending, though all dependencies are done".into());
        }
    }
    let ran = sub.state.is_leased() || sub.state.is_ready() || sub.state == SubtaskState::Completed;
    let ahead = expected.0 > 0 || node.run_if == RunIf::AllSucceeded && expected.1 + expected.2 > 0;
    if ran && ahead {
        say(format!("went ahead of {} dependencies", expected.0 + expected.1 + expected.2));
    }
    let children: Vec<Index> = plan.children(index).collect();
    if sub.state == SubtaskState::Waiting && !children.is_empty() {
        let lost = |child: &&Index| failed(&subtasks[**child as usize]) && !plan.handles_failure_of(**child);
        let lost = children.iter().filter(lost).count() as u32;
        let expected = (count(&children, unfinished), lost);
        if (sub.pending, sub.failed) != expected {
            say(format!(
                "its row counts {:?} of its children, there are {expected:?}",
                (sub.pending, sub.failed)
            ));
        }
        if expected.0 == 0 && sub.wake_at.is_none() && !sub.held {
            say("waits, though all its children have ended".into());
        }
    }
}

fn check_counters(task: &Task, plan: &Plan, subtasks: &[Subtask], found: &mut Vec<String>) {
    let of_plan = |is: fn(&Plan, Index, &Subtask) -> bool| {
        (0..).zip(subtasks).filter(|(index, sub)| is(plan, *index, sub)).count()
    };
    let fatal = |plan: &Plan, index, sub: &Subtask| sub.state == SubtaskState::Failed && plan.is_fatal(index);
    let asks = |plan: &Plan, index, sub: &Subtask| {
        let approval = plan.node(index).is_some_and(|node| matches!(node.does, Does::Approval(_)));
        approval && sub.state == SubtaskState::Waiting
    };
    let count = |is: fn(SubtaskState) -> bool| subtasks.iter().filter(|sub| is(sub.state)).count();
    let counters = [
        ("unfinished", task.unfinished, count(|state| !state.is_terminal())),
        ("failed", task.failed, of_plan(fatal)),
        ("asking", task.asking, of_plan(asks)),
        ("in_review", task.in_review, count(|state| state == SubtaskState::NeedsReview)),
        ("total", task.total, subtasks.len()),
    ];
    for (name, says, is) in counters {
        if says as usize != is {
            found.push(format!("counter {name} says {says}, counted {is}"));
        }
    }
    let undoes = plan.may_compensate() && task.due_status() == TaskStatus::Failed && task.wake_at.is_some();
    if undoes {
        return;
    }
    if task.due_status() != task.status {
        found.push(format!("status {}, due {}", task.status.word(), task.due_status().word()));
    }
    let waits = task.waits_for_person();
    let undoes = task.course.end().is_some();
    if undoes && task.status.is_terminal() {
        found.push(format!("{:?} in a {} task", task.course, task.status.word()));
    }
    let runs = !waits && !task.status.is_terminal() && !undoes;
    let tells = task.status.is_terminal() && plan.inside().is_some();
    if !tells && task.wake_at != task.deadline.filter(|_| runs)
        || (waits && task.deadline.is_some()) != task.stopped_at.is_some()
            && !task.status.is_terminal()
            && !undoes
    {
        let Task { deadline, stopped_at, wake_at, .. } = task;
        found.push(format!("deadline {deadline:?}, stopped {stopped_at:?}, wakes {wake_at:?}"));
    }
    if task.status.is_terminal() != task.ended_at.is_some() {
        found.push(format!("status {} with end {:?}", task.status.word(), task.ended_at));
    }
}

fn check_events(task: &Task, subtasks: &[Subtask], events: &[Event], found: &mut Vec<String>) {
    for (expected, event) in (1..).zip(events) {
        if event.number != expected {
            found.push(format!("event {} stands where {expected} belongs", event.number));
            return;
        }
    }
    if events.len() as u64 != task.events {
        found.push(format!("{} events, the task counts {}", events.len(), task.events));
    }
    let mut leases = vec![None; subtasks.len()];
    let mut completions = vec![0; subtasks.len()];
    for event in events {
        match &event.what {
            What::Leased { index, lease, .. } => {
                let newest = &mut leases[*index as usize];
                if *newest >= Some(*lease) {
                    found.push(format!("subtask {index}: lease {lease} after {newest:?}"));
                }
                *newest = Some(*lease);
            }
            What::Ended { index, state: SubtaskState::Completed, .. }
            | What::Subtask { index, state: SubtaskState::Completed, .. } => {
                completions[*index as usize] += 1
            }
            What::Task { .. }
            | What::Subtask { .. }
            | What::Returned { .. }
            | What::Ended { .. }
            | What::Grown { .. }
            | What::Voted { .. }
            | What::Signalled { .. }
            | What::Snapshot { .. }
            | What::Context { .. }
            | What::Progress { .. } => {}
        }
    }
    for (i, (sub, completed)) in subtasks.iter().zip(completions).enumerate() {
        let expected = i32::from(sub.state == SubtaskState::Completed);
        if completed != expected {
            found.push(format!("subtask {i} ({}): completed {completed} times", sub.state.word()));
        }
        if sub.lease != leases[i] {
            found.push(format!("subtask {i}: lease {:?}, the history says {:?}", sub.lease, leases[i]));
        }
    }
}
