//! Starting, holding, pausing, resuming, cancelling a whole task, and its deadline.

use downbeat_core::task::{Course, TaskStatus};

use crate::{
    ask::{
        ack, block, cancel, complete, deadline, done, execute, execute_manual, execute_served, execute_until,
        fails, fails_for_good, give_up, hand_back, look, open, pause, release, retry, sketch, skip, submit,
        unblock, wake,
    },
    table::{check, given},
    world::World,
};

#[test]
fn auto_starts_what_has_no_dependencies() {
    let mut world = World::new();
    given(&mut world, [submit(sketch("t", "a, b < a, c"))]);
    let told = "executed running | t running, a ready, c ready | t running | queued a, queued c";
    check(&mut world, [(execute("t"), told)]);
    assert_eq!(world.task("t").started_at, Some(world.now));
    assert_eq!(world.in_line(), "a c");
}

#[test]
fn what_starts_is_leased_in_the_same_commit() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a, b"))]);
    let told =
        "executed running | t running, a leased, b ready | t running, a leased(1) | assign a w1, queued b";
    check(&mut world, [(execute("t"), told)]);
}

#[test]
fn manual_holds_every_subtask() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a, b < a"))]);
    check(
        &mut world,
        [
            (execute_manual("t"), "executed running | t running, a waiting | t running, a waiting"),
            (release("a"), "ready | a leased | a ready, a leased(1) | assign a w1"),
            (done("a"), "accepted | a completed, b waiting | a completed(1), b waiting"),
            (release("b"), "ready | b leased | b ready, b leased(1) | assign b w1"),
            (done("b"), "accepted | t completed, b completed | b completed(1), t completed"),
        ],
    );
    assert_eq!(world.task("t").course, Course::Manual);
}

#[test]
fn checkpoints_hold_only_what_they_name() {
    let mut world = World::new();
    given(&mut world, [open("w1", 2), submit(sketch("t", "a, b < a, c < a, d < b"))]);
    check(
        &mut world,
        [
            (
                execute_until("t", "b"),
                "executed running | t running, a leased | t running, a leased(1) | assign a w1",
            ),
            (
                done("a"),
                "accepted | a completed, b waiting, c leased | a completed(1), b waiting, c leased(1) | assign c w1",
            ),
            (release("b"), "ready | b leased | b ready, b leased(1) | assign b w1"),
            (done("b"), "accepted | b completed, d leased | b completed(1), d leased(1) | assign d w1"),
        ],
    );
}

#[test]
fn a_release_before_its_time_lets_it_start_by_itself() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a, b < a")), execute_until("t", "b")]);
    check(
        &mut world,
        [
            (release("b"), "pending"),
            (done("a"), "accepted | a completed, b leased | a completed(1), b leased(1) | assign b w1"),
        ],
    );
}

#[test]
fn repeating_it_changes_nothing() {
    let mut world = World::with("a, b < a, c", 1);
    let before = world.clone();
    check(&mut world, [(execute("t"), "executed running"), (execute("t"), "executed running")]);
    assert_eq!(world.tasks, before.tasks);
    assert_eq!(world.subtasks, before.subtasks);
}

#[test]
fn executing_anew_states_anew_what_is_held() {
    let mut world = World::with("a, b < a, c", 0);
    check(
        &mut world,
        [
            (execute_until("t", "a b"), "executed running | a waiting | a waiting"),
            (
                execute_until("t", "c"),
                "executed running | a ready, c waiting | a ready, c waiting | queued a",
            ),
            (execute("t"), "executed running | c ready | c ready | queued c"),
            (complete("a"), "completed | a completed, b ready | a completed | queued b"),
            (execute_manual("t"), "executed running | b waiting, c waiting | b waiting, c waiting"),
        ],
    );
    assert_eq!(world.in_line(), "");
}

#[test]
fn what_nobody_can_do_is_blocked_at_once() {
    let mut world = World::new();
    given(&mut world, [submit(sketch("t", "a, b, c < a").agent("b", "painter"))]);
    let told = "executed running blocked #1 | t running, a ready, b blocked | t running, b blocked
        | queued a, queued b";
    check(
        &mut world,
        [
            (execute_served("t", "coder"), told),
            (execute_served("t", "coder"), "executed running blocked #1"),
            (execute_served("t", "coder painter"), "executed running | b ready | b ready | queued b"),
            (
                execute_served("t", ""),
                "executed running blocked #0 #1 | a blocked, b blocked | a blocked, b blocked",
            ),
        ],
    );
    assert_eq!(world.reason("t"), "no live worker can do it");
}

