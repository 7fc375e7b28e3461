//! What a person does with one subtask. What each action may do in which state stands in `happenings`.

use downbeat_core::id::RouteNo;

use crate::{
    ask::{
        ack, agent, block, cancel, complete, done, execute, execute_until, fails, fails_for_good, give_up,
        hand_back, look, open, open_as, pause, release, retry, route, silence, skip, wake,
    },
    table::{check, given},
    world::World,
};

#[test]
fn a_retry_starts_counting_anew() {
    let mut world = World::with("a", 1);
    given(&mut world, [fails("a"), wake("a").later(4), look(), fails_for_good("a")]);
    let told = "ready | t running, a leased | a ready, t running, a leased(3) | assign a w1";
    check(&mut world, [(retry("a"), told)]);
    assert_eq!((world.sub("a").failures, world.sub("a").attempts), (0, 3));
    check(
        &mut world,
        [
            (fails("a"), "accepted | a backoff | a failed(3) BROKEN | wake a +4"),
            (retry("a"), "ready | a leased | a ready, a leased(4) | assign a w1"),
            (wake("a").later(1_000), "done"),
        ],
    );
    assert_eq!(world.sub("a").failures, 0);
}

#[test]
fn skipping_goes_on_without_it() {
    let mut world = World::with("a, b < a", 1);
    given(&mut world, [fails_for_good("a")]);
    let told = "skipped | t running, a skipped, b leased | a skipped, t running, b leased(1) | assign b w1";
    check(&mut world, [(skip("a"), told)]);
    assert_eq!(world.task("t").in_review, 0);
}

#[test]
fn giving_up_fails_the_task_at_its_end() {
    let mut world = World::with("a, b < a, c", 2);
    given(&mut world, [fails_for_good("a")]);
    check(
        &mut world,
        [
            (give_up("a"), "failed | t running, a failed, b skipped | a failed, b skipped, t running"),
            (done("c"), "accepted | t failed, c completed | c completed(1), t failed"),
        ],
    );
}

#[test]
fn completing_by_hand_delivers_an_output() {
    let mut world = World::with("a, b < a", 1);
    given(&mut world, [fails_for_good("a")]);
    let told =
        "completed | t running, a completed, b leased | a completed, t running, b leased(1) | assign b w1";
    check(&mut world, [(complete("a"), told)]);
    assert_eq!(&world.outputs[&world.place("a")].body[..], b"\"by hand\"");
}

#[test]
fn the_last_review_decides_the_task() {
    for (action, status) in [
        (skip("b"), "completed"),
        (complete("b"), "completed"),
        (give_up("b"), "failed"),
        (retry("b"), "running"),
    ] {
        let mut world = World::with("a, b", 2);
        given(&mut world, [done("a"), fails_for_good("b"), action]);
        assert_eq!(world.task("t").status.word(), status);
    }
}

#[test]
fn two_reviews_need_two_decisions() {
    let mut world = World::with("a, b, c", 3);
    check(
        &mut world,
        [
            (
                fails_for_good("a"),
                "accepted | t needs_review, a needs_review | a failed(1) BROKEN, t needs_review",
            ),
            (fails_for_good("b"), "accepted | b needs_review | b failed(1) BROKEN"),
            (skip("a"), "skipped | a skipped | a skipped"),
            (skip("b"), "skipped | t running, b skipped | b skipped, t running"),
        ],
    );
}

#[test]
fn a_review_of_a_paused_task_leaves_it_paused() {
    let mut world = World::with("a, b", 2);
    given(&mut world, [fails_for_good("a"), pause("t")]);
    check(
        &mut world,
        [
            (retry("a"), "ready | a ready | a ready"),
            (skip("a"), "skipped | a skipped | a skipped"),
            (done("b"), "accepted | t completed, b completed | b completed(1), t completed"),
        ],
    );
}

#[test]
fn what_waits_may_be_decided_without_a_failure() {
    let mut world = World::with("a, b, c, d < c", 0);
    given(&mut world, [execute_until("t", "b"), block("c")]);
    check(
        &mut world,
        [
            (skip("a"), "skipped | a skipped | a skipped"),
            (complete("b"), "completed | b completed | b completed"),
            (give_up("c"), "failed | t failed, c failed, d skipped | c failed, d skipped, t failed"),
        ],
    );
    assert_eq!(world.in_line(), "");
}

