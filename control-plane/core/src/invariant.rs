//! What must always be true of a task, checked over its whole state by the simulation and the tests.

use crate::{
    event::{Event, What},
    plan::Plan,
    subtask::{Outcome, Subtask, SubtaskState},
    task::Task,
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
    check_counters(task, subtasks, &mut found);
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
        if task.status.is_terminal() && !sub.state.is_terminal() {
            say(format!("unfinished in a {} task", task.status.word()));
        }
        let unfinished = plan.nodes()[i]
            .depends_on
            .iter()
            .filter(|&&d| {
                !matches!(subtasks[d as usize].state, SubtaskState::Completed | SubtaskState::Skipped)
            })
            .count();
        let open = unfinished > 0;
        if sub.state == SubtaskState::Pending
            && task.started_at.is_some()
            && !open
            && !task.status.is_terminal()
        {
            say("pending, though all dependencies are done".into());
        }
        let ran = sub.state.is_leased() || sub.state.is_ready() || sub.state == SubtaskState::Completed;
        if ran && open {
            say(format!("went ahead of {unfinished} dependencies"));
        }
    }
    check_events(task, subtasks, events, &mut found);
    found
}

fn check_counters(task: &Task, subtasks: &[Subtask], found: &mut Vec<String>) {
    let count = |is: fn(SubtaskState) -> bool| subtasks.iter().filter(|sub| is(sub.state)).count();
    let counters = [
        ("unfinished", task.unfinished, count(|state| !state.is_terminal())),
        ("failed", task.failed, count(|state| state == SubtaskState::Failed)),
        ("in_review", task.in_review, count(|state| state == SubtaskState::NeedsReview)),
        ("total", task.total, subtasks.len()),
    ];
    for (name, says, is) in counters {
        if says as usize != is {
            found.push(format!("counter {name} says {says}, counted {is}"));
        }
    }
    if task.due_status() != task.status {
        found.push(format!("status {}, due {}", task.status.word(), task.due_status().word()));
    }
    let waits = task.status.waits_for_person();
    let runs = !waits && !task.status.is_terminal();
    if task.wake_at != task.deadline.filter(|_| runs)
        || (waits && task.deadline.is_some()) != task.stopped_at.is_some() && !task.status.is_terminal()
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
            What::Ended { index, outcome: Outcome::Completed, .. }
            | What::Subtask { index, state: SubtaskState::Completed, .. } => {
                completions[*index as usize] += 1
            }
            What::Task { .. }
            | What::Subtask { .. }
            | What::Returned { .. }
            | What::Ended { .. }
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
