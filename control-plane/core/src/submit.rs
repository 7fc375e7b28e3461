//! Accepting a task.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    command::{Done, Reply, Submit},
    context,
    effect::{Effect, Wake},
    event::What,
    execute::execute,
    flow::{Why, record_state},
    id::TaskNo,
    nested,
    plan::Node,
    reject::Reject,
    rows::Rows,
    subtask::{Subtask, SubtaskState},
    task::{Course, Mode, Task, TaskStatus},
    time::{Frame, Time},
};

/// Writes the task with all its subtasks, or finds that it exists.
pub(crate) fn submit(rows: &mut Rows, frame: &mut Frame<'_>, submit: &Submit) -> Result<Reply, Reject> {
    if let Some(task) = rows.task_named(submit.tenant, &submit.id) {
        return if task.digest == submit.digest {
            Ok(Reply::Submitted { task: task.no, status: task.status, existed: true })
        } else {
            Err(Reject::TaskConflict(submit.id.clone()))
        };
    }
    let starts = submit.request.inside.as_ref().map_or(Ok(true), |inside| nested::admit(rows, inside))?;
    let no = frame.mint_task().ok_or(Reject::BatchFull)?;
    let (task, subtasks) = first_rows(submit, no, frame.now);
    rows.insert_task(task, submit.request.clone(), Arc::clone(&submit.plan));
    for (index, row) in (0..).zip(subtasks) {
        rows.insert_subtask(no, index, row);
    }
    let mut reason = String::new();
    if let Some(inside) = &submit.request.inside {
        nested::begun(rows, frame, inside, &submit.id);
        reason = format!("is the subtask `{}` of the task `{}`", inside.subtask_id, inside.task_id);
    }
    rows.record(frame, no, What::Task { status: TaskStatus::Planned, reason });
    context::take_over(rows, frame, no, &submit.context);
    for (index, Done { output, artifacts, from }) in &submit.done {
        rows.add_output(no, *index, output.clone(), artifacts.clone());
        let reason = format!("taken over from task `{from}`");
        record_state(rows, frame, no, *index, Why::coded("TAKEN_OVER", &reason));
    }
    if let Some(at) = submit.deadline {
        rows.push(Effect::Wake { at, wake: Wake::Task(no) });
    }
    if let Some(served) = submit.served.as_ref().filter(|_| starts) {
        execute(rows, frame, no, Mode::Auto, &BTreeSet::new(), served)?;
    }
    let status = rows.task(no).map_or(TaskStatus::Planned, |head| head.status);
    Ok(Reply::Submitted { task: no, status, existed: false })
}

/// The rows of the accepted task, before its first event.
fn first_rows(submit: &Submit, no: TaskNo, at: Time) -> (Task, Vec<Subtask>) {
    let total = u32::try_from(submit.plan.nodes().len()).expect("plans are bounded");
    let task = Task {
        no,
        tenant: submit.tenant,
        id: submit.id.clone(),
        digest: submit.digest,
        status: TaskStatus::Planned,
        course: Course::Auto,
        priority: submit.priority,
        total,
        unfinished: total - u32::try_from(submit.done.len()).expect("no more than there are"),
        failed: 0,
        in_review: 0,
        asking: 0,
        events: 0,
        created_at: at,
        started_at: None,
        ended_at: None,
        deadline: submit.deadline,
        stopped_at: None,
        due_at: submit.due_at,
        wake_at: submit.deadline,
        reason: String::new(),
    };
    let subtask = |node: &Arc<Node>| {
        let pending = u32::try_from(node.depends_on.len()).expect("plans are bounded");
        Subtask::new(node, pending, false, at)
    };
    let mut subtasks: Vec<Subtask> = submit.plan.nodes().iter().map(subtask).collect();
    for &index in submit.done.keys() {
        subtasks[index as usize].state = SubtaskState::Completed;
        for &dependent in submit.plan.dependents(index) {
            subtasks[dependent as usize].pending -= 1;
        }
    }
    (task, subtasks)
}
