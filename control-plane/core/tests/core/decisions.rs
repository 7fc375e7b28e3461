//! What becomes of a subtask when what it waited for has happened: `run_if`, `when`, and what is skipped behind it.

use downbeat_core::{
    draft::{OnFailure, RunIf},
    subtask::SubtaskState,
};

use crate::{
    ask::{
        Ask, Sketch, cancel, complete, done, execute, fails, fails_for_good, follow, give_up, gives, look,
        lose, open, rerun, retry, sketch, skip, submit, tick, wake,
    },
    table::{WAYS, check, given, settled},
    world::World,
};

/// Ends `a` in some way; the way is named by what becomes of it.
fn end(way: &str) -> Ask {
    match way {
        "completed" => done("a"),
        "failed" => fails_for_good("a"),
        "waived" => fails_for_good("a"),
        way => panic!("{way}"),
    }
}

/// `it` waits for `a`, which ends that way, and for `b`, which is completed.
fn ended(run_if: RunIf, way: &str, late: bool) -> World {
    let mut task = sketch("t", "a, b, it < a b").run_if("it", run_if);
    task = match way {
        "failed" => task.failing("a"),
        "skipped" => task.when("a", "false"),
        _ => task,
    };
    let mut world = World::rested(task, 3, late);
    match way {
        "skipped" => {}
        "waived" => settled(&mut world, late, [end(way), skip("a")]),
        _ => settled(&mut world, late, [end(way)]),
    }
    settled(&mut world, late, [done("b")]);
    world
}

