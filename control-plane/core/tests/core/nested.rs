//! Tasks within tasks: what begins, what is passed down, and what comes up.

use downbeat_core::{
    draft::{Compensate, Failures},
    limits,
    nested::{Begin, Nesting, inner_id},
    task::{Priority, TaskStatus},
};

use crate::{
    ask::{
        Sketch, cancel, cancel_undoing, complete, deadline, done, execute, fails_for_good, follow, forgets,
        give_up, gives, look, nest, open, pause, refuse, rerun, retry, sketch, skip, submit, tick, wake,
    },
    table::{check, given},
    world::World,
};

/// `a`, then a task of `w`, then `z`.
fn outer() -> Sketch {
    sketch("t", "a, it < a, z < it").workflow("it", 1, None)
}

fn inner() -> Sketch {
    sketch("w", "x, y < x").failing("x y")
}

/// One in which the inner task has begun.
fn begun(task: Sketch, slots: u32) -> World {
    let mut world = World::with_sketch(task, slots);
    given(&mut world, [done("a"), nest(inner())]);
    world
}

const INNER: &str = "it::t::1::1";

fn in_inner(key: &str) -> String {
    format!("{INNER}/{key}")
}

#[test]
fn a_subtask_is_a_task_of_its_own() {
    let mut world = World::with_sketch(outer(), 1);
    check(
        &mut world,
        [
            (done("a"), "accepted | a completed, it waiting | a completed(1), it waiting | begin it"),
            (
                nest(inner()),
                "submitted running | it::t::1::1 running | it waiting, it::t::1::1 planned, \
                 it::t::1::1 running, it::t::1::1/x leased(1) | assign it::t::1::1/x w1",
            ),
            (
                gives("it::t::1::1/x", "1"),
                "accepted | it::t::1::1/x completed, it::t::1::1/y leased \
                 | it::t::1::1/x completed(1), it::t::1::1/y leased(1) | assign it::t::1::1/y w1",
            ),
            (
                gives("it::t::1::1/y", "{\"b\":2}"),
                "accepted | it::t::1::1 completed, it::t::1::1/y completed \
                 | it::t::1::1/y completed(1), it::t::1::1 completed | tell it::t::1::1",
            ),
            (nest(inner()), "done | it completed, z leased | it completed, z leased(1) | assign z w1"),
            (done("z"), "accepted | t completed, z completed | z completed(1), t completed"),
        ],
    );
    assert_eq!(world.output("it"), "{\"x\":1,\"y\":{\"b\":2}}");
    let inside = world.plans[&world.task_no(INNER)].inside().cloned().expect("it is within `t`");
    assert_eq!((inside.task_id.as_str(), inside.subtask_id.as_str()), ("t", "it::t::1"));
    assert_eq!((inside.attempt, inside.depth), (1, 1));
}

#[test]
fn whatever_effect_is_lost_is_asked_for_again() {
    let mut world = World::with_sketch(outer(), 1);
    given(&mut world, [done("a")]);
    forgets(&mut world);
    check(&mut world, [(tick(), ""), (tick().later(5_000), "done | | | begin it")]);
    forgets(&mut world);
    check(&mut world, [(tick().later(5_000), "done | | | begin it")]);
    given(&mut world, [nest(inner()), done(&in_inner("x")), done(&in_inner("y"))]);
    forgets(&mut world);
    check(
        &mut world,
        [
            (tick().later(4_999), ""),
            (tick().later(1), "done | | | tell it::t::1::1"),
            (nest(inner()), "done | it completed, z leased | it completed, z leased(1) | assign z w1"),
            (tick().later(5_000), ""),
        ],
    );
}

#[test]
fn doing_it_twice_is_the_same_as_once() {
    let mut world = World::with_sketch(outer(), 1);
    given(&mut world, [done("a")]);
    let asked = world.nestings.clone();
    given(&mut world, [nest(inner())]);
    world.nestings.clone_from(&asked);
    check(&mut world, [(nest(inner()), "existed running")]);
    given(&mut world, [done(&in_inner("x")), done(&in_inner("y"))]);
    let told = world.nestings.clone();
    given(&mut world, [nest(inner())]);
    world.nestings = [told, asked].concat();
    check(&mut world, [(nest(inner()), "done; existed completed"), (refuse("it", 1), "done")]);
}

