//! The few shapes of tasks that tests run.

use downbeat_sdk::{Plan, SubmitTask, Subtask};

/// One subtask, `only`.
pub fn single(task: &str, agent: &str) -> SubmitTask {
    SubmitTask::new(task).title(task).plan(Plan::new().subtask(Subtask::new("only").agent(agent)))
}

/// `start`, then `left` and `right`, then `end`.
pub fn diamond(task: &str, agent: &str) -> SubmitTask {
    let sub = |key: &str| Subtask::new(key).agent(agent);
    SubmitTask::new(task).title(task).plan(
        Plan::new()
            .subtask(sub("start"))
            .subtask(sub("left").depends_on(["start"]))
            .subtask(sub("right").depends_on(["start"]))
            .subtask(sub("end").depends_on(["left", "right"])),
    )
}

/// `s0`, `s1`, ... one after the other.
pub fn chain(task: &str, agent: &str, length: usize) -> SubmitTask {
    let link = |i: usize| {
        let sub = Subtask::new(format!("s{i}")).agent(agent);
        if i == 0 { sub } else { sub.depends_on([format!("s{}", i - 1)]) }
    };
    SubmitTask::new(task).title(task).plan(Plan::new().subtasks((0..length).map(link)))
}

/// `s0`, `s1`, ... beside each other.
pub fn fan(task: &str, agent: &str, width: usize) -> SubmitTask {
    let subtasks = (0..width).map(|i| Subtask::new(format!("s{i}")).agent(agent));
    SubmitTask::new(task).title(task).plan(Plan::new().subtasks(subtasks))
}
