//! Children that a worker adds to what it has, and how it waits for them.

use downbeat_core::{draft::RunIf, limits};

use crate::{
    ask::{
        Sketch, ack, cancel, complete, done, execute_until, fails, fails_for_good, follow, give_up, gives,
        hand_back, look, lose, pause, release, rerun, retry, silence, sketch, skip, spawn, suspend, tick,
        wake,
    },
    table::{WAYS, check, given, settled},
    world::World,
};

fn two() -> Sketch {
    sketch("", "x, y < x")
}

/// `p` is leased by `w1`, and `z` waits for it.
fn parent(slots: u32) -> World {
    World::with_sketch(sketch("t", "p, z < p"), slots)
}

#[test]
fn children_run_beside_who_added_them() {
    let mut world = parent(2);
    check(
        &mut world,
        [
            (spawn("p", two()), "spawned 2 | | p grown(2), p.x leased(1) | assign p.x w1"),
            (spawn("p", two()), "spawned 2"),
            (spawn("p", sketch("", "x, y < x, v")), "spawned 3 | | p grown(1) | queued p.v"),
            (spawn("p", sketch("", "x").agent("x", "painter")), "CHILD_CONFLICT"),
            (spawn("p", sketch("", "x").input("x", "1")), "CHILD_CONFLICT"),
            (spawn("p#x", two()), "stale"),
            (spawn("p@w2", two()), "stale"),
        ],
    );
    assert_eq!(world.sub("p").pending, 3);
}

/// `Leased` by `Suspend`, `Running` by `Suspend`.
#[test]
fn who_suspends_goes_on_when_its_children_have_ended() {
    for running in [false, true] {
        let mut world = parent(2);
        if running {
            given(&mut world, [ack("p")]);
        }
        given(&mut world, [spawn("p", two())]);
        check(
            &mut world,
            [
                (suspend("p"), "accepted | p waiting | p suspended(1)"),
                (suspend("p"), "duplicate"),
                (done("p"), "stale"),
                (spawn("p", two()), "stale"),
                (
                    done("p.x"),
                    "accepted | p.x completed, p.y leased | p.x completed(1), p.y leased(1) | assign p.y w1",
                ),
                (
                    done("p.y"),
                    "accepted | p leased, p.y completed | p.y completed(1), p ready, p leased(2) | assign p w1",
                ),
                (
                    gives("p", "1"),
                    "accepted | p completed, z leased | p completed(2), z leased(1) | assign z w1",
                ),
            ],
        );
        assert_eq!(world.sub("p").failures, 0);
    }
}

#[test]
fn who_suspends_without_children_goes_on_at_once() {
    check(
        &mut parent(1),
        [(suspend("p"), "accepted | | p suspended(1), p ready, p leased(2) | assign p w1")],
    );
    let mut world = parent(2);
    given(&mut world, [spawn("p", sketch("", "x")), done("p.x")]);
    check(&mut world, [(suspend("p"), "accepted | | p suspended(1), p ready, p leased(2) | assign p w1")]);
}

#[test]
fn what_was_delivered_waits_for_the_children() {
    for late in WAYS {
        let mut world = parent(2);
        settled(&mut world, late, [spawn("p", two()), gives("p", "7")]);
        assert_eq!((world.sub("p").state.word(), world.output("p")), ("waiting", "7"));
        check(
            &mut world,
            [(gives("p", "7"), "duplicate"), (complete("p"), "SUBTASK_STATE"), (skip("p"), "SUBTASK_STATE")],
        );
        settled(&mut world, late, [done("p.x"), done("p.y")]);
        assert_eq!((world.sub("p").state.word(), world.sub("z").state.word()), ("completed", "leased"));
        assert_eq!(world.output("p"), "7");
    }
}

#[test]
fn what_was_delivered_is_completed_in_the_table() {
    let mut world = parent(2);
    given(&mut world, [spawn("p", sketch("", "x")), gives("p", "7")]);
    check(
        &mut world,
        [
            (done("p.x"), "accepted | p.x completed | p.x completed(1) | next p"),
            (tick(), "done | | | next p"),
            (follow(), "done | p completed, z leased | p completed(1), z leased(1) | assign z w1"),
            (tick(), ""),
        ],
    );
}

#[test]
fn whoever_delivers_decides_whenever_its_children_fail() {
    for late in WAYS {
        for fails_first in [true, false] {
            let mut world = parent(3);
            given(&mut world, [spawn("p", two().failing("x"))]);
            if fails_first {
                settled(&mut world, late, [fails_for_good("p.x"), gives("p", "7")]);
            } else {
                settled(&mut world, late, [gives("p", "7"), fails_for_good("p.x")]);
            }
            assert_eq!(world.states("t"), "p completed, z leased, p.x failed, p.y skipped", "{fails_first}");
            assert_eq!(world.output("p"), "7");
        }
    }
}