#[test]
fn parameters_are_the_input_with_what_the_expression_gives() {
    for (input, from, expected) in [
        (None, None, "{}"),
        (Some("{\"a\":1.50,\"b\":2}"), None, "{\"a\":1.50,\"b\":2}"),
        (Some("{\"a\":1,\"b\":2}"), Some("{'b': outputs.a.n, 'c': 'x'}"), "{\"a\":1,\"b\":7,\"c\":\"x\"}"),
        (None, Some("outputs.a"), "{\"n\":7}"),
    ] {
        let mut task = outer().workflow("it", 1, from);
        if let Some(json) = input {
            task = task.input("it", json);
        }
        let mut world = World::with_sketch(task, 1);
        given(&mut world, [gives("a", "{\"n\":7}")]);
        let [Nesting::Begin(begin)] = &world.nestings[..] else { panic!("{:?}", world.nestings) };
        let Begin { id, parameters, priority, call, .. } = &**begin;
        assert_eq!(std::str::from_utf8(parameters), Ok(expected), "{from:?}");
        assert_eq!((id.as_str(), *priority, call.name.as_str()), (INNER, Priority::Normal, "w"));
    }
    for (from, code) in [("outputs.a.missing", "EXPRESSION_FAILED"), ("outputs.a.n", "EXPRESSION_FAILED")] {
        let mut world = World::with_sketch(outer().workflow("it", 1, Some(from)), 1);
        given(&mut world, [gives("a", "{\"n\":7}")]);
        assert_eq!((world.sub("it").state.word(), world.code("it")), ("needs_review", code));
    }
    // An element of a map is its input.
    let body = sketch("b", "run").workflow("run", 1, None);
    let mut world = World::with_sketch(
        sketch("t", "a, each < a").map_with("each", "outputs.a", None, Failures::Continue, body),
        1,
    );
    given(&mut world, [gives("a", "[{\"n\":1}, 2]")]);
    world.rest(false);
    assert_eq!(world.states("t"), "a completed, each waiting, each.0 waiting, each.1 failed");
    assert_eq!(world.code("each.1"), "INVALID_PARAMETERS");
}

#[test]
fn one_that_cannot_begin_is_reviewed() {
    let mut world = World::with_sketch(outer(), 1);
    given(&mut world, [done("a")]);
    forgets(&mut world);
    check(
        &mut world,
        [
            (refuse("it", 2), "done"),
            (refuse("it", 1), "done | t needs_review, it needs_review | it needs_review, t needs_review"),
            (refuse("it", 1), "done"),
            (retry("it"), "waiting | t running, it waiting | it pending, it waiting, t running | begin it"),
            (
                nest(inner()).later(1),
                "submitted running | it::t::1::1 running | it waiting, it::t::1::1 planned, it::t::1::1 running, it::t::1::1/x leased(1) | assign it::t::1::1/x w1",
            ),
        ],
    );
    assert_eq!(world.code("it"), "TASK_BEGUN");
}

#[test]
fn a_failure_comes_up_and_may_be_tried_again() {
    let mut world = begun(outer().workflow("it", 2, None), 1);
    check(
        &mut world,
        [
            (
                fails_for_good(&in_inner("x")),
                "accepted | it::t::1::1 failed, it::t::1::1/x failed, it::t::1::1/y skipped \
                 | it::t::1::1/x failed(1) BROKEN, it::t::1::1/y skipped, it::t::1::1 failed | tell it::t::1::1",
            ),
            (nest(inner()), "done | it backoff | it backoff | wake it +4"),
            (wake("it").later(4), "done | it waiting | it waiting | begin it"),
            (
                nest(inner()),
                "submitted running | it::t::1::2 running | it waiting, it::t::1::2 planned, \
                 it::t::1::2 running, it::t::1::2/x leased(1) | assign it::t::1::2/x w1",
            ),
        ],
    );
    given(&mut world, [fails_for_good("it::t::1::2/x")]);
    check(
        &mut world,
        [
            (nest(inner()), "done | t needs_review, it needs_review | it needs_review, t needs_review"),
            (retry("it"), "waiting | t running, it waiting | it pending, it waiting, t running | begin it"),
        ],
    );
    given(&mut world, [nest(inner())]);
    assert_eq!(world.sub("it").attempts, 3);
    assert_eq!(world.task("it::t::1::3").status, TaskStatus::Running);
}