#[test]
fn a_late_result_cannot_undo_a_decision() {
    let mut world = World::with("a, b", 2);
    given(&mut world, [silence("a"), complete("a")]);
    check(
        &mut world,
        [(done("a"), "stale"), (fails("a"), "stale"), (ack("a"), "stale"), (wake("a").later(1_000), "done")],
    );
    assert_eq!(&world.outputs[&world.place("a")].body[..], b"\"by hand\"");
}

#[test]
fn releasing_twice_is_refused() {
    let mut world = World::with("a, b < a", 0);
    given(&mut world, [execute_until("t", "a")]);
    check(
        &mut world,
        [
            (release("a"), "ready | a ready | a ready | queued a"),
            (release("a"), "SUBTASK_STATE"),
            (release("b"), "pending"),
            (release("b"), "pending"),
        ],
    );
}

#[test]
fn routing_by_hand_finds_another_worker() {
    let painter = || open_as("w2", 1, &[agent("painter")]);
    let mut world = World::with("a", 0);
    given(&mut world, [painter()]);
    check(
        &mut world,
        [
            (look(), ""),
            (route("a", "painter"), "ready | a leased | a ready, a leased(1) | assign a w2"),
            (route("a", "coder"), "SUBTASK_STATE"),
        ],
    );
    let mut world = World::with("a", 0);
    given(&mut world, [painter(), block("a")]);
    let told = "ready | a leased | a ready, a leased(1) | assign a w2";
    check(&mut world, [(route("a", "painter"), told)]);
}

#[test]
fn routing_keeps_the_place_in_line() {
    let mut world = World::with("a, b", 0);
    let before = world.sub("a").clone();
    check(&mut world, [(route("a", "nobody"), "ready | | a ready | queued a")]);
    assert_eq!(world.in_line(), "a b");
    assert_ne!(world.sub("a").route, before.route);
    assert_eq!((world.sub("a").queued, world.sub("a").since), (before.queued, before.since));
    assert_eq!(world.reason("t"), "routed by hand");
}

#[test]
fn routing_holds_for_every_later_attempt() {
    let mut world = World::with("a, b < a", 0);
    given(&mut world, [open("w1", 2).and(open_as("w2", 2, &[agent("painter")]))]);
    check(
        &mut world,
        [
            (route("b", "painter"), "pending | a leased | b pending, a leased(1) | assign a w1"),
            (done("a"), "accepted | a completed, b leased | a completed(1), b leased(1) | assign b w2"),
            (hand_back("b"), "done | | b returned, b leased(1) | revoke b w2, assign b w2"),
            (fails("b"), "accepted | b backoff | b failed(1) BROKEN | wake b +4"),
            (route("b", "coder"), "backoff | | b backoff"),
            (wake("b").later(4), "done | b leased | b leased(2) | assign b w1"),
        ],
    );
    let plan = world.plans[&world.task_no("t")].clone();
    assert_eq!(plan.nodes()[1].route, RouteNo(1), "the plan never changes");
}

#[test]
fn routing_what_rests_wakes_nobody() {
    let mut world = World::with("a", 1);
    given(&mut world, [fails_for_good("a")]);
    check(
        &mut world,
        [
            (route("a", "painter"), "needs_review | | a needs_review"),
            (retry("a"), "ready | t running, a ready | a ready, t running | queued a"),
            (pause("t"), "paused | t paused | t paused"),
            (route("a", "coder"), "ready | | a ready"),
            (execute("t"), "executed running | t running, a leased | t running, a leased(2) | assign a w1"),
        ],
    );
}

#[test]
fn after_the_end_everything_is_final() {
    for end in [complete("a"), skip("a"), give_up("a"), cancel("t")] {
        let mut world = World::with("a", 0);
        given(&mut world, [end]);
        check(
            &mut world,
            [
                (retry("a"), "SUBTASK_STATE"),
                (skip("a"), "SUBTASK_STATE"),
                (give_up("a"), "SUBTASK_STATE"),
                (complete("a"), "SUBTASK_STATE"),
                (release("a"), "SUBTASK_STATE"),
                (route("a", "coder"), "SUBTASK_STATE"),
            ],
        );
    }
}
