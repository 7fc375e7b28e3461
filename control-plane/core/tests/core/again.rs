//! What runs again: which nodes, of which tasks, and what becomes of everything that counted on the old ones.

use downbeat_core::{
    draft::{Failures, OnLimit, RunIf},
    event::What,
};

use crate::{
    ask::{
        Ask, cancel, deadline, decide, done, execute, fails_for_good, give_up, gives, look, open, pause,
        rerun, rerun_with, rerun_with_inputs, restore, retry, signal, sketch, skip, spawn, submit, suspend,
        tick,
    },
    table::{WAYS, check, given, settled},
    world::World,
};

const DIAMOND: &str = "a, b < a, c < a, d < b c";

#[test]
fn a_middle_node_takes_along_what_depends_on_it() {
    let mut world = World::with(DIAMOND, 9);
    given(&mut world, [gives("a", "1"), gives("b", "2"), gives("c", "3"), gives("d", "4")]);
    check(
        &mut world,
        [
            (rerun("b"), "rerun running 2 | t running | t running, t grown(2), b leased(1) | assign b w1"),
            (gives("b", "5"), "accepted | b completed, d leased | b completed(1), d leased(1) | assign d w1"),
            (gives("d", "6"), "accepted | t completed, d completed | d completed(1), t completed"),
        ],
    );
    assert_eq!(
        world.states("t"),
        "a completed, b~ completed, c completed, d~ completed, b completed, d completed"
    );
    assert_eq!((world.output("b"), world.output("d")), ("5", "6"));
    assert_eq!((world.task("t").total, world.task("t").unfinished, world.task("t").failed), (6, 0, 0));
}

#[test]
fn a_task_that_runs_loses_what_it_was_at() {
    let mut world = World::with(DIAMOND, 9);
    given(&mut world, [done("a"), done("b")]);
    check(
        &mut world,
        [
            (
                rerun("a"),
                "rerun running 4 | c~ cancelled, d~ cancelled
                | c~ cancelled(1), d~ cancelled, t grown(4), a leased(1) | revoke c~ w1, assign a w1",
            ),
            (done("coder"), "stale"),
        ],
    );
    given(&mut world, [done("a"), done("b"), done("c"), done("d")]);
    assert_eq!(world.task("t").status.word(), "completed");
}

