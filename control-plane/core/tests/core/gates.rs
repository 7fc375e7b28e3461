//! Gates: timers, signals and approvals.

use downbeat_core::{
    draft::{Approval, Approvers, Does, OnFailure, OnTimeout, RunIf, Timer},
    limits,
    time::Time,
};

use crate::{
    ask::{
        Sketch, cancel, complete, deadline, decide, decide_on, done, execute, follow, give_up, gives, pause,
        retry, route, signal, sketch, skip, tick, wake,
    },
    table::{WAYS, check, given, settled},
    world::World,
};

#[test]
fn a_timer_holds_what_is_behind_it() {
    let task = sketch("t", "a, it < a, then < it").timer("it", 10);
    check(
        &mut World::with_sketch(task, 1),
        [
            (done("a"), "accepted | a completed, it waiting | a completed(1), it waiting | wake it +10000"),
            (wake("it").later(9_999), "done | | | wake it +1"),
            (
                wake("it").later(1),
                "done | it completed, then leased | it completed, then leased(1) | assign then w1",
            ),
            (wake("it"), "done"),
        ],
    );
}

#[test]
fn a_time_that_has_passed_is_no_wait() {
    for late in WAYS {
        for (at, state) in [(0, "completed"), (1_000_000, "completed"), (1_000_001, "waiting")] {
            let task = sketch("t", "it, then < it").does("it", Does::Timer(Timer::Until(Time(at))));
            let world = World::rested(task, 1, late);
            assert_eq!(world.sub("it").state.word(), state, "{at}");
        }
    }
}

#[test]
fn a_timer_that_was_lost_is_found_by_a_tick() {
    let mut world = World::with_sketch(sketch("t", "it").timer("it", 10), 0);
    check(
        &mut world,
        [
            (tick(), ""),
            (tick().later(10_000), "done | t completed, it completed | it completed, t completed"),
        ],
    );
}

fn waits(matches: Option<&str>, seconds: Option<u32>) -> Sketch {
    sketch("t", "a, it < a, then < it").signal("it", "go", matches, seconds)
}

#[test]
fn a_signal_that_something_waits_for_is_taken() {
    let mut world = World::with_sketch(waits(None, None), 1);
    check(
        &mut world,
        [
            (done("a"), "accepted | a completed, it waiting | a completed(1), it waiting"),
            (signal("no", "1", ""), "kept | | t signalled no"),
            (
                signal("go", "7", "x"),
                "taken | it completed, then leased | t signalled go, it completed, then leased(1) | assign then w1",
            ),
            (signal("go", "8", "x"), "kept"),
        ],
    );
    assert_eq!(world.output("it"), "7");
    given(&mut world, [done("then")]);
    check(&mut world, [(signal("go", "8", "y"), "TASK_FINISHED"), (signal("go", "8", "x"), "kept")]);
}

#[test]
fn a_signal_that_comes_early_waits() {
    for late in WAYS {
        let mut world = World::rested(waits(None, None), 1, late);
        settled(&mut world, late, [signal("go", "1", "x"), signal("go", "2", "y"), signal("go", "3", "x")]);
        settled(&mut world, late, [done("a")]);
        assert_eq!((world.output("it"), world.sub("then").state.word()), ("1", "leased"));
    }
}

#[test]
fn a_signal_before_the_task_begins_waits() {
    for late in WAYS {
        let mut world = World::new();
        given(&mut world, [crate::ask::submit(sketch("t", "it").signal("it", "go", None, None))]);
        given(&mut world, [signal("go", "1", ""), execute("t")]);
        world.rest(late);
        assert_eq!((world.output("it"), world.task("t").status.word()), ("1", "completed"));
    }
}

