//! Undoing what was done before a task has failed.

use downbeat_core::{
    draft::{Compensate, OnFailure},
    subtask::SubtaskState,
};

use crate::{
    ask::{
        Sketch, cancel, cancel_undoing, deadline, done, execute_manual, fails_for_good, give_up, pause,
        rerun, sketch, submit,
    },
    table::{check, given},
    world::World,
};

/// `a` and `b` can be undone, and `c`, which comes after both, fails without a person.
fn booking() -> Sketch {
    let undo = || Some(Compensate { agent: "coder".into(), ..Compensate::default() });
    sketch("t", "a, b < a, c < b")
        .draft("a", |draft| draft.compensate = undo())
        .draft("b", |draft| draft.compensate = undo())
        .draft("c", |draft| draft.on_failure = Some(OnFailure::Fail))
}

#[test]
fn what_was_completed_is_undone_in_reverse_order() {
    let mut world = World::with_sketch(booking(), 1);
    given(&mut world, [done("a"), done("b")]);
    check(
        &mut world,
        [
            (fails_for_good("c"), "accepted | c failed | c failed(1) BROKEN | wake t +0"),
            (deadline("t"), "done | | t grown(2), b.compensation leased(1) | assign b.compensation w1"),
            (
                done("b.compensation"),
                "accepted | b.compensation completed, a.compensation leased
                | b.compensation completed(1), a.compensation leased(1) | assign a.compensation w1",
            ),
            (
                done("a.compensation"),
                "accepted | a.compensation completed | a.compensation completed(1) | wake t +0",
            ),
            (deadline("t"), "done | t failed | t failed"),
        ],
    );
}

#[test]
fn what_was_not_completed_is_not_undone() {
    let mut world = World::with_sketch(booking(), 1);
    given(&mut world, [fails_for_good("a"), give_up("a")]);
    check(&mut world, [(deadline("t"), "done | t failed | t failed")]);
}

#[test]
fn one_that_cannot_be_undone_is_for_a_person() {
    let mut world = World::with_sketch(booking(), 1);
    given(&mut world, [done("a"), done("b"), fails_for_good("c"), deadline("t")]);
    let told = "accepted | t needs_review, b.compensation needs_review
        | b.compensation failed(1) BROKEN, t needs_review";
    check(&mut world, [(fails_for_good("b.compensation"), told)]);
}

#[test]
fn one_that_is_cancelled_before_anything_is_undone_is_over() {
    let mut world = World::with_sketch(booking(), 1);
    given(&mut world, [done("a"), done("b"), fails_for_good("c"), cancel("t"), deadline("t")]);
    assert_eq!((world.task("t").status.word(), world.task("t").wake_at), ("cancelled", None));
}

#[test]
fn what_was_undone_and_done_again_is_undone_again() {
    let mut world = World::with_sketch(booking(), 1);
    given(&mut world, [done("a"), done("b"), fails_for_good("c"), deadline("t")]);
    given(&mut world, [done("b.compensation"), done("a.compensation"), deadline("t")]);
    assert_eq!(world.task("t").status.word(), "failed");
    // What `b` built upon is gone too.
    given(&mut world, [rerun("b")]);
    assert_eq!(world.open(), "a leased, b pending, c pending");
    given(&mut world, [done("a"), done("b"), fails_for_good("c"), deadline("t")]);
    assert_eq!(world.sub("b.compensation.2").state, SubtaskState::Leased);
    given(&mut world, [done("b.compensation.2"), done("a.compensation.2"), deadline("t")]);
    assert_eq!(world.task("t").status.word(), "failed");
}

#[test]
fn who_runs_it_again_calls_off_what_was_not_undone_yet() {
    let mut world = World::with_sketch(booking(), 9);
    given(&mut world, [done("a"), done("b"), fails_for_good("c"), deadline("t")]);
    assert_eq!(world.open(), "b.compensation leased, a.compensation pending");
    check(
        &mut world,
        [
            (rerun("b.compensation"), "SUBTASK_STATE"),
            (
                rerun("c"),
                "rerun running 2 | b.compensation cancelled, a.compensation cancelled
                | a.compensation cancelled, b.compensation cancelled(1), t grown(2), b leased(1)
                | revoke b.compensation w1, assign b w1",
            ),
        ],
    );
    // `a` stands, and is undone when it comes to that again; `b` was done anew.
    given(&mut world, [done("b"), fails_for_good("c"), deadline("t")]);
    assert_eq!(world.open(), "b.compensation.2 leased, a.compensation.2 pending");
    given(&mut world, [done("b.compensation.2"), done("a.compensation.2"), deadline("t")]);
    assert_eq!(world.task("t").status.word(), "failed");
}

#[test]
fn what_could_not_be_undone_does_not_fail_what_runs_again() {
    let mut world = World::with_sketch(booking(), 9);
    given(&mut world, [done("a"), done("b"), fails_for_good("c"), deadline("t")]);
    given(&mut world, [fails_for_good("b.compensation"), give_up("b.compensation")]);
    given(&mut world, [done("a.compensation"), deadline("t")]);
    assert_eq!(world.task("t").status.word(), "failed");
    given(&mut world, [rerun("c"), done("a"), done("b"), done("c")]);
    assert_eq!(world.task("t").status.word(), "completed");
}

