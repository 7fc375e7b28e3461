//! One execution under one lease: results, reports, failures, time-outs, losses.

use downbeat_core::{
    command::{Reply, Verdict, WorkResult},
    event::{Artifact, What},
    policy::Policy,
    subtask::Outcome,
};

use crate::{
    ask::{
        ack, agent, block, cancel, done, drain, execute, fails, fails_for_good, finish, hand_back, look,
        lose, open, open_as, pause, progress, retry, silence, sketch, submit, wake,
    },
    table::{check, given},
    world::World,
};

#[test]
fn a_result_under_the_current_lease_counts_once() {
    let mut world = World::with("a, b", 1);
    check(
        &mut world,
        [
            (done("a"), "accepted | a completed, b leased | a completed(1), b leased(1) | assign b w1"),
            (done("a#1"), "duplicate"),
            (done("a#1").and(done("a#1")), "duplicate; duplicate"),
            (
                done("b").and(done("b")),
                "accepted; duplicate | t completed, b completed | b completed(1), t completed",
            ),
            (done("b"), "duplicate"),
        ],
    );
    assert_eq!(&world.outputs[&world.place("a")].body[..], b"{}");
}

#[test]
fn an_output_is_kept_where_there_is_one() {
    let log = Artifact {
        name: "log".into(),
        uri: "s3://logs/1".into(),
        media_type: String::new(),
        size_bytes: 7,
        digest: String::new(),
    };
    let rows =
        [("", vec![], false), ("null", vec![], true), ("", vec![log.clone()], true), ("1", vec![log], true)];
    for (body, artifacts, kept) in rows {
        let mut world = World::with("a", 1);
        let result = WorkResult::Completed { output: body.into(), artifacts: artifacts.clone() };
        given(&mut world, [finish("a", result)]);
        let output = world.outputs.get(&world.place("a"));
        assert_eq!(output.is_some(), kept, "{body:?} with {artifacts:?}");
        assert!(output.is_none_or(|output| output.body == body && output.artifacts == artifacts));
    }
}

/// A worker that lost its session, and the answer to its result, sends it again in a new one.
#[test]
fn a_result_that_counted_is_recognised_whoever_repeats_it() {
    let mut world = World::with("a, b", 1);
    given(&mut world, [open("w2", 0), done("a")]);
    check(&mut world, [(done("a@w2"), "duplicate"), (fails("a@w2"), "stale")]);
}

#[test]
fn a_failure_under_the_current_lease_counts_once() {
    check(
        &mut World::with("a", 1),
        [
            (fails("a"), "accepted | a backoff | a failed(1) BROKEN | wake a +4"),
            (fails("a#1"), "duplicate"),
            (fails_for_good("a#1"), "duplicate"),
            (done("a#1"), "stale"),
            (ack("a#1"), "stale"),
        ],
    );
}

#[test]
fn a_message_under_anything_else_is_stale() {
    let mut world = World::with("a, b", 2);
    given(&mut world, [open("w2", 0)]);
    check(
        &mut world,
        [
            (done("a#x"), "stale"),
            (fails("a#x"), "stale"),
            (ack("a#x"), "stale"),
            (done("a@w2"), "stale"),
            (fails("a@w2"), "stale"),
            (progress("a@w2", "mine"), "stale"),
            (done("z#x"), "stale"),
            (done("u/a#x"), "stale"),
            (ack("z#x"), "stale"),
            (hand_back("a#x").and(lose("a#x")).and(silence("a#x")), "done; done; done"),
        ],
    );
    assert_eq!(world.states("t"), "a leased, b leased");
}

#[test]
fn an_old_lease_is_stale() {
    check(
        &mut World::with("a", 1),
        [
            (hand_back("a"), "done | a ready | a returned | revoke a w1, queued a"),
            (done("a#1"), "stale | a leased | a leased(1) | assign a w1"),
            (done("a#1"), "stale"),
            (fails("a#1"), "stale"),
            (ack("a#1"), "stale"),
            (lose("a#1").and(silence("a#1")).and(hand_back("a#1")), "done; done; done"),
            (done("a#2"), "accepted | t completed, a completed | a completed(1), t completed"),
            (done("a#1"), "stale"),
        ],
    );
}

#[test]
fn after_a_revocation_the_result_is_stale() {
    let timed = || World::with_sketch(sketch("t", "a, b").sla("a", 60), 1);
    for revocation in [cancel("t"), wake("a").later(60_000), silence("a"), lose("a"), hand_back("a")] {
        let mut world = timed();
        given(&mut world, [revocation]);
        let outcome = world.ask(done("a#1").and(fails("a#1")).and(ack("a#1")));
        assert_eq!(outcome.replies, [const { Ok(Reply::Verdict(Verdict::Stale)) }; 3]);
    }
}

