//! Accepting a task: once, whatever is sent twice.

use downbeat_core::{id::TenantNo, subtask::SubtaskState, task::Priority, time::Time};

use crate::{
    ask::{execute, look, open, sketch, submit, submit_for},
    table::{check, given},
    world::World,
};

#[test]
fn a_new_task_is_planned_with_all_its_subtasks() {
    let mut world = World::new();
    let task = sketch("t", "a, b < a, c < a b").priority(Priority::High).deadline(60_000);
    check(&mut world, [(submit(task), "submitted planned | t planned | t planned | wake t +60000")]);
    assert_eq!(world.states("t"), "a pending, b pending, c pending");
    let pending: Vec<u32> = world.subtasks.values().map(|row| row.pending).collect();
    assert_eq!(pending, [0, 1, 2]);
    assert!(world.subtasks.values().all(|row| row.priority == Priority::High && row.queued.is_none()));
    let head = world.task("t");
    assert_eq!((head.total, head.unfinished, head.failed, head.in_review), (3, 3, 0, 0));
    assert_eq!((head.created_at, head.started_at, head.ended_at), (world.now, None, None));
    assert_eq!(head.wake_at, Some(Time(world.now.0 + 60_000)));
}

#[test]
fn a_repeat_finds_the_task() {
    check(
        &mut World::new(),
        [
            (submit(sketch("t", "a")), "submitted planned | t planned | t planned"),
            (submit(sketch("t", "a")), "existed planned"),
            (execute("t"), "executed running | t running, a ready | t running | queued a"),
            (submit(sketch("t", "a")), "existed running"),
        ],
    );
}

#[test]
fn a_task_can_start_as_it_is_planned() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1)]);
    let task = sketch("t", "a, b, c < a").at_once("coder");
    let told = "submitted running | t running
        | t planned, t running, a leased(1) | assign a w1, queued b";
    check(&mut world, [(submit(task.clone()), told), (submit(task), "existed running")]);
    let unserved = sketch("u", "a").at_once("");
    let told = "submitted running | u running | u planned, u running, u/a blocked | queued u/a";
    check(&mut world, [(submit(unserved), told)]);
}

#[test]
fn a_task_that_needs_nobody_is_over_as_it_is_planned() {
    let mut world = World::new();
    let task = sketch("t", "a, b < a").when("a", "false").at_once("coder");
    given(&mut world, [submit(task)]);
    assert_eq!(
        (world.task("t").status.word(), world.states("t").as_str()),
        ("completed", "a skipped, b skipped")
    );
}

#[test]
fn another_request_under_the_same_name_is_a_conflict() {
    check(
        &mut World::new(),
        [
            (submit(sketch("t", "a")), "submitted planned | t planned | t planned"),
            (submit(sketch("t", "a").digest(2)), "TASK_CONFLICT"),
            (submit(sketch("t", "a")), "existed planned"),
        ],
    );
}

#[test]
fn one_batch_decides_in_the_order_it_came() {
    let twice = submit(sketch("t", "a")).and(submit(sketch("t", "a")));
    let batch = twice.and(submit(sketch("t", "a").digest(2))).and(submit(sketch("u", "a")));
    let mut world = World::new();
    let told = "submitted planned; existed planned; TASK_CONFLICT; submitted planned
        | t planned, u planned | t planned, u planned";
    check(&mut world, [(batch, told)]);
    assert!(world.task_no("t") < world.task_no("u"));
}

#[test]
fn names_belong_to_their_tenant() {
    let mut world = World::new();
    check(
        &mut world,
        [
            (submit(sketch("t", "a")), "submitted planned | t planned | t planned"),
            (
                submit_for(TenantNo(2), sketch("t", "a").digest(2)),
                "submitted planned | t planned | t planned",
            ),
        ],
    );
    let tenants: Vec<i32> = world.tasks.values().map(|task| task.tenant.0).collect();
    assert_eq!(tenants, [1, 2]);
}

#[test]
fn a_planned_task_waits_to_be_executed() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a"))]);
    check(&mut world, [(look(), "")]);
    assert_eq!(world.sub("a").state, SubtaskState::Pending);
}
