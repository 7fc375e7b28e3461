//! What changes nothing writes nothing: no row is written as it already was, so that a late or doubled message
//! costs no write, no commit, and no dead row.

use crate::{
    ask::{
        Ask, ack, block, cancel, deadline, detach, done, drain, execute, expire, hand_back, look, lose, open,
        overdue, pause, release, resume_at, silence, sketch, skip, unblock, wake,
    },
    table::given,
    world::{HERE, World},
};

/// Each ask on a copy of the world. That no row is written as it was is a law of the world.
#[track_caller]
fn assert_idle<const N: usize>(world: &World, asks: [(&str, Ask); N]) {
    let mut wrote = Vec::new();
    for (name, ask) in asks {
        let outcome = world.clone().ask(ask);
        if !outcome.changes.is_empty() {
            wrote.push(name);
        }
    }
    assert!(wrote.is_empty(), "these write rows: {wrote:?}");
}

/// A world in which `a` was completed under its second lease, `b` runs with an SLA, and nothing is free.
fn busy() -> World {
    let mut world = World::with_sketch(sketch("t", "a, b < a, c < b").sla("b", 60).deadline(1_000_000), 1);
    given(&mut world, [hand_back("a"), look(), done("a"), ack("b")]);
    assert_eq!(world.states("t"), "a completed, b running, c pending");
    world
}

#[test]
fn stale_and_doubled_messages() {
    assert_idle(
        &busy(),
        [
            ("an old lease", done("a#1")),
            ("an invented lease", done("b#x")),
            ("a foreign session", done("b@nobody")),
            ("a doubled result", done("a#2")),
            ("a report for an old lease", ack("a#1")),
            ("a doubled acknowledgement", ack("b")),
            ("the loss of an old lease", lose("a#1")),
            ("the return of an old lease", hand_back("a#1")),
            ("the silence of an old lease", silence("a#1")),
        ],
    );
}

#[test]
fn timers_that_mean_nothing() {
    assert_idle(
        &busy(),
        [
            ("an early SLA", wake("b").later(1)),
            ("an early deadline", deadline("t").later(1)),
            ("a wake of what is final", wake("a")),
            ("a wake of what waits", wake("c")),
            ("a block of what runs", block("b")),
            ("an unblock of what runs", unblock("b")),
        ],
    );
}

#[test]
fn a_repeated_execute() {
    assert_idle(&busy(), [("the same execute again", execute("t").later(1))]);
}

#[test]
fn other_repeats() {
    let mut world = busy();
    given(&mut world, [pause("t")]);
    assert_idle(&world, [("pause", pause("t")), ("a refused skip", skip("b"))]);
    given(&mut world, [cancel("t")]);
    assert_idle(
        &world,
        [
            ("cancel", cancel("t")),
            ("a deadline after the end", deadline("t").later(1_000_000)),
            ("a result after the end", done("b")),
        ],
    );
    let mut world = World::with("a, b < a", 0);
    given(&mut world, [open("w1", 0)]);
    assert_idle(
        &world,
        [
            ("a release of what is not held", release("b")),
            ("the same resume of an open session", resume_at("w1", 0, HERE)),
            ("an overdue check of an open session", overdue("w1")),
        ],
    );
    given(&mut world, [drain("w1")]);
    assert_idle(&world, [("drain", drain("w1"))]);
    given(&mut world, [detach("w1")]);
    assert_idle(&world, [("detach", detach("w1"))]);
    given(&mut world, [expire("w1")]);
    assert_idle(&world, [("expire", expire("w1")), ("overdue", overdue("w1"))]);
}