#[test]
fn a_report_starts_it_and_keeps_its_timer() {
    let mut world = World::with_sketch(sketch("t", "a").sla("a", 60), 1);
    let armed = world.sub("a").wake_at;
    assert_eq!(armed, Some(world.now.plus_ms(60_000)));
    check(
        &mut world,
        [
            (ack("a").later(1_000), "accepted | a running | a running"),
            (ack("a"), "accepted"),
            (progress("a", "half"), "accepted | | a says half"),
        ],
    );
    assert_eq!(world.sub("a").wake_at, armed);
    let told = "done | a backoff | a timed_out(1) SLA_TIMEOUT | revoke a w1, wake a +4";
    check(&mut world, [(wake("a").later(59_000), told)]);
}

#[test]
fn progress_without_an_ack_starts_it_too() {
    check(
        &mut World::with("a", 1),
        [(progress("a", "half"), "accepted | a running | a running, a says half")],
    );
}

#[test]
fn the_third_failure_needs_review() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (fails("a"), "accepted | a backoff | a failed(1) BROKEN | wake a +4"),
            (wake("a").later(3), "done | | | wake a +1"),
            (wake("a").later(1), "done | a leased | a leased(2) | assign a w1"),
            (fails("a"), "accepted | a backoff | a failed(2) BROKEN | wake a +8"),
            (wake("a").later(8), "done | a leased | a leased(3) | assign a w1"),
            (fails("a"), "accepted | t needs_review, a needs_review | a failed(3) BROKEN, t needs_review"),
            (wake("a").later(1_000_000), "done"),
        ],
    );
    let reasons: Vec<&str> = world.history[&world.task_no("t")]
        .iter()
        .filter_map(|event| match &event.what {
            What::Ended { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    let second = "attempt 2 of 3; next in 8 ms";
    assert_eq!(reasons, ["attempt 1 of 3; next in 4 ms", second, "all 3 attempts are used up"]);
    assert_eq!((world.sub("a").failures, world.sub("a").attempts), (3, 3));
}

#[test]
fn failures_time_outs_and_silence_count_together() {
    let mut world = World::with_sketch(sketch("t", "a").sla("a", 60), 1);
    check(
        &mut world,
        [
            (silence("a"), "done | a backoff | a timed_out(1) HEARTBEAT_TIMEOUT | revoke a w1, wake a +4"),
            (wake("a").later(4), "done | a leased | a leased(2) | wake a +60000, assign a w1 by +60000"),
            (
                wake("a").later(60_000),
                "done | a backoff | a timed_out(2) SLA_TIMEOUT | revoke a w1, wake a +8",
            ),
            (wake("a").later(8), "done | a leased | a leased(3) | wake a +60000, assign a w1 by +60000"),
            (fails("a"), "accepted | t needs_review, a needs_review | a failed(3) BROKEN, t needs_review"),
        ],
    );
}

#[test]
fn what_fails_together_does_not_come_back_together() {
    let mut world = World::with("a, b", 2);
    world.policy = Policy::default();
    given(&mut world, [fails("a").and(fails("b"))]);
    let (a, b) = (world.sub("a").wake_at, world.sub("b").wake_at);
    assert_ne!(a, b);
    for at in [a, b].into_iter().flatten() {
        assert!((800..=1_000).contains(&world.ahead_ms(at)));
    }
}

#[test]
fn the_plan_says_how_many_attempts() {
    let mut world = World::with_sketch(sketch("t", "a").attempts("a", 1), 1);
    let told = "accepted | t needs_review, a needs_review | a failed(1) BROKEN, t needs_review";
    check(&mut world, [(fails("a"), told)]);
    assert_eq!(world.sub("a").failures, 1);
}

#[test]
fn no_use_trying_again_needs_review_at_once() {
    let mut world = World::with("a", 1);
    let told = "accepted | t needs_review, a needs_review | a failed(1) BROKEN, t needs_review";
    check(&mut world, [(fails_for_good("a"), told)]);
}

#[test]
fn the_sla_ends_an_attempt_and_not_before() {
    let mut world = World::with_sketch(sketch("t", "a").sla("a", 60), 1);
    check(
        &mut world,
        [
            (wake("a").later(59_999), "done | | | wake a +1"),
            (wake("a").later(1), "done | a backoff | a timed_out(1) SLA_TIMEOUT | revoke a w1, wake a +4"),
            (wake("a"), "done | | | wake a +4"),
        ],
    );
    assert_eq!(world.sub("a").outcome, Some(Outcome::TimedOut));
}

#[test]
fn a_timer_of_an_earlier_attempt_means_nothing() {
    let mut world = World::with_sketch(sketch("t", "a").sla("a", 60), 1);
    check(
        &mut world,
        [
            (hand_back("a").later(30_000), "done | a ready | a returned | revoke a w1, queued a"),
            (look().later(20_000), "| a leased | a leased(1) | wake a +60000, assign a w1 by +60000"),
            (wake("a").later(10_000), "done | | | wake a +50000"),
            (done("a"), "accepted | t completed, a completed | a completed(1), t completed"),
        ],
    );
}

#[test]
fn without_an_sla_nothing_times_out() {
    check(&mut World::with("a", 1), [(wake("a").later(1_000_000_000), "done")]);
}

#[test]
fn a_lost_worker_spends_no_attempt_and_too_many_need_review() {
    let mut world = World::with("a", 1);
    assert_eq!(world.policy.losses_max, 2);
    check(
        &mut world,
        [
            (lose("a"), "done | a ready | a lost(1) | revoke a w1, queued a"),
            (lose("a#1"), "done | a leased | a leased(2) | assign a w1"),
            (ack("a"), "accepted | a running | a running"),
            (lose("a"), "done | a ready | a lost(2) | revoke a w1, queued a"),
            (look(), "| a leased | a leased(3) | assign a w1"),
        ],
    );
    assert_eq!((world.sub("a").failures, world.sub("a").losses), (0, 2));
    let told = "done | t needs_review, a needs_review | a lost(3), t needs_review | revoke a w1";
    check(&mut world, [(lose("a"), told)]);
    check(
        &mut world,
        [(retry("a"), "ready | t running, a leased | a ready, t running, a leased(4) | assign a w1")],
    );
    assert_eq!((world.sub("a").failures, world.sub("a").losses), (0, 0));
}

#[test]
fn losses_and_failures_are_counted_apart() {
    let mut world = World::with("a", 1);
    given(&mut world, [fails("a"), wake("a").later(4), look(), lose("a"), look(), fails("a")]);
    assert_eq!((world.sub("a").failures, world.sub("a").losses, world.sub("a").attempts), (2, 1, 3));
    assert_eq!(world.states("t"), "a backoff");
}

#[test]
fn a_lease_handed_back_was_no_attempt() {
    let mut world = World::with("a", 1);
    given(&mut world, [fails("a"), wake("a").later(4), look()]);
    check(
        &mut world,
        [
            (hand_back("a"), "done | a ready | a returned | revoke a w1, queued a"),
            (look(), "| a leased | a leased(2) | assign a w1"),
            (hand_back("a"), "done | a ready | a returned | revoke a w1, queued a"),
            (look(), "| a leased | a leased(2) | assign a w1"),
        ],
    );
    let row = world.sub("a");
    assert_eq!((row.attempts, row.failures, row.losses), (2, 1, 0));
}

#[test]
fn what_comes_back_goes_to_the_end_of_the_line() {
    let mut world = World::with("a, b", 1);
    given(&mut world, [hand_back("a")]);
    assert_eq!(world.in_line(), "b a");
}

#[test]
fn a_draining_worker_finishes_what_it_has() {
    let mut world = World::with("a, b < a", 1);
    given(&mut world, [ack("a"), drain("w1")]);
    check(&mut world, [(done("a"), "accepted | a completed, b ready | a completed(1) | gone w1, queued b")]);
}

#[test]
fn lease_ids_only_grow() {
    let mut world = World::with("a", 1);
    for _ in 0..3 {
        given(&mut world, [hand_back("a"), look()]);
    }
    let leases: Vec<_> = world.given[&world.place("a")].iter().map(|given| given.0).collect();
    assert_eq!(leases.len(), 4);
    assert!(leases.is_sorted_by(|one, next| one < next), "{leases:?}");
}

#[test]
fn a_completed_task_tells_nobody_to_stop() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (done("a"), "accepted | t completed, a completed | a completed(1), t completed"),
            (pause("t"), "TASK_FINISHED"),
            (lose("a").and(silence("a")).and(hand_back("a")).and(wake("a")), "done; done; done; done"),
        ],
    );
    given(&mut world, [submit(sketch("u", "a")), execute("u")]);
    assert_eq!(world.states("u"), "u/a leased");
}