#[test]
fn blocked_and_unblocked_keep_the_place_in_line() {
    let mut world = World::with("a, b", 0);
    let queued = world.sub("a").queued;
    check(
        &mut world,
        [
            (block("a"), "done | a blocked | a blocked"),
            (block("a"), "done"),
            (unblock("a"), "done | a ready | a ready | queued a"),
            (unblock("a"), "done"),
        ],
    );
    assert_eq!(world.sub("a").queued, queued);
    assert_eq!(world.in_line(), "a b");
}

#[test]
fn in_a_paused_task_nothing_is_blocked() {
    let mut world = World::with("a", 0);
    given(&mut world, [pause("t")]);
    check(&mut world, [(block("a"), "done")]);
}

#[test]
fn paused_while_blocked_it_is_blocked_after() {
    let mut world = World::with("a", 0);
    check(
        &mut world,
        [
            (block("a"), "done | a blocked | a blocked"),
            (pause("t"), "paused | t paused | t paused"),
            (execute_served("t", ""), "executed running blocked #0 | t running | t running | queued a"),
            (pause("t"), "paused | t paused | t paused"),
            (unblock("a"), "done | a ready | a ready"),
            (execute("t"), "executed running | t running | t running | queued a"),
        ],
    );
}

#[test]
fn executing_a_finished_task() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (done("a"), "accepted | t completed, a completed | a completed(1), t completed"),
            (execute("t"), "executed completed"),
            (execute_manual("t"), "executed completed"),
        ],
    );
    let mut world = World::with("a", 1);
    given(&mut world, [fails("a"), give_up("a")]);
    check(&mut world, [(execute("t"), "TASK_FINISHED")]);
    let mut world = World::with("a", 1);
    given(&mut world, [cancel("t")]);
    check(&mut world, [(execute("t"), "TASK_FINISHED")]);
}

#[test]
fn a_paused_task_leaves_the_line_and_running_ones_finish() {
    let mut world = World::with("a, b, c < a, d < c", 1);
    assert_eq!(world.in_line(), "b");
    check(
        &mut world,
        [
            (pause("t"), "paused | t paused | t paused"),
            (pause("t"), "paused"),
            (look(), ""),
            (ack("a"), "accepted | a running | a running"),
            (done("a"), "accepted | a completed, c ready | a completed(1)"),
            (look(), ""),
        ],
    );
    assert_eq!(world.in_line(), "");
    let told = "executed running | t running, b leased | t running, b leased(1) | assign b w1, queued c";
    check(&mut world, [(execute("t"), told)]);
    assert_eq!(world.in_line(), "c");
}

#[test]
fn a_paused_task_completes_with_its_last_subtask() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (pause("t"), "paused | t paused | t paused"),
            (done("a"), "accepted | t completed, a completed | a completed(1), t completed"),
        ],
    );
}

#[test]
fn a_paused_task_takes_failures_and_returns_without_leasing() {
    let mut world = World::with("a, b", 2);
    check(
        &mut world,
        [
            (pause("t"), "paused | t paused | t paused"),
            (fails("a"), "accepted | a backoff | a failed(1) BROKEN | wake a +4"),
            (wake("a").later(4), "done | a ready"),
            (hand_back("b"), "done | b ready | b returned | revoke b w1"),
            (look(), ""),
            (
                execute("t"),
                "executed running | t running, a leased, b leased | t running, a leased(2), b leased(1)
                | assign a w1, assign b w1",
            ),
        ],
    );
}

#[test]
fn a_review_shows_again_after_a_pause() {
    let mut world = World::with("a, b", 2);
    check(
        &mut world,
        [
            (
                fails_for_good("a"),
                "accepted | t needs_review, a needs_review | a failed(1) BROKEN, t needs_review",
            ),
            (execute("t"), "executed needs_review"),
            (pause("t"), "paused | t paused | t paused"),
            (execute("t"), "executed needs_review | t needs_review | t needs_review"),
            (pause("t"), "paused | t paused | t paused"),
            (retry("a"), "ready | a ready | a ready"),
            (execute("t"), "executed running | t running, a leased | t running, a leased(2) | assign a w1"),
        ],
    );
}