#[test]
fn a_task_of_any_end_goes_on() {
    type Way = (&'static str, fn() -> Vec<Ask>);
    let ways: [Way; 3] = [
        ("completed", || vec![done("a"), done("b")]),
        ("failed", || vec![done("a"), fails_for_good("b"), give_up("b")]),
        ("cancelled", || vec![done("a"), cancel("t")]),
    ];
    for (status, way) in ways {
        let mut world = World::with("a, b < a, c < b", 9);
        way().into_iter().for_each(|ask| given(&mut world, [ask]));
        if status == "completed" {
            given(&mut world, [done("c")]);
        }
        assert_eq!(world.task("t").status.word(), status);
        given(&mut world, [rerun("b")]);
        assert_eq!(world.open(), "b leased, c pending", "{status}");
        let task = world.task("t");
        assert_eq!((task.failed, task.ended_at, task.reason.as_str()), (0, None, ""), "{status}");
        given(&mut world, [done("b"), done("c")]);
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn what_failed_elsewhere_still_counts() {
    let mut world = World::with_sketch(sketch("t", "a, b").failing("a b"), 9);
    given(&mut world, [fails_for_good("a"), fails_for_good("b"), rerun("a"), done("a")]);
    assert_eq!((world.task("t").status.word(), world.task("t").failed), ("failed", 1));
    given(&mut world, [rerun("b"), done("b")]);
    assert_eq!((world.task("t").status.word(), world.task("t").failed), ("completed", 0));
}

#[test]
fn who_handles_a_failure_runs_again_and_still_handles_it() {
    let task = sketch("t", "a, x, h < a x").failing("a").run_if("h", RunIf::AnyFailed);
    let mut world = World::with_sketch(task, 9);
    given(&mut world, [fails_for_good("a"), done("x")]);
    world.settle();
    given(&mut world, [done("h"), rerun("h")]);
    assert_eq!((world.open().as_str(), world.task("t").failed), ("h leased", 0));
    given(&mut world, [rerun("x"), done("x"), done("h")]);
    assert_eq!(world.task("t").status.word(), "completed");
    given(&mut world, [rerun("a"), done("a")]);
    assert_eq!(world.states("t").split(", ").last(), Some("h skipped"));
    assert_eq!(world.task("t").status.word(), "completed");
}

#[test]
fn twice_and_with_other_inputs() {
    let mut world = World::with("a, b < a", 9);
    given(&mut world, [done("a"), done("b"), rerun_with("a", "7"), rerun_with("a", "8")]);
    assert_eq!(world.open(), "a leased, b pending");
    let (task, index) = world.place("a");
    let node = world.plans[&task].node(index).expect("it is there");
    assert_eq!(node.input.as_ref().map(|input| input.get()), Some("8"));
    assert_eq!(node.id, "coder::t::5");
    given(&mut world, [rerun("a"), done("a"), done("b")]);
    let node = world.plans[&task].node(world.place("a").1).expect("it is there");
    assert_eq!(node.input.as_ref().map(|input| input.get()), Some("8"), "as it was last");
    assert_eq!(world.task("t").status.word(), "completed");
}

#[test]
fn what_cannot_run_again() {
    let mut world = World::new();
    given(&mut world, [open("w1", 9), submit(sketch("t", "a, g < a").group("g", sketch("", "x, y < x")))]);
    check(
        &mut world,
        [
            (rerun("a"), "TASK_NOT_STARTED"),
            (rerun("none/a"), "TASK_UNKNOWN"),
            (execute("t"), "executed running | t running, a leased | t running, a leased(1) | assign a w1"),
            (rerun("nothing"), "SUBTASK_UNKNOWN"),
        ],
    );
    given(&mut world, [done("a")]);
    settled(&mut world, false, [done("g.x"), done("g.y")]);
    check(
        &mut world,
        [
            (rerun("g.x"), "SUBTASK_STATE"),
            (rerun("a g.x"), "SUBTASK_STATE"),
            (rerun("g"), "rerun running 1 | t running | t running, t grown(1) | next g"),
        ],
    );
}

#[test]
fn what_was_replaced_cannot_run_again() {
    let mut world = World::with("a, b < a", 9);
    let old = "coder::t::1";
    given(&mut world, [done("a"), rerun("a")]);
    assert_eq!(world.place(old).1, 0);
    check(&mut world, [(rerun(old), "SUBTASK_STATE")]);
}

#[test]
fn a_part_of_a_group_that_runs() {
    for late in WAYS {
        let task = sketch("t", "g, z < g").group("g", sketch("", "x, y < x, w"));
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [gives("g.x", "1"), gives("g.y", "2"), rerun("g.x")]);
        assert_eq!(world.open(), "g waiting, z pending, g.w leased, g.x leased, g.y pending");
        settled(&mut world, late, [gives("g.w", "3"), gives("g.x", "4"), gives("g.y", "5")]);
        assert_eq!(world.output("g"), r#"{"w":3,"x":4,"y":5}"#);
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn a_failed_part_runs_again_before_its_group_has_failed() {
    for late in WAYS {
        let task = sketch("t", "g, z < g").group("g", sketch("", "x, y < x, w").failing("x"));
        let mut world = World::rested(task, 9, late);
        settled(
            &mut world,
            late,
            [fails_for_good("g.x"), rerun("g.x"), done("g.x"), done("g.y"), done("g.w")],
        );
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn a_group_and_a_part_of_it() {
    for late in WAYS {
        let task = sketch("t", "a, g < a").group("g", sketch("", "x, y < x"));
        for from in ["g g.x", "a g.x", "a g g.x"] {
            let mut world = World::rested(task.clone(), 9, late);
            settled(&mut world, late, [done("a"), done("g.x"), rerun(from)]);
            if from.starts_with('a') {
                settled(&mut world, late, [done("a")]);
            }
            assert_eq!(world.open(), "g waiting, g.x leased, g.y pending", "{from}");
            settled(&mut world, late, [done("g.x"), done("g.y")]);
            assert_eq!(world.task("t").status.word(), "completed");
        }
    }
}

#[test]
fn groups_within_what_runs_again_begin_anew() {
    let each = sketch("", "p, q < p");
    let task = sketch("t", "a, m < a, l < m, z < l").map("m", "outputs.a", Some(1), each).repeat(
        "l",
        "iteration == 2",
        2,
        OnLimit::Fail,
        sketch("", "x"),
    );
    for late in WAYS {
        let mut world = World::rested(task.clone(), 9, late);
        settled(&mut world, late, [gives("a", "[1,2]"), done("m.0.p"), rerun("a"), look()]);
        assert_eq!(world.open(), "a leased, m pending, l pending, z pending");
        settled(
            &mut world,
            late,
            [gives("a", "[1]"), done("m.0.p"), done("m.0.q"), done("l.1.x"), done("l.2.x")],
        );
        assert_eq!((world.open().as_str(), world.output("m")), ("z leased", r#"[{"p":{},"q":{}}]"#));
        settled(
            &mut world,
            late,
            [done("z"), rerun("m"), done("m.0.p"), done("m.0.q"), done("l.1.x"), done("l.2.x"), done("z")],
        );
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn an_element_runs_again_within_the_window() {
    let task =
        || sketch("t", "a, m < a").map_with("m", "outputs.a", Some(1), Failures::Continue, sketch("", "x"));
    for late in WAYS {
        for (first, order) in [("m.0", ["m.1", "m.2", "m.3", "m.0"]), ("m.1", ["m.2", "m.3", "m.1", ""])] {
            let mut world = World::rested(task(), 9, late);
            settled(&mut world, late, [gives("a", "[0,1,2,3]"), gives("m.0", "0"), rerun(first)]);
            check(&mut world, [(rerun("m.3"), "SUBTASK_STATE")]);
            for key in order.into_iter().filter(|key| !key.is_empty()) {
                let leased: Vec<String> =
                    (0..4).map(|n| format!("m.{n}")).filter(|key| world.sub(key).state.is_leased()).collect();
                assert_eq!(leased, [key], "{first}, late {late}");
                settled(&mut world, late, [gives(key, "9")]);
            }
            assert_eq!(world.output("m"), if first == "m.0" { "[9,9,9,9]" } else { "[0,9,9,9]" });
        }
    }
}

#[test]
fn the_last_element_that_ended_runs_again_when_the_window_is_free() {
    for late in WAYS {
        let task = sketch("t", "a, m < a").map("m", "outputs.a", Some(2), sketch("", "x, y < x"));
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [gives("a", "[0,1]"), done("m.0.x"), done("m.0.y"), rerun("m.0")]);
        assert_eq!(world.sub("m.0.x").state.word(), "leased");
        settled(
            &mut world,
            late,
            [rerun("m.0.x"), rerun("m.1"), done("m.1.x"), done("m.1.y"), done("m.0.x"), done("m.0.y")],
        );
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn a_round_that_runs_again_drops_those_behind_it_and_the_loop_asks_anew() {
    for late in WAYS {
        let body = sketch("", "x, y < x").failing("x y");
        let task = sketch("t", "l").repeat("l", "outputs.y == 7", 4, OnLimit::Fail, body);
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [done("l.1.x"), done("l.1.y"), done("l.2.x"), done("l.2.y"), rerun("l.1")]);
        assert_eq!(world.open(), "l waiting, l.1 waiting, l.1.x leased, l.1.y pending");
        settled(&mut world, late, [done("l.1.x"), done("l.1.y")]);
        assert_eq!(world.open(), "l waiting, l.2 waiting, l.2.x leased, l.2.y pending");
        // Also two at once, and one whose answer ends the loop.
        settled(&mut world, late, [rerun("l.1 l.2"), done("l.1.x"), gives("l.1.y", "7")]);
        assert_eq!((world.output("l"), world.task("t").status.word()), (r#"{"x":{},"y":7}"#, "completed"));
        let mut failing = World::rested(
            sketch("t", "l").repeat("l", "iteration == 2", 3, OnLimit::Fail, sketch("", "x").failing("x")),
            9,
            late,
        );
        settled(&mut failing, late, [done("l.1.x"), rerun("l.1"), fails_for_good("l.1.x"), tick()]);
        assert_eq!((failing.sub("l").state.word(), failing.code("l")), ("needs_review", "CHILD_FAILED"));
        settled(&mut failing, late, [retry("l"), done("l.1.x"), done("l.2.x")]);
        assert_eq!(failing.task("t").status.word(), "completed");
    }
}

#[test]
fn every_part_that_names_the_round_before_is_handed_it() {
    for late in WAYS {
        let body =
            sketch("", "x, y < x, z < y").when("y", "!has(outputs.previous) || outputs.previous.x == 1");
        let task = sketch("t", "l").repeat("l", "iteration == 2", 2, OnLimit::Fail, body);
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [gives("l.1.x", "1"), done("l.1.y"), done("l.1.z"), done("l.2.x")]);
        assert_eq!(world.open(), "l waiting, l.2 waiting, l.2.y leased, l.2.z pending");
        let (task, z) = world.place("l.2.z");
        let on = world.plans[&task].node(z).map(|node| node.depends_on.len());
        assert_eq!(on, Some(1), "who does not name it is not handed it");
    }
}

#[test]
fn what_is_restored_strands_nobody() {
    let mut world = World::with("a, b < a, c < b", 9);
    given(&mut world, [gives("a", "1"), done("b"), rerun("a")]);
    assert_eq!(world.open(), "a leased, b pending, c pending");
    // Somebody goes back who knows nothing of what waits for it.
    given(&mut world, [restore("a", "coder::t::1")]);
    assert_eq!((world.open().as_str(), world.output("a")), ("b leased, c pending", "1"));
    given(&mut world, [done("b"), done("c")]);
    assert_eq!(world.task("t").status.word(), "completed");
}

#[test]
fn who_is_restored_has_the_input_of_then() {
    let mut world = World::with_sketch(sketch("t", "a, b < a").input("a", "1"), 9);
    given(&mut world, [gives("a", "1"), done("b"), rerun_with("a", "2"), gives("a", "2"), done("b")]);
    given(&mut world, [restore("a", "coder::t::1"), rerun("a")]);
    let (task, a) = world.place("a");
    let input = world.plans[&task].node(a).and_then(|node| node.input.as_ref().map(|input| input.get()));
    assert_eq!(input, Some("1"));
}

#[test]
fn an_input_for_what_does_not_run_again_is_refused() {
    for late in WAYS {
        let task = sketch("t", "a, g < a, z").group("g", sketch("", "x, y < x"));
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [done("a"), done("g.x")]);
        let reject = world.ask(rerun_with_inputs("a", &["g.x", "z"])).replies.remove(0).expect_err("refused");
        assert_eq!(reject.code(), "INPUT_UNUSED");
        let words = "an input for what does not run again, or begins anew with its group: `z`, `g.x`";
        assert_eq!(reject.to_string(), words);
        settled(&mut world, late, [rerun_with_inputs("a", &["a", "g"])]);
    }
}

#[test]
fn another_input_is_approved_anew() {
    let task = || {
        sketch("t", "b, ok < b, d < b ok, z < d")
            .approval("ok", |_| {})
            .input("ok", "1")
            .input("d", "1")
            .draft("ok", |draft| draft.guards = true)
            .when("d", "states.ok == 'completed'")
    };
    for late in WAYS {
        let mut world = World::rested(task(), 9, late);
        settled(&mut world, late, [done("b"), decide("ok", "yes", "ann"), done("d"), done("z")]);
        settled(&mut world, late, [rerun("d")]);
        assert_eq!(world.open(), "d leased, z pending", "the same was approved");
        let seen = world.gate("ok").map(|gate| gate.digest);
        settled(&mut world, late, [rerun_with("d", "2")]);
        assert_eq!(world.open(), "ok waiting, d pending, z pending");
        assert_ne!(world.gate("ok").map(|gate| gate.digest), seen);
        let (task, gate) = world.place("ok");
        let input =
            world.plans[&task].node(gate).and_then(|node| node.input.as_ref().map(|input| input.get()));
        assert_eq!(input, Some("2"), "who is asked is shown the new one");
        settled(&mut world, late, [decide("ok", "no", "ann")]);
        assert_eq!((world.sub("d").state.word(), world.task("t").status.word()), ("skipped", "failed"));
    }
}

#[test]
fn gates_are_opened_anew() {
    let task = sketch("t", "a, ok < a, go < ok, rest < go")
        .approval("ok", |_| {})
        .signal("go", "go", None, None)
        .timer("rest", 10);
    for late in WAYS {
        let mut world = World::rested(task.clone(), 9, late);
        settled(&mut world, late, [done("a"), decide("ok", "yes", "ann"), signal("go", "1", "")]);
        settled(&mut world, late, [rerun("ok")]);
        assert_eq!(
            (world.open().as_str(), world.task("t").asking),
            ("ok waiting, go pending, rest pending", 1)
        );
        settled(&mut world, late, [rerun("ok")]);
        assert_eq!(world.task("t").asking, 1);
        settled(&mut world, late, [decide("ok", "yes", "bob"), signal("go", "2", ""), tick().later(10_000)]);
        assert_eq!((world.output("go"), world.task("t").status.word()), ("2", "completed"));
    }
}

#[test]
fn a_review_ends_with_what_is_replaced() {
    let mut world = World::with("a, b < a", 9);
    given(&mut world, [fails_for_good("a"), rerun("a")]);
    assert_eq!((world.task("t").status.word(), world.task("t").in_review), ("running", 0));
}

#[test]
fn a_paused_task_stays_paused() {
    let mut world = World::with("a, b < a", 9);
    given(&mut world, [done("a"), pause("t"), rerun("a")]);
    assert_eq!((world.task("t").status.word(), world.open().as_str()), ("paused", "a ready, b pending"));
    given(&mut world, [execute("t"), done("a"), done("b")]);
    assert_eq!(world.task("t").status.word(), "completed");
}

#[test]
fn a_deadline_that_is_ahead_is_kept_and_one_that_has_passed_is_gone() {
    let task = || sketch("t", "a, b < a").deadline(60_000);
    let mut world = World::with_sketch(task(), 9);
    given(&mut world, [done("a"), done("b")]);
    let told = "rerun running 1 | t running | t running, t grown(1), b leased(1) | wake t +50000, assign b w1 by +50000";
    check(&mut world, [(rerun("b").later(10_000), told)]);
    check(
        &mut world,
        [(
            deadline("t").later(50_000),
            "done | t failed, b cancelled | b cancelled(1), t failed | revoke b w1",
        )],
    );
    let told = "rerun running 1 | t running | t running, t grown(1), b leased(1) | assign b w1";
    check(
        &mut world,
        [
            (rerun("b"), told),
            (deadline("t").later(100_000), "done"),
            (done("b"), "accepted | t completed, b completed | b completed(1), t completed"),
        ],
    );
}

#[test]
fn a_deadline_counts_what_people_took_before() {
    let mut world = World::with_sketch(sketch("t", "a").deadline(60_000), 9);
    given(&mut world, [fails_for_good("a"), skip("a").later(100_000), rerun("a")]);
    let left = world.task("t").wake_at.map(|at| world.ahead_ms(at));
    assert_eq!(left, Some(60_000), "nobody waited for the task meanwhile");
}

#[test]
fn what_ends_at_once() {
    for late in WAYS {
        let task = sketch("t", "a, s < a").when("s", "false");
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [done("a"), rerun("s")]);
        assert_eq!(world.task("t").status.word(), "completed");
        assert_eq!(world.states("t"), "a completed, s~ skipped, s skipped");
    }
    let mut world = World::with_sketch(
        sketch("t", "a").does(
            "a",
            downbeat_core::draft::Does::Timer(downbeat_core::draft::Timer::Until(downbeat_core::time::Time(
                0,
            ))),
        ),
        9,
    );
    check(
        &mut world,
        [(rerun("a"), "rerun completed 1 | | t running, t grown(1), a completed, t completed")],
    );
}

#[test]
fn children_of_a_worker_end_with_it() {
    let mut world = World::with("p, z < p", 9);
    given(&mut world, [spawn("p", sketch("", "x, y < x")), suspend("p"), rerun("p")]);
    assert_eq!(world.open(), "p leased, z pending");
    assert_eq!(world.task("t").unfinished, 2);
}

#[test]
fn the_history_says_who_and_why() {
    let mut world = World::with("a", 9);
    given(&mut world, [done("a"), rerun("a")]);
    let grown = world.history[&world.task_no("t")].iter().find_map(|event| match &event.what {
        What::Grown { index, first, count, reason, by } => {
            Some((*index, *first, *count, reason.as_str(), by.as_str()))
        }
        _ => None,
    });
    assert_eq!(grown, Some((None, 1, 1, "again", "ann")));
}