#[test]
fn another_agent_takes_over_when_attempts_are_used_up() {
    let task = sketch("t", "a").attempts("a", 1).draft("a", |draft| {
        draft.fallback = vec!["painter".into(), "writer".into()];
    });
    let mut world = World::with_sketch(task, 1);
    check(&mut world, [(fails("a"), "accepted | a ready | a failed(1) BROKEN | queued a")]);
    assert_eq!(world.reason("t"), "all 1 attempts are used up; falls back to `painter`");
    given(&mut world, [execute("t"), open_as("w2", 1, &[agent("painter")]), look()]);
    check(&mut world, [(fails_for_good("a"), "accepted | a ready | a failed(2) BROKEN | queued a")]);
    given(&mut world, [open_as("w3", 1, &[agent("writer")]), look()]);
    let told = "accepted | t needs_review, a needs_review | a failed(3) BROKEN, t needs_review";
    check(&mut world, [(fails_for_good("a"), told)]);
}

#[test]
fn another_agent_takes_over_from_one_that_is_away() {
    let task = sketch("t", "a").draft("a", |draft| draft.fallback = vec!["painter".into()]);
    let mut world = World::with_sketch(task, 0);
    check(&mut world, [(block("a"), "done | | a ready | queued a")]);
    check(&mut world, [(block("a"), "done | a blocked | a blocked")]);
}

#[test]
fn codes_that_are_not_to_be_tried_again_are_not() {
    let task = sketch("t", "a").draft("a", |draft| draft.retry.non_retryable = vec!["BROKEN".into()]);
    let mut world = World::with_sketch(task, 1);
    let told = "accepted | t needs_review, a needs_review | a failed(1) BROKEN, t needs_review";
    check(&mut world, [(fails("a"), told)]);
    assert_eq!(world.sub("a").failures, 1);
}