#[test]
fn of_two_gates_of_one_name_the_first_takes_the_first() {
    let task = sketch("t", "one, two, rest < one two")
        .signal("one", "go", None, None)
        .signal("two", "go", None, None);
    for late in WAYS {
        let mut world = World::rested(task.clone(), 1, late);
        settled(&mut world, late, [signal("go", "1", ""), signal("go", "2", "")]);
        assert_eq!((world.output("one"), world.output("two")), ("1", "2"));
        let mut world = World::rested(task.clone(), 1, late);
        settled(
            &mut world,
            late,
            [signal("go", "1", "").and(signal("go", "2", "")).and(signal("go", "3", ""))],
        );
        assert_eq!((world.output("one"), world.output("two")), ("1", "2"));
    }
}

#[test]
fn only_what_matches_is_taken() {
    let matches = "signal.id == outputs.a.id";
    for late in WAYS {
        let mut world = World::rested(waits(Some(matches), None), 1, late);
        let early = signal("go", r#"{"id":2}"#, "").and(signal("go", r#"{"id":1,"n":1}"#, ""));
        settled(&mut world, late, [early, gives("a", r#"{"id":1}"#)]);
        assert_eq!(world.output("it"), r#"{"id":1,"n":1}"#);

        let mut world = World::rested(waits(Some(matches), None), 1, late);
        settled(&mut world, late, [gives("a", r#"{"id":1}"#)]);
        settled(&mut world, late, [signal("go", "{}", ""), signal("go", r#"{"id":2}"#, "")]);
        assert_eq!(world.sub("it").state.word(), "waiting");
        settled(&mut world, late, [signal("go", r#"{"id":1}"#, "")]);
        assert_eq!(world.sub("it").state.word(), "completed");
    }
}

#[test]
fn so_many_signals_wait_and_no_more() {
    let mut world = World::with_sketch(waits(None, None), 1);
    for _ in 0..limits::SIGNALS {
        given(&mut world, [signal("go", "1", "")]);
    }
    check(&mut world, [(signal("go", "1", "new"), "TOO_MANY_SIGNALS")]);
    given(&mut world, [done("a")]);
    check(&mut world, [(signal("go", "1", "new"), "kept | | t signalled go")]);
}

#[test]
fn a_signal_to_no_task() {
    check(&mut World::new(), [(signal("go", "1", ""), "TASK_UNKNOWN")]);
}

/// `Waiting` by `Exhaust`.
#[test]
fn a_signal_that_does_not_come_in_time() {
    let mut world = World::with_sketch(waits(None, Some(5)), 1);
    given(&mut world, [done("a")]);
    check(
        &mut world,
        [
            (
                wake("it").later(5_000),
                "done | t needs_review, it needs_review | it needs_review, t needs_review",
            ),
            (signal("go", "1", ""), "kept | | t signalled go"),
            (
                retry("it"),
                "completed | t running, it completed, then leased
                | it pending, it waiting, it completed, t running, then leased(1) | wake it +5000, assign then w1",
            ),
        ],
    );
    let mut world = World::with_sketch(waits(None, Some(5)).failing("it"), 1);
    given(&mut world, [done("a"), wake("it").later(5_000)]);
    assert_eq!(
        (world.states("t").as_str(), world.code("it")),
        ("a completed, it failed, then skipped", "EXPIRED")
    );
}

#[test]
fn a_person_may_stand_in_for_a_signal_or_a_time() {
    for (action, then) in [(complete("it"), "leased"), (skip("it"), "leased"), (give_up("it"), "skipped")] {
        let mut world = World::with_sketch(waits(None, Some(5)), 1);
        given(&mut world, [done("a"), action]);
        assert_eq!((world.sub("then").state.word(), world.sub("it").wake_at), (then, None));
    }
    check(
        &mut World::with_sketch(sketch("t", "it").timer("it", 5), 0),
        [(retry("it"), "SUBTASK_STATE"), (route("it", "coder"), "SUBTASK_STATE")],
    );
}

fn people(names: &str, roles: &str) -> Approvers {
    let all = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    Approvers { names: all(names), roles: all(roles) }
}

fn asks(change: impl FnOnce(&mut Approval)) -> Sketch {
    sketch("t", "a, it < a, then < it").approval("it", change)
}

/// A world in which the approval `it` is open.
fn asking(task: Sketch) -> World {
    let mut world = World::with_sketch(task, 1);
    given(&mut world, [done("a")]);
    world.settle();
    assert_eq!((world.sub("it").state.word(), world.task("t").asking), ("waiting", 1));
    world
}

#[test]
fn an_approval_is_asked_and_decided() {
    let mut world = World::with_sketch(asks(|_| {}), 1);
    check(
        &mut world,
        [
            (decide_on("it", "yes", "ann", Some("")), "SUBTASK_STATE"),
            (done("a"), "accepted | a completed, it waiting | a completed(1), it waiting"),
            (decide_on("it", "yes", "ann", Some("f00")), "DIGEST_MISMATCH"),
            (decide("it", "perhaps", "ann"), "OPTION_UNKNOWN"),
            (decide("a", "yes", "ann"), "SUBTASK_STATE"),
            (decide("nothing", "yes", "ann"), "SUBTASK_UNKNOWN"),
            (decide("none/it", "yes", "ann"), "TASK_UNKNOWN"),
            (complete("it"), "SUBTASK_STATE"),
            (skip("it"), "SUBTASK_STATE"),
            (give_up("it"), "SUBTASK_STATE"),
            (
                decide("it", "yes", "ann"),
                "completed | it completed, then leased | it yes by ann, it completed, then leased(1) | assign then w1",
            ),
            (decide("it", "yes", "ann"), "completed"),
            (decide("it", "no", "ann"), "SUBTASK_STATE"),
            (decide("it", "yes", "bob"), "SUBTASK_STATE"),
            (done("then"), "accepted | t completed, then completed | then completed(1), t completed"),
            (decide("it", "yes", "ann"), "completed"),
            (decide("it", "yes", "bob"), "TASK_FINISHED"),
        ],
    );
    let said = r#"{"expired":false,"option":"yes","votes":[{"at":1000000,"by":"ann","option":"yes"}]}"#;
    assert_eq!(world.output("it"), said);
}

#[test]
fn each_choice_has_its_end() {
    for (option, state, code, then, run_if) in [
        ("yes", "completed", "DECIDED", "leased", RunIf::AllSucceeded),
        ("no", "failed", "REJECTED", "skipped", RunIf::AllSucceeded),
        ("no", "failed", "REJECTED", "leased", RunIf::AnyFailed),
        ("drop", "skipped", "DECIDED", "skipped", RunIf::AllSucceeded),
        ("drop", "skipped", "DECIDED", "leased", RunIf::AllDone),
    ] {
        for late in WAYS {
            let mut world = asking(asks(|_| {}).run_if("then", run_if));
            settled(&mut world, late, [decide("it", option, "ann")]);
            assert_eq!((world.sub("it").state.word(), world.code("it")), (state, code), "{option}");
            assert_eq!(world.sub("then").state.word(), then, "{option}");
            assert_eq!(world.task("t").asking, 0);
        }
    }
}

#[test]
fn so_many_people_have_to_choose_the_same() {
    let mut world = asking(asks(|approval| approval.quorum = 2));
    check(
        &mut world,
        [
            (decide("it", "yes", "ann"), "waiting | | it yes by ann"),
            (decide("it", "yes", "ann"), "waiting"),
            (decide("it", "no", "bob"), "waiting | | it no by bob"),
            (
                decide("it", "no", "ann"),
                "failed | t failed, it failed, then skipped | it no by ann, it failed, then skipped, t failed",
            ),
        ],
    );
    assert_eq!(world.gate("it").map(|gate| gate.votes.len()), Some(2));
    let mut world = asking(asks(|approval| approval.quorum = 2));
    let both = decide("it", "yes", "ann").and(decide("it", "yes", "bob"));
    let told = "waiting; completed | it completed, then leased
        | it yes by ann, it yes by bob, it completed, then leased(1) | assign then w1";
    check(&mut world, [(both, told)]);
}

#[test]
fn only_approvers_decide() {
    let task = asks(|approval| approval.approvers = vec![people("ann", "lead")]);
    check(
        &mut asking(task),
        [
            (decide("it", "yes", "bob"), "NOT_AN_APPROVER"),
            (decide("it", "yes", "bob/tester"), "NOT_AN_APPROVER"),
            (
                decide("it", "yes", "bob/tester lead"),
                "completed | it completed, then leased | it yes by bob, it completed, then leased(1) | assign then w1",
            ),
        ],
    );
}

fn levels(on_timeout: OnTimeout) -> Sketch {
    asks(|approval| {
        approval.approvers = vec![people("ann", ""), people("bob", ""), people("", "boss")];
        approval.timeout_seconds = Some(10);
        approval.on_timeout = on_timeout;
    })
}

#[test]
fn what_nobody_decides_is_asked_of_the_next_level() {
    let mut world = asking(levels(OnTimeout::Fail));
    check(
        &mut world,
        [
            (decide("it", "yes", "bob"), "NOT_AN_APPROVER"),
            (wake("it").later(10_000), "done | | it waiting | wake it +10000"),
            (decide("it", "yes", "cyd/boss"), "NOT_AN_APPROVER"),
            (tick().later(9_999), ""),
            (tick().later(1), "done | | it waiting | wake it +10000"),
            (
                decide("it", "yes", "ann"),
                "completed | it completed, then leased | it yes by ann, it completed, then leased(1) | assign then w1",
            ),
            (tick().later(10_000), ""),
        ],
    );
}

#[test]
fn what_nobody_decides_expires() {
    for (on_timeout, on_failure, state, then) in [
        (OnTimeout::Fail, OnFailure::Review, "needs_review", "pending"),
        (OnTimeout::Fail, OnFailure::Fail, "failed", "skipped"),
        (OnTimeout::Approve, OnFailure::Review, "completed", "leased"),
        (OnTimeout::Reject, OnFailure::Review, "failed", "skipped"),
    ] {
        for late in WAYS {
            let mut world = asking(levels(on_timeout).on_failure("it", on_failure));
            for _ in 0..3 {
                settled(&mut world, late, [tick().later(10_000)]);
            }
            let name = (on_timeout.word(), on_failure.word());
            assert_eq!((world.sub("it").state.word(), world.code("it")), (state, "EXPIRED"), "{name:?}");
            assert_eq!((world.sub("then").state.word(), world.task("t").asking), (then, 0), "{name:?}");
            let expired = world.output("it").contains(r#""expired":true"#);
            assert_eq!(expired, state == "completed", "{name:?}");
        }
    }
}

#[test]
fn an_expired_approval_can_be_asked_again_and_nobody_else_decides_it() {
    let mut world = asking(levels(OnTimeout::Fail));
    given(&mut world, [tick().later(10_000), tick().later(10_000), tick().later(10_000)]);
    check(&mut world, [(decide("it", "yes", "ann"), "SUBTASK_STATE")]);
    given(&mut world, [retry("it")]);
    assert_eq!(world.gate("it").map(|gate| (gate.level, gate.votes.len())), Some((0, 0)));
    check(
        &mut world,
        [
            (decide("it", "yes", "bob"), "NOT_AN_APPROVER"),
            (
                decide("it", "drop", "ann"),
                "skipped | t completed, it skipped, then skipped | it drop by ann, it skipped, then skipped, t completed",
            ),
        ],
    );
    let mut world = asking(levels(OnTimeout::Fail));
    given(&mut world, [tick().later(10_000), tick().later(10_000), tick().later(10_000)]);
    check(&mut world, [(skip("it"), "SUBTASK_STATE"), (complete("it"), "SUBTASK_STATE")]);
    given(&mut world, [give_up("it")]);
    assert_eq!(world.sub("then").state.word(), "skipped");
}

#[test]
fn the_digest_is_of_the_question_and_what_it_is_about() {
    let digest = |task: Sketch, output: &'static str| {
        let mut world = World::with_sketch(task, 1);
        given(&mut world, [gives("a", output)]);
        world.settle();
        world.gate("it").map(|gate| gate.digest).expect("it is open")
    };
    let one = digest(asks(|_| {}), "1");
    assert_eq!(one, digest(asks(|_| {}), "1"));
    assert_ne!(one, digest(asks(|_| {}), "2"));
    assert_ne!(one, digest(asks(|_| {}).input("it", "1"), "1"));
}

#[test]
fn the_deadline_stands_still_while_people_are_asked() {
    let mut world = World::with_sketch(asks(|_| {}).deadline(60_000), 1);
    given(&mut world, [done("a").later(10_000)]);
    assert_eq!(world.task("t").wake_at, None);
    check(
        &mut world,
        [
            (deadline("t").later(100_000), "done"),
            (
                decide("it", "yes", "ann"),
                "completed | it completed, then leased | it yes by ann, it completed, then leased(1)
                | wake t +50000, assign then w1 by +50000",
            ),
            (
                deadline("t").later(50_000),
                "done | t failed, then cancelled | then cancelled(1), t failed | revoke then w1",
            ),
        ],
    );
}

#[test]
fn the_deadline_stands_still_through_a_pause_and_an_approval() {
    let mut world = World::with_sketch(asks(|_| {}).deadline(60_000), 1);
    given(&mut world, [pause("t"), done("a").later(1_000), execute("t").later(1_000)]);
    world.settle();
    assert_eq!(world.task("t").wake_at, None, "paused first, then asking");
    given(&mut world, [decide("it", "yes", "ann").later(1_000)]);
    let left = world.task("t").wake_at.map(|at| world.ahead_ms(at));
    assert_eq!(left, Some(60_000));
}

#[test]
fn gates_open_and_end_in_a_paused_task_and_nothing_is_leased() {
    let mut world = asking(asks(|_| {}));
    given(&mut world, [pause("t"), decide("it", "yes", "ann")]);
    assert_eq!(
        (world.states("t").as_str(), world.in_line().as_str()),
        ("a completed, it completed, then ready", "")
    );
}

#[test]
fn a_cancelled_task_asks_nobody() {
    let mut world = asking(asks(|approval| approval.timeout_seconds = Some(5)));
    given(&mut world, [cancel("t")]);
    assert_eq!((world.task("t").asking, world.sub("it").wake_at), (0, None));
    check(
        &mut world,
        [(decide("it", "yes", "ann"), "TASK_FINISHED"), (wake("it").later(5_000), "done"), (follow(), "")],
    );
}

#[test]
fn a_signal_asks_only_gates_of_its_name_and_so_many_of_them() {
    let many = |steps: &str| {
        let (n, body) = (400, sketch("", "x").signal("x", "go", Some(steps), None));
        let over = format!("[{}]", (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
        World::rested(sketch("t", "m").map("m", &over, None, body), 1, false)
    };
    let mut world = many("signal.n == item");
    check(&mut world, [(signal("no", "{}", ""), "kept | | t signalled no")]);
    given(&mut world, [signal("go", r#"{"n":399}"#, "")]);
    assert_eq!(world.sub("m.399").state.word(), "completed");
    let mut world =
        many("range.exists(i, range.exists(j, i + j + signal.n == 0))".replace("range", RANGE).as_str());
    let reject = world.ask(signal("go", r#"{"n":99}"#, "")).replies.remove(0).expect_err("too much");
    assert_eq!(reject.code(), "SIGNAL_TOO_COSTLY");
    assert!(reject.to_string().contains("1000000 steps (SIGNAL_STEPS)"), "{reject}");
    check(&mut world, [(signal("no", "{}", ""), "kept | | t signalled no")]);
}

/// Long enough that going through it twice over takes thousands of steps.
const RANGE: &str = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30]";