#[test]
fn who_is_cancelled_so_is_undone_first() {
    for paused in [false, true] {
        let mut world = World::with_sketch(booking(), 9);
        given(&mut world, [done("a"), done("b")]);
        if paused {
            given(&mut world, [pause("t")]);
        }
        let ask = cancel_undoing("t");
        given(&mut world, [ask]);
        assert_eq!(world.open(), "b.compensation leased, a.compensation pending", "{paused}");
        assert_eq!((world.task("t").status.word(), world.sub("c").state.word()), ("running", "cancelled"));
        check(&mut world, [(cancel_undoing("t"), "running"), (execute_manual("t"), "executed running")]);
        given(&mut world, [done("b.compensation")]);
        check(
            &mut world,
            [
                (
                    done("a.compensation"),
                    "accepted | t cancelled, a.compensation completed
                    | a.compensation completed(1), t cancelled",
                ),
                (cancel_undoing("t"), "cancelled"),
            ],
        );
        assert_eq!(world.task("t").reason, "not needed");
    }
}

#[test]
fn with_nothing_to_undo_it_is_cancelled_at_once() {
    let mut world = World::with_sketch(booking(), 9);
    check(
        &mut world,
        [(
            cancel_undoing("t"),
            "cancelled | t cancelled, a cancelled, b cancelled, c cancelled
            | a cancelled(1), b cancelled, c cancelled, t cancelled | revoke a w1",
        )],
    );
    let mut world = World::new();
    given(&mut world, [submit(booking()), cancel_undoing("t")]);
    assert_eq!(world.task("t").status.word(), "cancelled");
}

#[test]
fn who_is_undone_can_be_cancelled_at_once_or_run_again() {
    let undoing = || {
        let mut world = World::with_sketch(booking().deadline(60_000), 9);
        given(&mut world, [done("a"), done("b"), cancel_undoing("t")]);
        assert_eq!(world.task("t").wake_at, None, "its end is decided");
        world
    };
    let mut world = undoing();
    given(&mut world, [cancel("t")]);
    assert_eq!((world.task("t").status.word(), world.open().as_str()), ("cancelled", ""));
    let mut world = undoing();
    given(&mut world, [rerun("c")]);
    assert_eq!((world.open().as_str(), world.task("t").reason.as_str()), ("b leased, c pending", ""));
    assert_eq!(world.task("t").wake_at, world.task("t").deadline);
    given(&mut world, [done("b"), done("c")]);
    assert_eq!(world.task("t").status.word(), "completed");
    let mut world = undoing();
    given(&mut world, [fails_for_good("b.compensation")]);
    assert_eq!(world.task("t").status.word(), "needs_review");
    given(&mut world, [give_up("b.compensation"), done("a.compensation")]);
    assert_eq!(world.task("t").status.word(), "cancelled");
}

#[test]
fn a_deadline_lets_what_was_done_be_undone() {
    let mut world = World::with_sketch(booking().deadline(60_000), 9);
    given(&mut world, [done("a"), done("b"), deadline("t").later(60_000)]);
    assert_eq!(world.open(), "b.compensation leased, a.compensation pending");
    given(&mut world, [deadline("t").later(60_000), done("b.compensation"), done("a.compensation")]);
    let task = world.task("t");
    assert_eq!((task.status.word(), task.reason.as_str()), ("failed", "its deadline has passed"));
    // Who cancels it meanwhile changes what it ends as.
    let mut world = World::with_sketch(booking().deadline(60_000), 9);
    given(&mut world, [done("a"), done("b"), deadline("t").later(60_000), cancel_undoing("t")]);
    assert_eq!(world.open(), "b.compensation leased, a.compensation pending");
    given(&mut world, [done("b.compensation"), done("a.compensation")]);
    assert_eq!(world.task("t").status.word(), "cancelled");
    // One that comes while it is undone already changes only why.
    let mut world = World::with_sketch(booking().deadline(60_000), 9);
    given(
        &mut world,
        [done("a"), done("b"), fails_for_good("c"), deadline("t"), deadline("t").later(60_000)],
    );
    assert_eq!(world.open(), "b.compensation leased, a.compensation pending");
    given(&mut world, [done("b.compensation"), done("a.compensation")]);
    assert_eq!(world.task("t").reason, "its deadline has passed");
}

#[test]
fn who_runs_it_again_before_anything_is_undone_keeps_the_task() {
    for late in [None, Some(60_000)] {
        let task = late.map_or_else(booking, |ms| booking().deadline(ms));
        let mut world = World::with_sketch(task, 1);
        let due = world.task("t").wake_at;
        given(&mut world, [done("a"), done("b"), fails_for_good("c").and(rerun("c")), deadline("t")]);
        assert_eq!((world.open().as_str(), world.task("t").wake_at), ("c leased", due), "{late:?}");
        given(&mut world, [done("c")]);
        assert_eq!(world.task("t").status.word(), "completed");
    }
}
