//! Groups, maps, loops: what they add, in which order they deliver, what failures do to them.

use downbeat_core::{
    draft::{Failures, OnFailure, OnLimit, RunIf},
    limits,
};

use crate::{
    ask::{
        Sketch, attend, cancel, complete, deadline, decide, done, execute, fails_for_good, follow, give_up,
        gives, look, open, pause, retry, signal, sketch, skip, suspend, tick, wake,
    },
    table::{WAYS, check, given, settled},
    world::World,
};

/// `m` maps over what `a` delivers.
fn map(max_parallel: Option<u32>, failures: Failures, body: Sketch) -> Sketch {
    sketch("t", "a, m < a, z < m").map_with("m", "outputs.a", max_parallel, failures, body)
}

fn one() -> Sketch {
    sketch("", "x")
}

/// A world in which the map has begun over so many elements.
fn mapping(task: Sketch, slots: u32, over: &'static str, late: bool) -> World {
    let mut world = World::rested(task, slots, late);
    settled(&mut world, late, [gives("a", over), look()]);
    world
}

#[test]
fn a_group_runs_its_body_and_delivers_an_object() {
    let task = sketch("t", "g, z < g").group("g", sketch("", "x, y < x"));
    let mut world = World::with_sketch(task, 2);
    check(
        &mut world,
        [
            (
                gives("g.x", "1"),
                "accepted | g.x completed, g.y leased | g.x completed(1), g.y leased(1) | assign g.y w1",
            ),
            (gives("g.y", "[2]"), "accepted | g.y completed | g.y completed(1) | next g"),
            (follow(), "done | g completed, z leased | g completed, z leased(1) | assign z w1"),
            (done("z"), "accepted | t completed, z completed | z completed(1), t completed"),
        ],
    );
    assert_eq!(world.output("g"), r#"{"x":1,"y":[2]}"#);
}

#[test]
fn what_a_group_needs_is_asked_again_by_a_tick() {
    let task = sketch("t", "g, z < g").group("g", one());
    check(
        &mut World::with_sketch(task, 1),
        [
            (done("g.x"), "accepted | g.x completed | g.x completed(1) | next g"),
            (tick(), "done | | | next g"),
            (attend("g", None), "done | g completed, z leased | g completed, z leased(1) | assign z w1"),
            (attend("g", None), "done"),
            (follow(), "done"),
            (tick(), ""),
        ],
    );
}

#[test]
fn a_map_delivers_in_the_order_of_its_elements() {
    for late in WAYS {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut world = mapping(map(None, Failures::FailFast, one()), 3, r#"["p","q","r"]"#, late);
            let outputs = [r#""P""#, "", r#"{"r":1}"#];
            for n in order {
                settled(&mut world, late, [gives(&format!("m.{n}"), outputs[n])]);
            }
            assert_eq!(world.output("m"), r#"["P",null,{"r":1}]"#);
            assert_eq!(world.sub("z").state.word(), "leased");
        }
    }
}

#[test]
fn an_element_is_the_input_and_can_be_named() {
    let body = one().when("x", "item.go && input.go");
    for late in WAYS {
        let mut world =
            mapping(map(None, Failures::FailFast, body.clone()), 3, r#"[{"go":true},{"go":false}]"#, late);
        assert_eq!(world.states("t"), "a completed, m waiting, z pending, m.0 leased, m.1 skipped");
        settled(&mut world, late, [gives("m.0", "1")]);
        assert_eq!(world.output("m"), "[1,null]");
    }
}

#[test]
fn a_map_over_nothing() {
    for late in WAYS {
        let mut world = mapping(map(None, Failures::FailFast, one()), 1, "[]", late);
        assert_eq!((world.output("m"), world.sub("z").state.word()), ("[]", "leased"));
        settled(&mut world, late, [done("z")]);
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn what_is_no_list_cannot_be_gone_through() {
    for (over, code) in
        [("1", "EXPRESSION_FAILED"), ("", "EXPRESSION_FAILED"), (r#"{"a":1}"#, "EXPRESSION_FAILED")]
    {
        for late in WAYS {
            let mut world = mapping(map(None, Failures::FailFast, one()), 1, over, late);
            assert_eq!((world.sub("m").state.word(), world.code("m")), ("needs_review", code), "{over}");
            settled(&mut world, late, [retry("m")]);
            assert_eq!(world.sub("m").state.word(), "needs_review");
            settled(&mut world, late, [complete("m")]);
            assert_eq!(world.sub("z").state.word(), "leased");
        }
    }
    let world = mapping(map(None, Failures::FailFast, one()).failing("m"), 1, "1", false);
    assert_eq!(world.states("t"), "a completed, m failed, z skipped");
}

#[test]
fn too_many_elements() {
    let list: &'static str = Box::leak(format!("[0{}]", ",0".repeat(limits::MAP_ELEMENTS)).into_boxed_str());
    let world = mapping(map(None, Failures::FailFast, one()), 1, list, false);
    assert_eq!((world.sub("m").state.word(), world.code("m")), ("needs_review", "TOO_MANY_ELEMENTS"));
}

#[test]
fn so_many_elements_run_at_the_same_time() {
    for (window, at_once) in [(Some(1), 1), (Some(2), 2), (Some(4), 4), (Some(9), 5), (None, 5)] {
        for late in WAYS {
            for backwards in [false, true] {
                let mut world = mapping(map(window, Failures::FailFast, one()), 9, "[0,1,2,3,4]", late);
                for ended in 0..5_usize {
                    let running: Vec<String> = (0..5)
                        .map(|n| format!("m.{n}"))
                        .filter(|key| world.sub(key).state.is_leased())
                        .collect();
                    assert_eq!(
                        running.len(),
                        at_once.min(5 - ended),
                        "{window:?}, late {late}, {ended} ended"
                    );
                    let next = if backwards { running.last() } else { running.first() };
                    settled(&mut world, late, [done(next.expect("one runs"))]);
                }
                assert_eq!(world.sub("m").state.word(), "completed");
            }
        }
    }
}

#[test]
fn the_window_opens_in_the_table() {
    check(
        &mut mapping(map(Some(1), Failures::FailFast, one()), 3, "[0,1,2]", false),
        [
            (done("m.0"), "accepted | m.0 completed | m.0 completed(1) | next m 1..2"),
            (follow(), "done | m.1 leased | m.1 leased(1) | assign m.1 w1"),
            (done("m.1"), "accepted | m.1 completed | m.1 completed(1) | next m 2..3"),
            (tick(), "done | | | next m 2..3"),
            (attend("m", Some((0, 1))), "done | | | next m 2..3"),
            (follow(), "done | m.2 leased | m.2 leased(1) | assign m.2 w1"),
            (tick(), ""),
            (done("m.2"), "accepted | m.2 completed | m.2 completed(1) | next m"),
            (follow(), "done | m completed, z leased | m completed, z leased(1) | assign z w1"),
        ],
    );
}

#[test]
fn several_elements_end_in_one_batch() {
    let mut world = mapping(map(Some(2), Failures::FailFast, one()), 9, "[0,1,2,3]", false);
    check(
        &mut world,
        [
            (
                done("m.0").and(done("m.1")),
                "accepted; accepted | m.0 completed, m.1 completed | m.0 completed(1), m.1 completed(1) | next m 2..3, next m 2..4",
            ),
            (
                follow(),
                "done | m.2 leased, m.3 leased | m.2 leased(1), m.3 leased(1) | assign m.2 w1, assign m.3 w1",
            ),
        ],
    );
}

#[test]
fn failures_of_elements_are_counted() {
    for (failures, fail, state, output, failed) in [
        (Failures::FailFast, 1, "needs_review", "", "m.1 cancelled, m.2 cancelled"),
        (Failures::Tolerate(1), 1, "completed", "[null,1,1]", "m.1 completed, m.2 completed"),
        (Failures::Tolerate(1), 2, "needs_review", "", "m.1 failed, m.2 cancelled"),
        (Failures::Continue, 3, "completed", "[null,null,null]", "m.1 failed, m.2 failed"),
    ] {
        for late in WAYS {
            let mut world = mapping(map(None, failures, one()), 3, "[0,1,2]", late);
            for n in 0..3 {
                let key = format!("m.{n}");
                if world.sub(&key).state.is_leased() {
                    settled(
                        &mut world,
                        late,
                        [if n < fail { fails_for_good(&key) } else { gives(&key, "1") }],
                    );
                }
            }
            assert_eq!((world.sub("m").state.word(), world.output("m")), (state, output), "{failures:?}");
            assert!(world.states("t").ends_with(failed), "{failures:?}: {}", world.states("t"));
            if state == "needs_review" {
                assert_eq!(world.code("m"), "TOO_MANY_FAILURES");
            }
        }
    }
}

#[test]
fn a_failed_map_fails_where_the_plan_says_so_and_may_be_handled() {
    for late in WAYS {
        let task = map(None, Failures::FailFast, one()).failing("m").run_if("z", RunIf::AnyFailed);
        let mut world = mapping(task, 3, "[0,1,2]", late);
        settled(&mut world, late, [fails_for_good("m.1")]);
        assert_eq!(
            world.states("t"),
            "a completed, m failed, z leased, m.0 cancelled, m.1 failed, m.2 cancelled"
        );
        settled(&mut world, late, [done("z")]);
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn a_failed_map_tries_again_what_failed() {
    for late in WAYS {
        let mut world = mapping(map(Some(2), Failures::FailFast, one()), 9, "[0,1,2,3,4]", late);
        settled(&mut world, late, [gives("m.0", "10"), fails_for_good("m.1")]);
        assert_eq!(world.sub("m").state.word(), "needs_review");
        settled(&mut world, late, [retry("m")]);
        assert_eq!(world.open(), "m waiting, z pending, m.1 leased, m.2 leased, m.3 pending, m.4 pending");
        settled(&mut world, late, [gives("m.2", "12")]);
        assert_eq!(world.open(), "m waiting, z pending, m.1 leased, m.3 leased, m.4 pending");
        settled(&mut world, late, [gives("m.1", "11"), gives("m.3", "13"), gives("m.4", "14")]);
        assert_eq!(world.output("m"), "[10,11,12,13,14]");
    }
}

#[test]
fn a_map_fails_and_is_tried_again_many_times() {
    let mut world = mapping(map(Some(1), Failures::FailFast, one()), 9, "[0,1]", false);
    for _ in 0..5 {
        settled(&mut world, false, [fails_for_good("m.0"), retry("m")]);
    }
    settled(&mut world, false, [done("m.0"), done("m.1")]);
    assert_eq!(world.sub("m").state.word(), "completed");
}

#[test]
fn what_a_person_says_of_an_element() {
    let body = || one().on_failure("x", OnFailure::Review);
    for (action, output) in [(skip("m.1"), "[1,null]"), (complete("m.1"), r#"[1,"by hand"]"#)] {
        let mut world = mapping(map(None, Failures::FailFast, body()), 9, "[0,1]", false);
        settled(&mut world, false, [gives("m.0", "1"), fails_for_good("m.1")]);
        assert_eq!((world.sub("m.1").state.word(), world.sub("m").state.word()), ("needs_review", "waiting"));
        settled(&mut world, false, [action]);
        assert_eq!(world.output("m"), output);
    }
    let mut world = mapping(map(None, Failures::FailFast, body()), 9, "[0,1]", false);
    settled(&mut world, false, [fails_for_good("m.1"), give_up("m.1")]);
    assert_eq!(world.states("t"), "a completed, m needs_review, z pending, m.0 cancelled, m.1 failed");
}

#[test]
fn an_element_whose_turn_has_not_come_waits_for_it() {
    let mut world = mapping(map(Some(1), Failures::FailFast, one()), 9, "[0,1]", false);
    check(
        &mut world,
        [
            (skip("m.1"), "SUBTASK_STATE"),
            (complete("m.1"), "SUBTASK_STATE"),
            (execute("t"), "executed running"),
            (wake("m.1"), "done"),
            (attend("m.1", None), "done"),
        ],
    );
}

#[test]
fn elements_of_several_subtasks() {
    let body = sketch("", "x, y < x, r < y").on_failure("y", OnFailure::Review);
    for late in WAYS {
        let mut world = mapping(map(Some(1), Failures::Continue, body.clone()), 9, "[7,8]", late);
        assert_eq!(
            world.states("t"),
            "a completed, m waiting, z pending, m.0 waiting, m.1 pending, m.0.x leased, m.0.y pending, m.0.r pending"
        );
        settled(&mut world, late, [gives("m.0.x", "1"), fails_for_good("m.0.y")]);
        assert_eq!(world.task("t").status.word(), "needs_review");
        settled(&mut world, late, [skip("m.0.y"), gives("m.0.r", "3")]);
        assert_eq!(world.output("m.0"), r#"{"x":1,"y":null,"r":3}"#);
        settled(&mut world, late, [fails_for_good("m.1.x")]);
        assert_eq!(world.output("m"), r#"[{"x":1,"y":null,"r":3},null]"#);
        let states = world.states("t");
        assert!(states.ends_with("m.1.x failed, m.1.y skipped, m.1.r skipped"), "{states}");
    }
}

#[test]
fn a_failed_part_fails_its_group() {
    for late in WAYS {
        let body = sketch("", "x, y < x, w").failing("x");
        let mut world = World::rested(sketch("t", "g, z < g").group("g", body), 9, late);
        settled(&mut world, late, [fails_for_good("g.x")]);
        assert_eq!(world.states("t"), "g waiting, z pending, g.x failed, g.y skipped, g.w leased");
        settled(&mut world, late, [gives("g.w", "1")]);
        assert_eq!((world.sub("g").state.word(), world.code("g")), ("needs_review", "CHILD_FAILED"));
        assert_eq!(world.task("t").failed, 0, "the group is for a person");
        settled(&mut world, late, [retry("g")]);
        assert_eq!(world.open(), "g waiting, z pending, g.x leased, g.y pending");
        settled(&mut world, late, [gives("g.x", "2"), gives("g.y", "3")]);
        assert_eq!(world.output("g"), r#"{"w":1,"x":2,"y":3}"#);
        settled(&mut world, late, [done("z")]);
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn a_failure_that_is_handled_within_does_not_fail_the_group() {
    for late in WAYS {
        let body = sketch("", "x, y < x").failing("x").run_if("y", RunIf::AnyFailed);
        let mut world = World::rested(sketch("t", "g, z < g").group("g", body), 9, late);
        settled(&mut world, late, [fails_for_good("g.x"), gives("g.y", "1")]);
        assert_eq!((world.sub("g").state.word(), world.output("g")), ("completed", r#"{"x":null,"y":1}"#));
    }
}

#[test]
fn a_person_decides_over_a_group_that_runs() {
    for (action, g, z) in [
        (skip("g"), "skipped", "leased"),
        (complete("g"), "completed", "leased"),
        (give_up("g"), "failed", "skipped"),
    ] {
        let body = sketch("", "x, y < x, n").group("n", one());
        let mut world = World::rested(sketch("t", "g, z < g").group("g", body), 9, false);
        settled(&mut world, false, [action]);
        assert_eq!((world.sub("g").state.word(), world.sub("z").state.word()), (g, z));
        assert_eq!(world.sub("g.n.x").state.word(), "cancelled");
        check(&mut world, [(done("g.x"), "stale"), (retry("g"), "SUBTASK_STATE")]);
    }
}

#[test]
fn groups_end_with_their_task() {
    let task = || {
        let inner = sketch("", "x, y < x").map("x", "[1,2,3]", Some(1), sketch("", "p, q < p"));
        sketch("t", "g, z < g").repeat("g", "true", 3, OnLimit::Fail, inner).deadline(60_000)
    };
    for (ask, status) in [(cancel("t"), "cancelled"), (deadline("t").later(60_000), "failed")] {
        let mut world = World::rested(task(), 9, false);
        assert_eq!(world.sub("g.1.x.0.p").state.word(), "leased");
        given(&mut world, [ask]);
        world.rest(true);
        assert_eq!((world.open().as_str(), world.task("t").status.word()), ("", status));
    }
    let mut world = World::rested(task(), 9, false);
    settled(&mut world, false, [pause("t"), done("g.1.x.0.p")]);
    assert_eq!((world.sub("g.1.x.0.q").state.word(), world.in_line().as_str()), ("ready", ""));
    settled(&mut world, false, [execute("t")]);
    assert_eq!(world.sub("g.1.x.0.q").state.word(), "leased");
}

#[test]
fn a_loop_runs_until_its_condition_holds() {
    let body = sketch("", "x, y < x").when("x", "true");
    let task = sketch("t", "l, z < l").repeat("l", "outputs.y.ok && iteration > 1", 5, OnLimit::Fail, body);
    for late in WAYS {
        let mut world = World::rested(task.clone(), 2, late);
        settled(&mut world, late, [gives("l.1.x", "1"), gives("l.1.y", r#"{"ok":true}"#)]);
        assert_eq!(world.open(), "l waiting, z pending, l.2 waiting, l.2.x leased, l.2.y pending");
        settled(&mut world, late, [gives("l.2.x", "2"), gives("l.2.y", r#"{"ok":true}"#)]);
        assert_eq!(
            (world.output("l"), world.sub("z").state.word()),
            (r#"{"x":2,"y":{"ok":true}}"#, "leased")
        );
    }
}

#[test]
fn a_loop_reaches_its_limit() {
    for (on_limit, on_failure, state, output) in [
        (OnLimit::Fail, OnFailure::Review, "needs_review", ""),
        (OnLimit::Fail, OnFailure::Fail, "failed", ""),
        (OnLimit::Complete, OnFailure::Review, "completed", r#"{"x":2}"#),
    ] {
        for late in WAYS {
            let task =
                sketch("t", "l").repeat("l", "outputs.x > 5", 2, on_limit, one()).on_failure("l", on_failure);
            let mut world = World::rested(task, 2, late);
            settled(&mut world, late, [gives("l.1.x", "1"), gives("l.2.x", "2")]);
            assert_eq!((world.sub("l").state.word(), world.output("l")), (state, output));
            assert_eq!(world.code("l"), "LOOP_LIMIT");
            if state == "needs_review" {
                settled(&mut world, late, [retry("l")]);
                assert_eq!(world.sub("l").state.word(), "needs_review", "nothing of it failed");
                settled(&mut world, late, [complete("l")]);
                assert_eq!(world.task("t").status.word(), "completed");
            }
        }
    }
}

#[test]
fn a_condition_of_a_loop_that_cannot_be_asked() {
    for late in WAYS {
        let task = sketch("t", "l").repeat("l", "outputs.x.n > 5", 2, OnLimit::Fail, one());
        let mut world = World::rested(task, 2, late);
        settled(&mut world, late, [gives("l.1.x", "1")]);
        assert_eq!((world.sub("l").state.word(), world.code("l")), ("needs_review", "EXPRESSION_FAILED"));
    }
}

#[test]
fn a_failed_round_fails_the_loop_and_runs_again() {
    for late in WAYS {
        let task = sketch("t", "l").repeat(
            "l",
            "iteration == 2",
            3,
            OnLimit::Fail,
            sketch("", "x, y < x").failing("y"),
        );
        let mut world = World::rested(task, 2, late);
        settled(&mut world, late, [done("l.1.x"), done("l.1.y"), done("l.2.x"), fails_for_good("l.2.y")]);
        assert_eq!((world.sub("l").state.word(), world.code("l")), ("needs_review", "CHILD_FAILED"));
        settled(&mut world, late, [retry("l")]);
        assert_eq!(world.open(), "l waiting, l.2 waiting, l.2.x leased, l.2.y pending");
        settled(&mut world, late, [done("l.2.x"), gives("l.2.y", "1")]);
        assert_eq!(world.output("l"), r#"{"x":{},"y":1}"#);
    }
}

#[test]
fn a_round_is_handed_the_round_before() {
    for late in WAYS {
        let body = one().when("x", "states.previous == 'completed' && outputs.previous.x < 3");
        let body = Sketch { drafts: [body.drafts, sketch("", "s").drafts].concat(), ..one() };
        let body = body.when("x", "true").when("s", "!has(outputs.previous) || outputs.previous.x == 1");
        let task = sketch("t", "l").repeat("l", "iteration == 3", 3, OnLimit::Fail, body);
        let mut world = World::rested(task, 3, late);
        settled(&mut world, late, [gives("l.1.x", "1"), done("l.1.s")]);
        assert_eq!(world.open(), "l waiting, l.2 waiting, l.2.x leased, l.2.s leased");
        settled(&mut world, late, [gives("l.2.x", "2"), done("l.2.s")]);
        assert_eq!(world.open(), "l waiting, l.3 waiting, l.3.x leased");
    }
}

/// Whatever stands between, a body finds what its group depends on outside.
#[test]
fn bodies_within_bodies_know_what_is_outside() {
    let inner = sketch("", "x < a b").when("x", "outputs.a == 'A' && outputs.b == 'B'");
    let middle = |group: &str| {
        let mut drafts = sketch("", "b, i").group("i", inner.clone()).drafts;
        drafts[1].depends_on = group.split_whitespace().map(str::to_owned).collect();
        Sketch { drafts, ..sketch("", "b") }
    };
    for order in ["a b", "b a"] {
        for late in WAYS {
            let task = sketch("t", "a, g < a").repeat("g", "iteration == 2", 2, OnLimit::Fail, middle(order));
            let mut world = World::rested(task, 9, late);
            settled(&mut world, late, [gives("a", r#""A""#)]);
            for round in 1..3 {
                settled(&mut world, late, [gives(&format!("g.{round}.b"), r#""B""#)]);
                let x = format!("g.{round}.i.x");
                assert_eq!(world.sub(&x).state.word(), "leased", "{order}, round {round}");
                settled(&mut world, late, [done(&x)]);
            }
            assert_eq!(world.task("t").status.word(), "completed");
        }
    }
}

#[test]
fn a_group_in_a_loop_that_only_knows_what_is_outside() {
    for late in WAYS {
        let inner = sketch("", "x < a").when("x", "outputs.a == 'A'");
        let mut body = sketch("", "i").group("i", inner);
        body.drafts[0].depends_on = vec!["a".into()];
        let task = sketch("t", "a, g < a").repeat("g", "iteration == 2", 2, OnLimit::Fail, body);
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [gives("a", r#""A""#)]);
        for round in 1..3 {
            let x = format!("g.{round}.i.x");
            assert_eq!(world.sub(&x).state.word(), "leased", "round {round}");
            settled(&mut world, late, [done(&x)]);
        }
        assert_eq!(world.task("t").status.word(), "completed");
    }
}

#[test]
fn a_map_in_a_loop_in_a_group() {
    let each = sketch("", "p, q < p");
    let round = sketch("", "list, each < list").map("each", "outputs.list", Some(1), each);
    let group = sketch("", "l").repeat("l", "size(outputs.each) > 1", 4, OnLimit::Fail, round);
    let task = sketch("t", "g, z < g").group("g", group);
    for late in WAYS {
        let mut world = World::rested(task.clone(), 9, late);
        settled(&mut world, late, [gives("g.l.1.list", "[1]")]);
        settled(&mut world, late, [done("g.l.1.each.0.p"), done("g.l.1.each.0.q")]);
        settled(&mut world, late, [gives("g.l.2.list", "[1,2]")]);
        for n in 0..2 {
            settled(
                &mut world,
                late,
                [done(&format!("g.l.2.each.{n}.p")), done(&format!("g.l.2.each.{n}.q"))],
            );
        }
        assert_eq!(world.output("g"), r#"{"l":{"list":[1,2],"each":[{"p":{},"q":{}},{"p":{},"q":{}}]}}"#);
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn gates_in_bodies() {
    let body = sketch("", "ok, go < ok, rest < go")
        .approval("ok", |_| {})
        .signal("go", "go", Some("signal == item"), None)
        .timer("rest", 10);
    for late in WAYS {
        let mut world = mapping(map(None, Failures::FailFast, body.clone()), 1, "[1,2]", late);
        assert_eq!(world.task("t").asking, 2);
        settled(
            &mut world,
            late,
            [decide("m.1.ok", "yes", "ann"), signal("go", "1", ""), signal("go", "2", "")],
        );
        assert_eq!(world.sub("m.1.rest").state.word(), "waiting");
        settled(&mut world, late, [decide("m.0.ok", "yes", "ann"), tick().later(10_000)]);
        assert_eq!((world.output("m.0.go"), world.output("m.1.go")), ("1", "2"));
        settled(&mut world, late, [tick()]);
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn outside_failures_reach_into_bodies() {
    for late in WAYS {
        let mut body = sketch("", "x < a, y").run_if("x", RunIf::AnyFailed);
        body.drafts[1].depends_on = vec!["a".into()];
        let task = sketch("t", "a, g < a").failing("a").run_if("g", RunIf::AllDone).group("g", body);
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [fails_for_good("a")]);
        assert_eq!(world.states("t"), "a failed, g waiting, g.x leased, g.y skipped");
        settled(&mut world, late, [gives("g.x", "1")]);
        assert_eq!((world.output("g"), world.task("t").status.word()), (r#"{"x":1,"y":null}"#, "completed"));
    }
}

#[test]
fn a_group_with_a_condition() {
    for late in WAYS {
        let task = sketch("t", "g, z < g").group("g", one()).when("g", "false").run_if("z", RunIf::AllDone);
        let world = World::rested(task, 9, late);
        assert_eq!(world.states("t"), "g skipped, z leased");
    }
}

#[test]
fn groups_of_nothing_that_runs_end_at_once() {
    for late in WAYS {
        let body = sketch("", "x, y < x").when("x", "false");
        let task = sketch("t", "l, z < l").repeat("l", "iteration == 30", 40, OnLimit::Fail, body);
        let world = World::rested(task, 1, late);
        assert_eq!((world.output("l"), world.open().as_str()), (r#"{"x":null,"y":null}"#, "z leased"));
    }
}

#[test]
fn a_manual_task_holds_what_is_added() {
    let mut world = World::new();
    given(&mut world, [open("w1", 9), crate::ask::submit(sketch("t", "g").group("g", one()))]);
    given(&mut world, [crate::ask::execute_manual("t")]);
    world.settle();
    assert_eq!(world.states("t"), "g waiting, g.x waiting");
    check(
        &mut world,
        [
            (suspend("g.x"), "stale"),
            (crate::ask::release("g"), "SUBTASK_STATE"),
            (crate::ask::release("g.x"), "ready | g.x leased | g.x ready, g.x leased(1) | assign g.x w1"),
        ],
    );
}

#[test]
fn outputs_that_are_too_large_together() {
    let mut big = format!("\"{}\"", "x".repeat(limits::GROUP_OUTPUT_BYTES / 2));
    big.shrink_to_fit();
    let big: &'static str = Box::leak(big.into_boxed_str());
    let task = sketch("t", "g").group("g", sketch("", "x, y"));
    let mut world = World::with_sketch(task, 2);
    settled(&mut world, false, [gives("g.x", big), gives("g.y", big)]);
    assert_eq!((world.sub("g").state.word(), world.code("g")), ("needs_review", "OUTPUT_TOO_LARGE"));
}
