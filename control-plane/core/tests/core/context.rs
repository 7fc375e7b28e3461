//! The shared context: versions, comparing and setting, who may write, what expressions see, and coming back to what
//! it was.

use downbeat_core::{
    context::{Written, differing, keys_at},
    draft::{OnFailure, OnLimit},
    event::{Event, What},
    invariant::broken_context,
    limits,
    note::NoteKey,
    reject::Reject,
};

use crate::{
    ask::{
        Sketch, ack, back_to, cancel, done, execute, gives, lose, open, put, put_under, read_under, rerun,
        signal, sketch, spawn, submit, submit_for, suspend,
    },
    table::{WAYS, check, given, settled},
    world::World,
};

#[test]
fn each_write_makes_a_version() {
    let mut world = World::with_sketch(sketch("t", "a").given(r#"{"k": 1, "rest": [2]}"#), 0);
    assert_eq!(world.context(), "k(1)=1, rest(1)=[2]");
    check(
        &mut world,
        [
            (put("k", Some("5"), None), "version 2 | | t writes k(2)"),
            (put("new", Some("6"), None), "version 1 | | t writes new(1)"),
            (put("k", None, None), "version 3 | | t deletes k(3)"),
            (put("k", Some("null"), None), "version 4 | | t writes k(4)"),
            (put("gone", None, None), "version 1 | | t deletes gone(1)"),
        ],
    );
    assert_eq!(world.context(), "k(4)=null, new(1)=6, rest(1)=[2]");
}

#[test]
fn a_write_may_expect_a_version() {
    let mut world = World::with_sketch(sketch("t", "a").given(r#"{"k": 1}"#), 0);
    check(
        &mut world,
        [
            (put("k", Some("2"), Some(0)), "VERSION_CONFLICT"),
            (put("k", Some("2"), Some(1)), "version 2 | | t writes k(2)"),
            (put("k", Some("3"), Some(1)), "VERSION_CONFLICT"),
            (put("k", None, Some(1)), "VERSION_CONFLICT"),
            (put("k", None, Some(2)), "version 3 | | t deletes k(3)"),
            // What was deleted is as if it never was, and its version goes on.
            (put("k", Some("4"), Some(3)), "VERSION_CONFLICT"),
            (put("k", Some("4"), Some(0)), "version 4 | | t writes k(4)"),
            (put("new", Some("1"), Some(1)), "VERSION_CONFLICT"),
            (put("new", Some("1"), Some(0)), "version 1 | | t writes new(1)"),
            // Of two in one batch the second one is too late.
            (
                put("new", Some("2"), Some(1)).and(put("new", Some("3"), Some(1))),
                "version 2; VERSION_CONFLICT | | t writes new(2)",
            ),
        ],
    );
    assert_eq!(world.context(), "k(4)=4, new(2)=2");
    let reject = world.ask(put("k", Some("5"), Some(2))).replies.pop().expect("one").expect_err("refused");
    assert_eq!(reject, Reject::VersionConflict { key: "k".into(), version: 4, expected: 2 });
    let words = "`k` has version 4, expected 2 (0: there is none); read it again";
    assert_eq!((reject.code(), reject.to_string().as_str()), ("VERSION_CONFLICT", words));
}

#[test]
fn a_worker_writes_while_it_has_the_lease() {
    let mut world = World::with("a, b < a", 1);
    check(
        &mut world,
        [
            (put_under("a", 1, "k", Some("1"), Some(0)), "version 1 | | a writes k(1)"),
            (put_under("a", 1, "k", Some("1"), Some(0)), "again 1"),
            (put_under("a", 2, "k", Some("2"), Some(1)), "version 2 | | a writes k(2)"),
            // One that was on its way for long is no new one.
            (put_under("a", 1, "k", Some("1"), None), "again 0"),
            (put_under("a", 3, "k", Some("3"), Some(1)), "VERSION_CONFLICT"),
            (read_under("a", None), "k=2"),
            (read_under("a", Some("other")), ""),
            (put_under("a#x", 4, "k", Some("4"), None), "stale"),
            (put_under("b", 4, "k", Some("4"), None), "stale"),
            (read_under("b", None), "stale"),
        ],
    );
    given(&mut world, [ack("a"), lose("a")]);
    check(
        &mut world,
        [
            (put_under("a#1", 4, "k", Some("4"), None), "stale | a leased | a leased(2) | assign a w1"),
            (read_under("a#1", None), "stale"),
            // The next attempt counts anew.
            (put_under("a#2", 1, "k", Some("5"), Some(2)), "version 3 | | a writes k(3)"),
        ],
    );
    given(&mut world, [done("a")]);
    check(&mut world, [(put_under("a#2", 2, "k", Some("6"), None), "stale")]);
    given(&mut world, [put_under("b", 1, "k", None, None), done("b")]);
    assert_eq!(world.context(), "");
}

#[test]
fn another_session_does_not_write_under_a_lease() {
    let mut world = World::with("a", 1);
    given(&mut world, [open("w2", 1)]);
    check(
        &mut world,
        [(put_under("a@w2", 1, "k", Some("1"), None), "stale"), (read_under("a@w2", None), "stale")],
    );
}

#[test]
fn a_write_that_comes_again_after_its_attempt_was_given_back_counts_once() {
    let mut world = World::with("a", 1);
    given(&mut world, [put_under("a", 1, "k", Some("1"), None), spawn("a", sketch("", "x")), suspend("a")]);
    world.settle();
    check(&mut world, [(put_under("a#1", 1, "k", Some("1"), None), "stale")]);
    assert_eq!(world.context(), "k(1)=1");
}

#[test]
fn people_write_until_the_task_has_ended() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a")), put("k", Some("1"), None), execute("t")]);
    given(&mut world, [put("k", Some("2"), None), done("a")]);
    check(
        &mut world,
        [(put("k", Some("3"), None), "TASK_FINISHED"), (put("k", None, None), "TASK_FINISHED")],
    );
    assert_eq!(world.context(), "k(2)=2");
    let mut world = World::with("a", 0);
    given(&mut world, [cancel("t")]);
    check(&mut world, [(put("k", Some("3"), None), "TASK_FINISHED")]);
}

fn text(bytes: usize) -> &'static str {
    Box::leak(format!("\"{}\"", "x".repeat(bytes - 2)).into_boxed_str())
}

fn full(world: &mut World, ask: crate::ask::Ask) -> String {
    let reject = world.ask(ask).replies.pop().expect("one").expect_err("refused");
    assert_eq!(reject.code(), "CONTEXT_FULL");
    reject.to_string()
}

#[test]
fn what_is_too_much_is_told_with_the_limit() {
    let mut world = World::with("a", 0);
    let value = text(limits::CONTEXT_VALUE_BYTES);
    let fit = limits::CONTEXT_BYTES / limits::CONTEXT_VALUE_BYTES;
    for n in 0..fit {
        given(&mut world, [put(&format!("k{n}"), Some(value), None)]);
    }
    let words = "value: at most 1048576 bytes of all values (CONTEXT_BYTES), got 1048577";
    assert_eq!(full(&mut world, put("one", Some("1"), None)), words);
    // What takes the place of something counts instead of it; and there is room again after a deletion.
    given(&mut world, [put("k0", Some(value), None), put("k1", None, None), put("one", Some("1"), None)]);
    // Old values stay, and count.
    let task = world.task_no("t");
    let room = 100 + "k0".len() as u64 + value.len() as u64;
    let written = Written { bytes: limits::CONTEXT_HISTORY_BYTES - room, ..world.written(task) };
    let note = serde_json::to_vec(&written).expect("plain data");
    world.notes.insert((task, NoteKey::Context), note.into());
    given(&mut world, [put("k0", Some(value), None)]);
    let words = "value: at most 67108864 bytes of all writes (CONTEXT_HISTORY_BYTES), got 67108966";
    assert_eq!(full(&mut world, put("k0", None, None)), words);

    let mut world = World::with_sketch(sketch("t", "a").given(r#"{"given": 1}"#), 0);
    for n in 1..limits::CONTEXT_KEYS {
        given(&mut world, [put(&format!("d{n}"), None, None)]);
    }
    let words = "key: at most 500 keys of one task, deleted ones too (CONTEXT_KEYS), got 501";
    assert_eq!(full(&mut world, put("another", Some("1"), None)), words);
    given(&mut world, [put("given", Some("2"), None), put("d1", Some("1"), None)]);
}

#[test]
fn a_condition_sees_what_was_written() {
    for late in WAYS {
        let task = sketch("t", "a, b < a, c < a, d < a")
            .given(r#"{"go": false, "stay": true}"#)
            .when("b", "context.go")
            .when("c", "context.stay && !has(context.gone)")
            .when("d", "size(context) == 2");
        let mut world = World::rested(task, 9, late);
        settled(
            &mut world,
            late,
            [put_under("a", 1, "go", Some("true"), None), put("gone", Some("1"), None)],
        );
        settled(&mut world, late, [put("gone", None, None), done("a")]);
        assert_eq!(world.states("t"), "a completed, b leased, c leased, d leased", "late: {late}");
    }
}

#[test]
fn a_write_in_the_same_batch_is_seen() {
    let task = sketch("t", "a, b < a").when("b", "context.n == 2");
    let mut world = World::with_sketch(task, 9);
    given(&mut world, [put("n", Some("1"), None)]);
    given(&mut world, [put_under("a", 1, "n", Some("2"), Some(1)).and(done("a"))]);
    assert_eq!(world.states("t"), "a completed, b leased");
}

#[test]
fn maps_loops_and_signals_see_it_too() {
    for late in WAYS {
        let task = sketch("t", "a, each < a").map("each", "context.items", None, sketch("", "x"));
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [put("items", Some("[1, 2]"), None), done("a")]);
        assert_eq!(world.open(), "each waiting, each.0 leased, each.1 leased");

        let task = sketch("t", "l").repeat("l", "context.done", 5, OnLimit::Fail, sketch("", "x"));
        let mut world = World::rested(task, 9, late);
        settled(&mut world, late, [put("done", Some("false"), None), done("l.1.x")]);
        settled(&mut world, late, [put("done", Some("true"), None), done("l.2.x")]);
        assert_eq!(world.task("t").status.word(), "completed");

        let task = sketch("t", "s").signal("s", "go", Some("signal == context.code"), None);
        let mut world = World::rested(task, 9, late);
        settled(
            &mut world,
            late,
            [put("code", Some("7"), None), signal("go", "6", ""), signal("go", "7", "")],
        );
        assert_eq!(world.output("s"), "7");
    }
}

#[test]
fn what_is_not_there_is_no_answer() {
    let task = sketch("t", "a, b < a").when("b", "context.k").on_failure("b", OnFailure::Fail);
    let mut world = World::with_sketch(task, 9);
    given(&mut world, [put("k", Some("true"), None), put("k", None, None), done("a")]);
    world.settle();
    assert_eq!((world.sub("b").state.word(), world.code("b")), ("failed", "EXPRESSION_FAILED"));
}

#[test]
fn it_comes_back_to_what_it_was() {
    let mut world = World::with_sketch(sketch("t", "a, b < a").given(r#"{"given": 0, "lost": 0}"#), 1);
    given(&mut world, [put("k", Some("1"), None), put("lost", None, None)]);
    let then = world.task("t").events;
    given(
        &mut world,
        [
            put("k", Some("2"), None),
            put("new", Some("3"), None),
            put("given", Some("4"), None),
            put("lost", Some("5"), None),
        ],
    );
    assert_eq!(world.context(), "given(2)=4, k(2)=2, lost(3)=5, new(1)=3");
    check(
        &mut world,
        [
            (
                back_to(then, ""),
                "rerun running 0 | | t writes given(3), t writes k(3), t deletes lost(4), t deletes new(2)",
            ),
            (back_to(then, ""), "rerun running 0"),
        ],
    );
    assert_eq!(world.context(), "given(3)=0, k(3)=1");
    // And it goes on from there.
    given(&mut world, [put("k", Some("9"), Some(3)), done("a"), done("b")]);
    check(&mut world, [(back_to(then, ""), "TASK_FINISHED")]);
    given(&mut world, [back_to(then, "b")]);
    assert_eq!((world.context().as_str(), world.open().as_str()), ("given(3)=0, k(5)=1", "b leased"));
    // What only runs again leaves it as it is.
    given(&mut world, [put("k", Some("7"), None), rerun("a")]);
    assert_eq!(world.context(), "given(3)=0, k(6)=7");
}

#[test]
fn expressions_see_what_was_restored() {
    let task = sketch("t", "a, b < a").given(r#"{"n": 1}"#).when("b", "context.n == 1 && context.m == 5");
    let mut world = World::with_sketch(task, 9);
    given(&mut world, [put("m", Some("5"), None)]);
    let then = world.task("t").events;
    given(&mut world, [put("n", Some("2"), None), put("m", Some("6"), None), back_to(then, "")]);
    given(&mut world, [gives("a", "0")]);
    assert_eq!(world.states("t"), "a completed, b leased");
}

#[test]
fn a_fork_takes_it_along() {
    let mut world = World::new();
    let task = sketch("t", "a, b < a")
        .given(r#"{"given": 0, "lost": 0}"#)
        .takes("k", Some("1"))
        .takes("lost", None)
        .when("b", "context.k == 1 && !has(context.lost)");
    given(&mut world, [open("w1", 9), submit(task.clone())]);
    assert_eq!(world.context(), "given(1)=0, k(1)=1");
    given(&mut world, [execute("t"), put("k", Some("1"), Some(1)), put("lost", Some("3"), Some(0))]);
    assert_eq!(world.context(), "given(1)=0, k(2)=1, lost(3)=3");
    given(&mut world, [put("lost", None, None), done("a")]);
    assert_eq!(world.states("t"), "a completed, b leased");
    // Submitted again it is what it was.
    check(&mut world, [(submit(task), "existed running")]);
    let at_once =
        |id: &str| Sketch { id: id.to_owned(), ..sketch("", "a").takes("k", Some("1")).at_once("coder") };
    given(&mut world, [submit_for(downbeat_core::id::TenantNo(2), at_once("u"))]);
}

#[test]
fn the_past_is_told_by_the_history() {
    let mut world = World::with_sketch(sketch("t", "a").given(r#"{"k": 1}"#), 1);
    let task = world.task_no("t");
    given(&mut world, [put("k", Some("2"), None)]);
    let then = world.task("t").events;
    given(&mut world, [put("k", None, None), put("n", Some("1"), None)]);
    let (plan, events) = (&world.plans[&task], &world.history[&task]);
    let versions = |number| {
        let keys = keys_at(plan, events, number);
        keys.into_iter().map(|(key, entry)| (key, entry.version)).collect::<Vec<_>>()
    };
    assert_eq!(versions(0), [("k".to_owned(), 1)]);
    assert_eq!(versions(then), [("k".to_owned(), 2)]);
    assert_eq!(versions(u64::MAX), [("k".to_owned(), 3), ("n".to_owned(), 1)]);
    let (was, is) = (keys_at(plan, events, then), keys_at(plan, events, u64::MAX));
    assert_eq!(differing(&was, &is).into_iter().collect::<Vec<_>>(), ["k", "n"]);
    assert_eq!(differing(&is, &is).len(), 0);
    let What::Context { index: None, lease: None, digest, by, .. } = &events[then as usize - 1].what else {
        panic!("{:?}", events[then as usize - 1]);
    };
    assert_eq!((digest.as_str(), by.as_str()), (blake3::hash(b"2").to_hex().as_str(), "ann"));
}

#[test]
fn damage_is_found() {
    let mut world = World::with("a", 0);
    given(&mut world, [put("k", Some("1"), None), put("k", Some("2"), None)]);
    let task = world.task_no("t");
    let (plan, events) = (&world.plans[&task], world.history[&task].clone());
    let written = world.written(task);
    assert!(broken_context(plan, &written, &events).is_empty());
    let writes = |event: &Event| matches!(event.what, What::Context { .. });
    let at = events.iter().position(writes).expect("there are two");
    let mut gap = events.clone();
    gap.remove(at);
    let found = broken_context(plan, &written, &gap);
    assert!(found.iter().any(|one| one.contains("version 2 after 0")), "{found:?}");
    let short: Vec<Event> = events[..events.len() - 1].to_vec();
    let found = broken_context(plan, &written, &short);
    assert!(found.iter().any(|one| one.contains("the history says")), "{found:?}");
}