#[test]
fn each_run_if_with_each_end_of_what_it_waits_for() {
    let rows = [
        // way, all_succeeded, all_done, any_succeeded, any_failed
        ("completed", ["leased", "leased", "leased", "skipped"]),
        ("failed", ["skipped", "leased", "leased", "leased"]),
        ("skipped", ["skipped", "leased", "leased", "skipped"]),
        ("waived", ["leased", "leased", "leased", "skipped"]),
    ];
    let mut differ = Vec::new();
    for (way, expected) in rows {
        for (run_if, expected) in RunIf::ALL.into_iter().zip(expected) {
            for late in WAYS {
                let world = ended(run_if, way, late);
                let is = world.sub("it").state.word();
                if is != expected {
                    differ.push(format!("{way}, {}, late {late}: {expected}, is {is}", run_if.word()));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn only_all_succeeded_is_decided_before_the_last_has_ended() {
    for run_if in RunIf::ALL {
        let task = sketch("t", "a, b, it < a b").run_if("it", run_if).failing("a");
        let mut world = World::with_sketch(task, 3);
        given(&mut world, [fails_for_good("a")]);
        world.settle();
        let expected = if run_if == RunIf::AllSucceeded { "skipped" } else { "pending" };
        assert_eq!(world.sub("it").state.word(), expected, "{}", run_if.word());
    }
}

#[test]
fn any_succeeded_needs_one() {
    for late in WAYS {
        let task = sketch("t", "a, b, it < a b").run_if("it", RunIf::AnySucceeded).failing("a b");
        let mut world = World::rested(task, 3, late);
        settled(&mut world, late, [fails_for_good("a"), fails_for_good("b")]);
        assert_eq!(world.states("t"), "a failed, b failed, it skipped");
        assert_eq!(world.task("t").status.word(), "completed", "it was there for their failures");
    }
}

#[test]
fn what_a_cancelled_one_leaves_behind_is_not_run() {
    for (run_if, expected) in [(RunIf::AllSucceeded, "skipped"), (RunIf::AllDone, "leased")] {
        let mut world = World::with_sketch(sketch("t", "a, it < a").run_if("it", run_if), 1);
        given(&mut world, [cancel("t"), rerun("it"), look()]);
        assert_eq!(world.sub("it").state.word(), expected, "{}", run_if.word());
    }
}

#[test]
fn a_cascade_goes_on_by_commands_of_its_own() {
    let task = sketch("t", "a, b < a, c < b, d < c, e < d, x").failing("a");
    let mut world = World::with_sketch(task.clone(), 2);
    check(
        &mut world,
        [
            (fails_for_good("a"), "accepted | a failed | a failed(1) BROKEN | next b"),
            (follow(), "done | b skipped | b skipped | next c"),
            (follow(), "done | c skipped | c skipped | next d"),
            (follow(), "done | d skipped, e skipped | d skipped, e skipped"),
            (follow(), ""),
            (done("x"), "accepted | t failed, x completed | x completed(1), t failed"),
        ],
    );
    let mut world = World::with_sketch(task, 2);
    check(
        &mut world,
        [
            (fails_for_good("a"), "accepted | a failed | a failed(1) BROKEN | next b"),
            (tick(), "done | | | next b"),
            (follow(), "done | b skipped | b skipped | next c"),
            (tick(), "done | | | next c"),
        ],
    );
    world.settle_late();
    assert_eq!(world.open(), "x leased");
}

#[test]
fn a_cascade_meets_where_paths_meet() {
    for late in WAYS {
        let task = sketch("t", "a, b < a, c < a, d < b c, e < d, f < d, g < e f, last < g")
            .failing("a")
            .run_if("last", RunIf::AllDone);
        let mut world = World::rested(task, 1, late);
        settled(&mut world, late, [fails_for_good("a")]);
        assert_eq!(world.open(), "last leased");
        settled(&mut world, late, [done("last")]);
        assert_eq!(world.task("t").status.word(), "failed", "nobody who depends on `a` was there for it");
    }
}

#[test]
fn a_condition_sees_outputs_states_input_and_context() {
    for (when, expected) in [
        ("outputs.a.n > 1", "leased"),
        ("outputs.a.n > 2", "skipped"),
        ("states.a == 'completed'", "leased"),
        ("input.go", "leased"),
        ("outputs.a.missing > 1", "needs_review"),
        ("outputs.a.n", "needs_review"),
        ("has(context.nothing)", "needs_review"),
    ] {
        for late in WAYS {
            let task = sketch("t", "a, it < a").when("it", when).input("it", r#"{"go":true}"#);
            let mut world = World::rested(task, 1, late);
            settled(&mut world, late, [gives("a", r#"{"n":2}"#), look()]);
            assert_eq!(world.sub("it").state.word(), expected, "{when}, late {late}");
        }
    }
}

#[test]
fn what_the_first_look_cannot_know_is_decided_by_the_next() {
    let task =
        sketch("t", "a, b < a, c < b").when("b", "outputs.a == {}").when("c", "states.b == 'completed'");
    check(
        &mut World::with_sketch(task, 1),
        [
            (done("a"), "accepted | a completed, b leased | a completed(1), b leased(1) | assign b w1"),
            (done("b"), "accepted | b completed, c leased | b completed(1), c leased(1) | assign c w1"),
        ],
    );
}

/// `Pending` by `Exhaust`, `NeedsReview` by `Reopen`.
#[test]
fn a_condition_that_cannot_be_asked_is_for_a_person() {
    let task = || sketch("t", "a, it < a, then < it").when("it", "outputs.a.n > 1");
    let mut world = World::with_sketch(task(), 1);
    check(
        &mut world,
        [
            (
                done("a"),
                "accepted | t needs_review, a completed, it needs_review | a completed(1), it needs_review, t needs_review",
            ),
            (retry("it"), "needs_review | | it pending, it needs_review"),
        ],
    );
    assert_eq!(world.code("it"), "EXPRESSION_FAILED");
    let told = "skipped | t running, it skipped, then leased | it skipped, t running, then leased(1) | assign then w1";
    check(&mut world, [(skip("it"), told)]);
    for (action, status) in [(complete("it"), "running"), (give_up("it"), "failed")] {
        let mut world = World::with_sketch(task(), 1);
        given(&mut world, [done("a"), action]);
        assert_eq!(world.task("t").status.word(), status);
    }
}

/// `Pending` by `Fail`.
#[test]
fn a_condition_that_cannot_be_asked_fails_where_the_plan_says_so() {
    for late in WAYS {
        let task = sketch("t", "a, it < a, then < it, also < it")
            .when("it", "outputs.a.n > 1")
            .failing("it")
            .run_if("also", RunIf::AnyFailed);
        let mut world = World::rested(task, 1, late);
        settled(&mut world, late, [done("a")]);
        assert_eq!(world.states("t"), "a completed, it failed, then skipped, also leased");
        assert_eq!((world.code("it"), world.task("t").failed), ("EXPRESSION_FAILED", 0));
        settled(&mut world, late, [done("also")]);
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn a_retry_after_an_error_asks_again_and_may_have_another_answer() {
    let task =
        sketch("t", "a, b, it < a b").when("it", "states.b == 'completed' && outputs.b.ok").failing("b");
    let mut world = World::with_sketch(task.run_if("it", RunIf::AllDone), 3);
    given(&mut world, [done("a"), done("b")]);
    world.settle();
    assert_eq!(world.sub("it").state, SubtaskState::NeedsReview);
    given(&mut world, [rerun("b"), gives("b", r#"{"ok":true}"#)]);
    world.settle();
    assert_eq!(world.sub("it").state, SubtaskState::Leased);
}

#[test]
fn a_handled_failure_does_not_fail_the_task() {
    for run_if in [RunIf::AnyFailed, RunIf::AllDone] {
        for late in WAYS {
            let task = sketch("t", "a, clean < a, after < clean").failing("a").run_if("clean", run_if);
            let mut world = World::rested(task, 1, late);
            settled(&mut world, late, [fails_for_good("a")]);
            assert_eq!((world.open().as_str(), world.task("t").failed), ("clean leased, after pending", 0));
            settled(&mut world, late, [done("clean"), done("after")]);
            assert_eq!(world.task("t").status.word(), "completed");
        }
    }
}

#[test]
fn a_failure_counts_where_nobody_is_there_for_it() {
    let task = sketch("t", "a, clean < a, b").failing("a b").run_if("clean", RunIf::AnyFailed);
    let mut world = World::with_sketch(task, 2);
    given(&mut world, [fails_for_good("a"), fails_for_good("b"), done("clean")]);
    assert_eq!((world.task("t").status.word(), world.task("t").failed), ("failed", 1));
}

/// `Leased` by `Fail`, `Running` by `Fail`.
#[test]
fn on_failure_fail_needs_nobody() {
    type Way = (&'static str, fn(&mut World));
    let ways: [Way; 5] = [
        ("attempts", |w| {
            given(w, [fails("a"), wake("a").later(10), fails("a"), wake("a").later(10)]);
            given(w, [crate::ask::ack("a"), fails("a")]);
        }),
        ("no use", |w| given(w, [fails_for_good("a")])),
        ("silence", |w| {
            for _ in 0..3 {
                given(w, [crate::ask::ack("a"), crate::ask::silence("a"), wake("a").later(20)]);
            }
        }),
        ("losses", |w| {
            for _ in 0..3 {
                given(w, [lose("a"), look()]);
            }
        }),
        ("sla", |w| {
            for _ in 0..3 {
                given(w, [wake("a").later(5_000), wake("a").later(20), look()]);
            }
        }),
    ];
    for (name, way) in ways {
        for late in WAYS {
            let task =
                sketch("t", "a, b < a, c < b, d < a").failing("a").sla("a", 5).run_if("d", RunIf::AnyFailed);
            let mut world = World::rested(task, 1, late);
            way(&mut world);
            world.rest(late);
            assert_eq!(world.states("t"), "a failed, b skipped, c skipped, d leased", "{name}");
            assert_eq!(world.task("t").in_review, 0, "{name}");
        }
    }
}

#[test]
fn a_condition_before_a_task_begins_waits_for_it() {
    for late in WAYS {
        let mut world = World::new();
        let task: Sketch = sketch("t", "a, b").when("a", "false").when("b", "true");
        given(&mut world, [open("w1", 2), submit(task)]);
        assert_eq!(world.states("t"), "a pending, b pending");
        given(&mut world, [execute("t")]);
        world.rest(late);
        assert_eq!(world.states("t"), "a skipped, b leased");
    }
}

#[test]
fn what_was_skipped_by_a_condition_is_no_failure() {
    for late in WAYS {
        let task = sketch("t", "a, b < a, c < b").when("a", "false");
        let mut world = World::rested(task, 1, late);
        assert_eq!(world.states("t"), "a skipped, b skipped, c skipped");
        assert_eq!(world.task("t").status.word(), "completed");
        assert_eq!((world.code("a"), world.code("b")), ("CONDITION_FALSE", "DEPENDENCIES"));
        world.rest(late);
    }
}

#[test]
fn a_review_stays_one_where_the_plan_asks_for_it() {
    let task = sketch("t", "a, b < a").on_failure("a", OnFailure::Review).run_if("b", RunIf::AnyFailed);
    let mut world = World::with_sketch(task, 1);
    given(&mut world, [fails_for_good("a")]);
    assert_eq!(world.states("t"), "a needs_review, b pending");
    given(&mut world, [give_up("a")]);
    assert_eq!(world.states("t"), "a failed, b leased");
}