#[test]
fn what_failed_before_does_not_count_against_who_goes_on() {
    for late in WAYS {
        let mut world = parent(3);
        settled(&mut world, late, [spawn("p", two().failing("x")), suspend("p"), fails_for_good("p.x")]);
        settled(&mut world, late, [spawn("p", sketch("", "again")), gives("p", "7")]);
        assert_eq!(world.sub("p").state.word(), "waiting", "its new child goes on");
        settled(&mut world, late, [done("p.again")]);
        assert_eq!((world.sub("p").state.word(), world.open().as_str()), ("completed", "z leased"));
    }
}

#[test]
fn a_child_is_the_same_in_all_that_was_asked() {
    let asked = || sketch("", "g, x < g, y").signal("g", "go", None, None).input("y", "1");
    let mut world = parent(3);
    given(&mut world, [spawn("p", asked())]);
    let others = [
        asked().signal("g", "no", None, None),
        asked().timer("g", 5),
        asked().approval("g", |_| {}),
        asked().draft("x", |draft| draft.depends_on = vec!["y".into()]),
        asked().when("x", "false"),
        asked().run_if("x", RunIf::AllDone),
        asked().failing("x"),
        asked().attempts("y", 7),
        asked().sla("y", 7),
    ];
    for other in others.into_iter().take(7) {
        check(&mut world, [(spawn("p", other), "CHILD_CONFLICT")]);
    }
    check(&mut world, [(spawn("p", asked()), "spawned 3")]);
}