#[test]
fn a_task_in_review_goes_on_with_the_rest() {
    let mut world = World::with("a, b, c < b", 2);
    check(
        &mut world,
        [
            (
                fails_for_good("a"),
                "accepted | t needs_review, a needs_review | a failed(1) BROKEN, t needs_review",
            ),
            (done("b"), "accepted | b completed, c leased | b completed(1), c leased(1) | assign c w1"),
            (done("c"), "accepted | c completed | c completed(1)"),
            (skip("a"), "skipped | t completed, a skipped | a skipped, t completed"),
        ],
    );
}

#[test]
fn cancelling_revokes_leases_and_ends_everything() {
    let mut world = World::with("a, b, c < a, d", 2);
    check(
        &mut world,
        [
            (
                cancel("t"),
                "cancelled | t cancelled, a cancelled, b cancelled, c cancelled, d cancelled
                | a cancelled(1), b cancelled(1), c cancelled, d cancelled, t cancelled
                | revoke a w1, revoke b w1",
            ),
            (cancel("t"), "cancelled"),
            (done("a"), "stale"),
            (look(), ""),
        ],
    );
    assert_eq!(world.task("t").reason, "not needed");
    assert_eq!(world.task("t").ended_at, Some(world.now));
    assert_eq!(world.reason("t"), "not needed");
}

#[test]
fn cancelling_spares_what_is_final() {
    let mut world = World::with("a, b < a", 1);
    check(
        &mut world,
        [
            (done("a"), "accepted | a completed, b leased | a completed(1), b leased(1) | assign b w1"),
            (cancel("t"), "cancelled | t cancelled, b cancelled | b cancelled(1), t cancelled | revoke b w1"),
        ],
    );
}

#[test]
fn cancelling_before_execution() {
    let mut world = World::new();
    given(&mut world, [submit(sketch("t", "a, b < a").deadline(9_000))]);
    let told = "cancelled | t cancelled, a cancelled, b cancelled | a cancelled, b cancelled, t cancelled";
    check(
        &mut world,
        [(cancel("t"), told), (deadline("t").later(9_000), "done"), (execute("t"), "TASK_FINISHED")],
    );
    assert_eq!(world.task("t").wake_at, None);
}

#[test]
fn the_deadline_fails_the_task() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a, b").deadline(9_000)), execute("t")]);
    check(
        &mut world,
        [
            (deadline("t").later(8_999), "done | | | wake t +1"),
            (
                deadline("t").later(1),
                "done | t failed, a cancelled, b cancelled | a cancelled(1), b cancelled, t failed | revoke a w1",
            ),
            (deadline("t"), "done"),
            (done("a"), "stale"),
        ],
    );
    assert_eq!(world.task("t").reason, "its deadline has passed");
    assert_eq!(world.task("t").wake_at, None);
}

#[test]
fn the_deadline_moves_on_by_the_time_that_people_take() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a, b < a").deadline(9_000)), execute("t")]);
    given(&mut world, [pause("t").later(1_000)]);
    assert_eq!(world.task("t").wake_at, None);
    check(&mut world, [(deadline("t").later(60_000), "done")]);
    given(&mut world, [execute("t")]);
    let head = world.task("t");
    assert_eq!((head.wake_at, head.stopped_at), (Some(world.now.plus_ms(8_000)), None));
    assert_eq!(head.deadline, head.wake_at);
    // The same while somebody has to review.
    given(&mut world, [fails_for_good("a")]);
    assert_eq!((world.task("t").status, world.task("t").wake_at), (TaskStatus::NeedsReview, None));
    given(&mut world, [retry("a").later(5_000)]);
    assert_eq!(world.task("t").wake_at, Some(world.now.plus_ms(8_000)));
}

#[test]
fn without_a_deadline_its_timer_means_nothing() {
    check(&mut World::with("a", 1), [(deadline("t").later(1_000_000), "done")]);
}

#[test]
fn the_result_and_the_cancel_in_one_batch() {
    let mut world = World::with("a, b", 2);
    let told = "accepted; cancelled; stale | t cancelled, a completed, b cancelled
        | a completed(1), b cancelled(1), t cancelled | revoke b w1";
    check(&mut world, [(done("a").and(cancel("t")).and(done("b")), told)]);
    let mut world = World::with("a", 1);
    let told = "accepted; TASK_FINISHED | t completed, a completed | a completed(1), t completed";
    check(&mut world, [(done("a").and(cancel("t")), told)]);
}

#[test]
fn pause_and_execute_in_one_batch_keep_the_line() {
    let mut world = World::with("a, b", 0);
    let told = "paused; executed running | | t paused, t running | queued a, queued b";
    check(&mut world, [(pause("t").and(execute("t")), told)]);
    assert_eq!(world.in_line(), "a b");
}
