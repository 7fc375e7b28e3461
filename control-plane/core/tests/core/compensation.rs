//! Undoing what was done before a task has failed.

use downbeat_core::{
    draft::{Compensate, OnFailure},
    subtask::SubtaskState,
};

use crate::{
    ask::{Sketch, cancel, deadline, done, fails_for_good, give_up, rerun, sketch},
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
    given(&mut world, [rerun("b")]);
    given(&mut world, [done("b"), fails_for_good("c"), deadline("t")]);
    assert_eq!(world.sub("b.compensation.2").state, SubtaskState::Leased);
    given(&mut world, [done("b.compensation.2"), deadline("t")]);
    assert_eq!(world.task("t").status.word(), "failed");
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