#[test]
fn one_that_backs_off_is_retried_by_hand() {
    let mut world = begun(outer().workflow("it", 2, None), 1);
    given(&mut world, [fails_for_good(&in_inner("x")), nest(inner())]);
    check(
        &mut world,
        [
            (retry("it"), "waiting | it waiting | it pending, it waiting | begin it"),
            (wake("it").later(4), "done | | | wake it +4996"),
        ],
    );
}

#[test]
fn a_cancelled_inner_task_is_no_reason_to_try_again() {
    let mut world = begun(outer().workflow("it", 3, None), 1);
    given(&mut world, [cancel(INNER)]);
    check(
        &mut world,
        [(nest(inner()), "done | t needs_review, it needs_review | it needs_review, t needs_review")],
    );
    assert_eq!(world.code("it"), "TASK_CANCELLED");
}

#[test]
fn the_end_of_the_subtask_ends_its_task() {
    for (ask, status) in [
        (cancel("t"), "cancelled"),
        (skip("it"), "running"),
        (give_up("it"), "failed"),
        (complete("it"), "running"),
        (deadline("t").later(60_000), "failed"),
    ] {
        let mut world = begun(outer().deadline(60_000), 2);
        given(&mut world, [ask]);
        assert_eq!(world.task("t").status.word(), status);
        forgets(&mut world);
        // Lost, and asked for again, although the subtask is final.
        given(&mut world, [tick().later(5_000)]);
        check(
            &mut world,
            [
                (
                    nest(inner()),
                    "done | it::t::1::1 cancelled, it::t::1::1/x cancelled, it::t::1::1/y cancelled \
                     | it::t::1::1/x cancelled(1), it::t::1::1/y cancelled, it::t::1::1 cancelled \
                     | revoke it::t::1::1/x w1, tell it::t::1::1",
                ),
                (nest(inner()), "done"),
                (tick().later(5_000), ""),
            ],
        );
        assert_eq!(world.sub("it").wake_at, None);
    }
}

#[test]
fn the_reason_of_a_cancel_is_passed_down() {
    let mut world = begun(outer(), 1);
    given(&mut world, [cancel("t"), nest(inner())]);
    assert_eq!(world.task(INNER).reason, "not needed");
}

#[test]
fn what_was_done_within_is_undone_where_its_task_undoes() {
    for (ask, undoes) in [
        (cancel("t"), false),
        (skip("it"), false),
        (cancel_undoing("t"), true),
        (deadline("t").later(60_000), true),
    ] {
        let undo = Compensate { agent: "coder".into(), ..Compensate::default() };
        let inner = inner().draft("x", |draft| draft.compensate = Some(undo));
        let mut world = World::with_sketch(outer().deadline(60_000), 1);
        given(&mut world, [done("a"), nest(inner.clone()), done(&in_inner("x")), ask, nest(inner)]);
        let states = world.states(INNER);
        assert_eq!(states.contains("x.compensation"), undoes, "{states}");
        assert_eq!(world.task(INNER).status.is_terminal(), !undoes);
        if undoes {
            given(&mut world, [look(), done(&in_inner("x.compensation"))]);
            assert_eq!(world.task(INNER).status, TaskStatus::Cancelled);
        }
    }
}

#[test]
fn one_that_ended_while_it_was_called_off_is_heard_and_forgotten() {
    let mut world = begun(outer(), 1);
    given(&mut world, [done(&in_inner("x")), done(&in_inner("y")), cancel("t")]);
    check(&mut world, [(nest(inner()), "done; done"), (tick().later(5_000), "")]);
    assert_eq!(world.sub("it").state.word(), "cancelled");
}

#[test]
fn nothing_begins_for_a_subtask_that_has_ended() {
    let mut world = World::with_sketch(outer(), 1);
    given(&mut world, [done("a"), cancel("t")]);
    check(&mut world, [(nest(inner()), "NOT_AWAITED"), (tick().later(5_000), "")]);
}

#[test]
fn pausing_and_going_on_are_passed_down() {
    let mut world = begun(outer(), 1);
    check(
        &mut world,
        [
            (pause("t"), "paused | t paused | t paused | pass it"),
            (nest(inner()), "done | it::t::1::1 paused | it::t::1::1 paused"),
            (execute("t"), "executed running | t running | t running | pass it"),
            (nest(inner()), "done | it::t::1::1 running | it::t::1::1 running"),
            (pause("t"), "paused | t paused | t paused | pass it"),
        ],
    );
    // What comes late follows the subtask as it is then.
    given(&mut world, [execute("t")]);
    check(&mut world, [(nest(inner()), "done; done")]);
    assert_eq!(world.task(INNER).status, TaskStatus::Running);
    given(&mut world, [pause("t")]);
    forgets(&mut world);
    check(&mut world, [(tick().later(5_000), "done | | | pass it")]);
}

