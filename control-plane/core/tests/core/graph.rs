//! Dependencies: counted down in the completing transaction, whoever completes, skips or gives up.

use crate::{
    ask::{Ask, complete, done, fails, fails_for_good, give_up, look, open, pause, skip},
    table::{check, given},
    world::World,
};

const DIAMOND: &str = "a, b < a, c < a, d < b c";

#[test]
fn a_chain_goes_one_commit_per_hop() {
    check(
        &mut World::with("a, b < a, c < b", 1),
        [
            (done("a"), "accepted | a completed, b leased | a completed(1), b leased(1) | assign b w1"),
            (done("b"), "accepted | b completed, c leased | b completed(1), c leased(1) | assign c w1"),
            (done("c"), "accepted | t completed, c completed | c completed(1), t completed"),
        ],
    );
}

#[test]
fn a_diamond_across_batches() {
    let mut world = World::with(DIAMOND, 1);
    check(
        &mut world,
        [
            (
                done("a"),
                "accepted | a completed, b leased, c ready | a completed(1), b leased(1) | assign b w1, queued c",
            ),
            (done("b"), "accepted | b completed, c leased | b completed(1), c leased(1) | assign c w1"),
        ],
    );
    assert_eq!(world.sub("d").pending, 1);
    let told = "accepted | c completed, d leased | c completed(1), d leased(1) | assign d w1";
    check(&mut world, [(done("c"), told)]);
    assert_eq!(world.sub("d").pending, 0);
}

#[test]
fn a_diamond_in_one_batch() {
    let mut world = World::with(DIAMOND, 3);
    given(&mut world, [done("a")]);
    let both = done("b").and(done("c"));
    let told = "accepted; accepted | b completed, c completed, d leased
        | b completed(1), c completed(1), d leased(1) | assign d w1";
    check(&mut world, [(both, told)]);
}

#[test]
fn a_doubled_result_is_counted_once_in_the_same_batch() {
    let mut world = World::with(DIAMOND, 3);
    given(&mut world, [done("a")]);
    let told = "accepted; duplicate | b completed | b completed(1)";
    check(&mut world, [(done("b").and(done("b")), told)]);
    assert_eq!(world.sub("d").pending, 1);
}

#[test]
fn a_wide_fan_in_waits_for_the_last() {
    let keys: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let graph = format!("{}, last < {}", keys.join(", "), keys.join(" "));
    for batch in [1, 7, 50, 100] {
        let mut world = World::with(&graph, 101);
        for (i, some) in keys.chunks(batch).enumerate() {
            assert_eq!(world.sub("last").pending as usize, 100 - i * batch);
            assert_eq!(world.sub("last").state.word(), "pending");
            let all: Ask = some.iter().map(|key| done(key)).reduce(Ask::and).expect("chunks hold something");
            given(&mut world, [all]);
        }
        assert_eq!(world.sub("last").state.word(), "leased", "in batches of {batch}");
    }
}

#[test]
fn a_wide_fan_out_starts_at_once() {
    let leaves: Vec<String> = (0..100).map(|n| format!("n{n} < a")).collect();
    let mut world = World::with(&format!("a, {}", leaves.join(", ")), 40);
    given(&mut world, [done("a")]);
    let leased = world.subtasks.values().filter(|row| row.state.is_leased()).count();
    assert_eq!((leased, world.line().len()), (40, 60), "its own slot is free again");
}

#[test]
fn what_is_skipped_counts_as_done() {
    let mut world = World::with(DIAMOND, 0);
    check(
        &mut world,
        [
            (complete("a"), "completed | a completed, b ready, c ready | a completed | queued b, queued c"),
            (skip("b"), "skipped | b skipped | b skipped"),
            (skip("c"), "skipped | c skipped, d ready | c skipped | queued d"),
            (complete("d"), "completed | t completed, d completed | d completed, t completed"),
        ],
    );
    assert_eq!(world.task("t").failed, 0);
}

#[test]
fn what_is_given_up_takes_its_downstream_along() {
    let mut world = World::with("a, b < a, c < a, d < b c, e < d, f < c", 0);
    check(
        &mut world,
        [
            (complete("a"), "completed | a completed, b ready, c ready | a completed | queued b, queued c"),
            (give_up("b"), "failed | b failed, d skipped, e skipped | b failed, d skipped, e skipped"),
            (complete("c"), "completed | c completed, f ready | c completed | queued f"),
            (complete("f"), "completed | t failed, f completed | f completed, t failed"),
        ],
    );
    assert_eq!((world.task("t").failed, world.task("t").unfinished), (1, 0));
}

#[test]
fn each_is_skipped_once_where_paths_meet() {
    let mut world = World::with("a, b < a, c < a, d < b c, e < d a", 0);
    let told = "failed | t failed, a failed, b skipped, c skipped, d skipped, e skipped
        | a failed, b skipped, c skipped, e skipped, d skipped, t failed";
    check(&mut world, [(give_up("a"), told)]);
    let e = world.history[&world.task_no("t")].iter().filter(|event| event.what.index() == Some(4)).count();
    assert_eq!(e, 1);
}

#[test]
fn the_reason_of_a_skip_names_who_failed() {
    let mut world = World::with("a, b < a, c", 0);
    given(&mut world, [give_up("a")]);
    assert_eq!(world.reason("t"), "`a` did not succeed");
}

#[test]
fn both_parents_of_a_diamond_given_up() {
    let mut world = World::with(DIAMOND, 0);
    given(&mut world, [complete("a")]);
    let told =
        "failed; failed | t failed, b failed, c failed, d skipped | b failed, d skipped, c failed, t failed";
    check(&mut world, [(give_up("b").and(give_up("c")), told)]);
}

#[test]
fn one_parent_done_and_one_given_up_in_one_batch() {
    for swap in [false, true] {
        let mut world = World::with(DIAMOND, 0);
        given(&mut world, [complete("a")]);
        let (b, c) = (complete("b"), give_up("c"));
        given(&mut world, [if swap { c.and(b) } else { b.and(c) }]);
        assert_eq!(world.states("t"), "a completed, b completed, c failed, d skipped");
        assert_eq!(world.task("t").status.word(), "failed");
    }
}

#[test]
fn nothing_goes_ahead_of_a_dependency_in_review() {
    let mut world = World::with(DIAMOND, 2);
    given(&mut world, [open("w2", 4), done("a")]);
    check(
        &mut world,
        [
            (
                fails_for_good("b"),
                "accepted | t needs_review, b needs_review | b failed(1) BROKEN, t needs_review",
            ),
            (done("c"), "accepted | c completed | c completed(1)"),
            (
                skip("b"),
                "skipped | t running, b skipped, d leased | b skipped, t running, d leased(1) | assign d w2",
            ),
        ],
    );
}

#[test]
fn what_becomes_ready_in_a_paused_task_stays_out_of_the_line() {
    let mut world = World::with(DIAMOND, 1);
    given(&mut world, [pause("t")]);
    check(
        &mut world,
        [(done("a"), "accepted | a completed, b ready, c ready | a completed(1)"), (look(), "")],
    );
}

#[test]
fn a_failed_attempt_tells_its_dependents_nothing() {
    let mut world = World::with(DIAMOND, 1);
    check(&mut world, [(fails("a"), "accepted | a backoff | a failed(1) BROKEN | wake a +4")]);
    assert_eq!(world.states("t"), "a backoff, b pending, c pending, d pending");
}