#[test]
fn who_waits_is_told_of_failures_by_going_on() {
    for late in WAYS {
        let mut world = parent(3);
        settled(&mut world, late, [spawn("p", two().failing("x")), suspend("p"), fails_for_good("p.x")]);
        assert_eq!(world.open(), "p leased, z pending");
        settled(
            &mut world,
            late,
            [spawn("p", sketch("", "again")), suspend("p"), done("p.again"), done("p")],
        );
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn a_child_in_review_holds_up_who_waits() {
    let mut world = parent(3);
    settled(&mut world, false, [spawn("p", two()), suspend("p"), fails_for_good("p.x")]);
    assert_eq!(world.task("t").status.word(), "needs_review");
    settled(&mut world, false, [skip("p.x"), done("p.y")]);
    assert_eq!(world.sub("p").state.word(), "leased");
}

#[test]
fn who_fails_for_good_takes_its_children_along() {
    for late in WAYS {
        let mut world = World::with_sketch(sketch("t", "p, z < p").failing("p"), 3);
        given(&mut world, [spawn("p", sketch("", "x, y, w < x"))]);
        check(
            &mut world,
            [(
                fails_for_good("p"),
                "accepted | t failed, p failed, z skipped, p.x cancelled, p.y cancelled, p.w cancelled
                | p failed(1) BROKEN, p.x cancelled(1), p.y cancelled(1), p.w cancelled, z skipped, t failed
                | revoke p.x w1, revoke p.y w1",
            )],
        );
        world.rest(late);
    }
}

#[test]
fn children_go_on_while_who_added_them_is_in_review() {
    for (action, state) in [(give_up("p"), "failed"), (skip("p"), "skipped"), (complete("p"), "completed")] {
        let mut world = parent(3);
        given(&mut world, [spawn("p", two()), fails_for_good("p")]);
        assert_eq!(world.open(), "p needs_review, z pending, p.x leased, p.y pending");
        given(&mut world, [done("p.x"), action]);
        assert_eq!((world.sub("p").state.word(), world.sub("p.y").state.word()), (state, "cancelled"));
    }
    let mut world = parent(3);
    given(&mut world, [spawn("p", two()), fails_for_good("p"), done("p.x"), done("p.y"), retry("p")]);
    check(&mut world, [(spawn("p", two()), "spawned 2")]);
    given(&mut world, [done("p")]);
    assert_eq!(world.open(), "z leased");
}

#[test]
fn who_is_lost_between_adding_and_waiting_finds_its_children_again() {
    type Way = fn(&mut World);
    let ways: [(&str, Way); 4] = [
        ("lost", |w| given(w, [lose("p"), look()])),
        ("silent", |w| given(w, [ack("p"), silence("p"), wake("p").later(10), look()])),
        ("failed", |w| given(w, [fails("p"), wake("p").later(10), look()])),
        ("handed back", |w| given(w, [hand_back("p"), look()])),
    ];
    for (name, way) in ways {
        for late in WAYS {
            let mut world = parent(3);
            settled(&mut world, late, [spawn("p", two())]);
            way(&mut world);
            world.rest(late);
            assert_eq!(world.sub("p").state.word(), "leased", "{name}");
            check(&mut world, [(spawn("p#1", two()), "stale"), (spawn("p", two()), "spawned 2")]);
            settled(&mut world, late, [suspend("p"), done("p.x"), done("p.y")]);
            assert_eq!(world.sub("p").state.word(), "leased", "{name}");
            settled(&mut world, late, [done("p"), done("z")]);
            assert_eq!(world.task("t").status.word(), "completed", "{name}");
        }
    }
}

#[test]
fn children_end_while_nobody_has_who_added_them() {
    for late in WAYS {
        let mut world = parent(1);
        given(&mut world, [spawn("p", sketch("", "x")), fails("p"), look()]);
        assert_eq!(world.states("t"), "p backoff, z pending, p.x leased");
        settled(&mut world, late, [done("p.x"), wake("p").later(10), look()]);
        settled(&mut world, late, [suspend("p"), done("p")]);
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn children_have_children_up_to_a_depth() {
    let mut world = parent(100);
    let mut name = "p".to_owned();
    for _ in 0..limits::GROUP_DEPTH {
        given(&mut world, [spawn(&name, sketch("", "c"))]);
        name.push_str(".c");
    }
    check(&mut world, [(spawn(&name, sketch("", "c")), "TOO_DEEP")]);
    for late in WAYS {
        let mut world = world.clone();
        let mut name = name.clone();
        while let Some(shorter) = name.strip_suffix(".c").map(str::to_owned) {
            settled(&mut world, late, [suspend(&shorter)]);
            name = shorter;
        }
        let mut name = format!("p{}", ".c".repeat(limits::GROUP_DEPTH));
        loop {
            settled(&mut world, late, [done(&name)]);
            let Some(shorter) = name.strip_suffix(".c").map(str::to_owned) else { break };
            name = shorter;
        }
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn children_that_need_no_worker() {
    let children = || {
        sketch("", "ok, g < ok, m < g").approval("ok", |_| {}).group("g", sketch("", "x")).map(
            "m",
            "[1,2]",
            Some(1),
            sketch("", "e"),
        )
    };
    for late in WAYS {
        let mut world = parent(3);
        settled(&mut world, late, [spawn("p", children()), suspend("p")]);
        assert_eq!((world.sub("p.ok").state.word(), world.task("t").asking), ("waiting", 1));
        settled(&mut world, late, [crate::ask::decide("p.ok", "yes", "ann"), done("p.g.x")]);
        settled(&mut world, late, [done("p.m.0"), done("p.m.1"), done("p")]);
        assert_eq!(world.open(), "z leased");
    }
}

#[test]
fn in_one_batch() {
    let mut world = parent(2);
    given(&mut world, [spawn("p", sketch("", "x")).and(suspend("p"))]);
    assert_eq!(world.open(), "p waiting, z pending, p.x leased");
    let mut world = World::with_sketch(sketch("t", "p, z < p").failing("p"), 2);
    given(&mut world, [spawn("p", two()).and(fails_for_good("p"))]);
    assert_eq!(world.states("t"), "p failed, z skipped, p.x cancelled, p.y cancelled");
    let mut world = parent(2);
    given(&mut world, [spawn("p", two()).and(cancel("t"))]);
    assert_eq!(world.open(), "");
}

#[test]
fn a_paused_task_takes_children_and_leases_none() {
    for late in WAYS {
        let mut world = parent(3);
        settled(&mut world, late, [pause("t"), spawn("p", two()), suspend("p")]);
        assert_eq!(
            (world.open().as_str(), world.in_line().as_str()),
            ("p waiting, z pending, p.x ready, p.y pending", "")
        );
    }
}

#[test]
fn who_goes_on_may_be_held_first() {
    let mut world = parent(1);
    given(&mut world, [spawn("p", sketch("", "x")), suspend("p"), done("p.x")]);
    given(&mut world, [hand_back("p").and(crate::ask::drain("w1"))]);
    assert_eq!(world.sub("p").state.word(), "ready");
    given(&mut world, [execute_until("t", "p")]);
    assert_eq!(world.sub("p").state.word(), "waiting");
    given(&mut world, [release("p")]);
    assert_eq!(world.sub("p").state.word(), "ready");
}

#[test]
fn children_run_again_with_who_added_them() {
    for late in WAYS {
        let mut world = parent(3);
        settled(&mut world, late, [spawn("p", two()), suspend("p"), done("p.x")]);
        check(&mut world, [(rerun("p.x"), "SUBTASK_STATE"), (rerun("p.y"), "SUBTASK_STATE")]);
        settled(&mut world, late, [rerun("p"), look()]);
        assert_eq!(world.open(), "p leased, z pending");
        settled(&mut world, late, [spawn("p", two()), suspend("p"), done("p.x"), done("p.y"), done("p")]);
        assert_eq!(world.open(), "z leased");
    }
}