#[test]
fn what_begins_in_a_paused_task_starts_when_that_goes_on() {
    let mut world = World::with_sketch(outer(), 1);
    given(&mut world, [done("a"), pause("t")]);
    check(
        &mut world,
        [
            (nest(inner()), "submitted planned | it::t::1::1 planned | it waiting, it::t::1::1 planned"),
            (execute("t"), "executed running | t running | t running | pass it"),
            (
                nest(inner()),
                "done | it::t::1::1 running, it::t::1::1/x leased \
                 | it::t::1::1 running, it::t::1::1/x leased(1) | assign it::t::1::1/x w1",
            ),
        ],
    );
}

#[test]
fn a_rerun_begins_another_task() {
    let mut world = begun(outer(), 2);
    given(&mut world, [rerun("it"), follow(), nest(inner())]);
    assert_eq!(world.task(INNER).status, TaskStatus::Cancelled);
    assert_eq!(world.task("it::t::2::1").status, TaskStatus::Running);
    given(&mut world, [done("it::t::2::1/x"), done("it::t::2::1/y"), nest(inner()), done("z")]);
    assert_eq!(world.task("t").status, TaskStatus::Completed);
    given(&mut world, [rerun("it"), follow(), nest(inner())]);
    assert_eq!(world.task("it::t::3::1").status, TaskStatus::Running);
}

#[test]
fn deadlines_are_passed_down() {
    for (deadline_ms, sla, by) in [
        (None, None, ""),
        (Some(60_000), None, " by +60000"),
        (None, Some(9), " by +9000"),
        (Some(60_000), Some(9), " by +9000"),
    ] {
        let mut task = outer();
        task.deadline_ms = deadline_ms;
        if let Some(seconds) = sla {
            task = task.sla("it", seconds);
        }
        let mut world = World::with_sketch(task, 1);
        let told = format!("accepted | a completed, it waiting | a completed(1), it waiting | begin it{by}");
        check(&mut world, [(done("a"), told.as_str())]);
    }
}

#[test]
fn tasks_within_tasks_are_not_without_end() {
    let endless = || sketch("w", "it").workflow("it", 1, None);
    let mut world = World::with_sketch(sketch("t", "it").workflow("it", 1, None), 0);
    for _ in 0..limits::NESTING_DEPTH {
        given(&mut world, [nest(endless())]);
    }
    assert_eq!(world.tasks.len(), 9);
    assert!(world.nestings.is_empty(), "{:?}", world.nestings);
    let last = world.tasks.values().last().expect("there are tasks").clone();
    assert_eq!(last.status, TaskStatus::NeedsReview);
    assert_eq!(world.code(&format!("{}/it", last.id)), "TOO_DEEP");
}

#[test]
fn ids_of_inner_tasks_fit_and_differ() {
    assert_eq!(inner_id("it::t::1", 2), "it::t::1::2");
    let long = "k".repeat(limits::TASK_ID_BYTES);
    let other = format!("{}j", &long[1..]);
    let ids = [inner_id(&long, 1), inner_id(&long, 2), inner_id(&other, 1)];
    assert!(ids.iter().all(|id| id.len() == limits::TASK_ID_BYTES), "{ids:?}");
    assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
}

#[test]
fn the_inner_task_may_end_at_once() {
    let mut world = World::with_sketch(outer(), 1);
    given(&mut world, [done("a"), nest(sketch("w", "x").when("x", "false"))]);
    check(
        &mut world,
        [(nest(inner()), "done | it completed, z leased | it completed, z leased(1) | assign z w1")],
    );
    assert_eq!(world.output("it"), "{\"x\":null}");
}

#[test]
fn another_worker_may_serve_the_inner_task() {
    let mut world = World::new();
    given(&mut world, [submit(sketch("t", "it").workflow("it", 1, None)), execute("t"), nest(inner())]);
    given(&mut world, [open("w1", 1), look(), done(&in_inner("x")), done(&in_inner("y")), nest(inner())]);
    assert_eq!(world.task("t").status, TaskStatus::Completed);
}
