//! The tables of transitions, whole: what is legal, that nothing else is, and the command behind each.

use std::collections::BTreeSet;

use downbeat_core::{
    command::{Reply, Verdict},
    subtask::{Happening as H, SubtaskState as S},
    task::TaskStatus as T,
};

use crate::{
    ask::{
        Ask, ack, block, cancel, complete, deadline, detach, done, execute, execute_until, fails,
        fails_for_good, give_up, hand_back, look, lose, open, pause, release, rerun, retry, route, silence,
        sketch, skip, submit, unblock, wake,
    },
    table::given,
    world::World,
};

const HAPPENINGS: [H; 15] = [
    H::Arrive,
    H::Hold,
    H::Block,
    H::Unblock,
    H::Lease,
    H::Start,
    H::Requeue,
    H::BackOff,
    H::Suspend,
    H::Exhaust,
    H::Reopen,
    H::Complete,
    H::Fail,
    H::Skip,
    H::Cancel,
];

/// Every legal transition of a subtask, with what causes it. All but the last ask only prepare.
fn transitions() -> Vec<(S, H, S, Vec<Ask>)> {
    let it = "it";
    vec![
        (S::Pending, H::Arrive, S::Ready, vec![complete("first")]),
        (S::Waiting, H::Arrive, S::Ready, vec![release(it)]),
        (S::Backoff, H::Arrive, S::Ready, vec![wake(it).later(4)]),
        (S::NeedsReview, H::Arrive, S::Ready, vec![retry(it)]),
        (S::Pending, H::Hold, S::Waiting, vec![execute_until("t", it), complete("first")]),
        (S::Ready, H::Hold, S::Waiting, vec![execute_until("t", it)]),
        (S::Blocked, H::Hold, S::Waiting, vec![execute_until("t", it)]),
        (S::Ready, H::Block, S::Blocked, vec![block(it)]),
        (S::Blocked, H::Unblock, S::Ready, vec![unblock(it)]),
        (S::Ready, H::Lease, S::Leased, vec![open("w1", 1), look()]),
        (S::Blocked, H::Lease, S::Leased, vec![open("w1", 1), look()]),
        (S::Leased, H::Start, S::Running, vec![ack(it)]),
        (S::Leased, H::Requeue, S::Ready, vec![hand_back(it)]),
        (S::Running, H::Requeue, S::Ready, vec![lose(it)]),
        (S::Leased, H::BackOff, S::Backoff, vec![fails(it)]),
        (S::Running, H::BackOff, S::Backoff, vec![silence(it)]),
        (S::Leased, H::Exhaust, S::NeedsReview, vec![fails_for_good(it)]),
        (S::Running, H::Exhaust, S::NeedsReview, vec![fails_for_good(it)]),
        (S::Leased, H::Complete, S::Completed, vec![done(it)]),
        (S::Running, H::Complete, S::Completed, vec![done(it)]),
        (S::Ready, H::Complete, S::Completed, vec![complete(it)]),
        (S::Blocked, H::Complete, S::Completed, vec![complete(it)]),
        (S::Backoff, H::Complete, S::Completed, vec![complete(it)]),
        (S::Waiting, H::Complete, S::Completed, vec![complete(it)]),
        (S::NeedsReview, H::Complete, S::Completed, vec![complete(it)]),
        (S::Ready, H::Fail, S::Failed, vec![give_up(it)]),
        (S::Blocked, H::Fail, S::Failed, vec![give_up(it)]),
        (S::Backoff, H::Fail, S::Failed, vec![give_up(it)]),
        (S::Waiting, H::Fail, S::Failed, vec![give_up(it)]),
        (S::NeedsReview, H::Fail, S::Failed, vec![give_up(it)]),
        (S::Pending, H::Skip, S::Skipped, vec![give_up("first")]),
        (S::Ready, H::Skip, S::Skipped, vec![skip(it)]),
        (S::Blocked, H::Skip, S::Skipped, vec![skip(it)]),
        (S::Backoff, H::Skip, S::Skipped, vec![skip(it)]),
        (S::Waiting, H::Skip, S::Skipped, vec![skip(it)]),
        (S::NeedsReview, H::Skip, S::Skipped, vec![skip(it)]),
        (S::Pending, H::Cancel, S::Cancelled, vec![cancel("t")]),
        (S::Ready, H::Cancel, S::Cancelled, vec![cancel("t")]),
        (S::Blocked, H::Cancel, S::Cancelled, vec![cancel("t")]),
        (S::Leased, H::Cancel, S::Cancelled, vec![cancel("t")]),
        (S::Running, H::Cancel, S::Cancelled, vec![cancel("t")]),
        (S::Backoff, H::Cancel, S::Cancelled, vec![deadline("t").later(60_000)]),
        (S::Waiting, H::Cancel, S::Cancelled, vec![cancel("t")]),
        (S::NeedsReview, H::Cancel, S::Cancelled, vec![cancel("t")]),
    ]
}

/// Legal, of subtasks that were planned for it: caused in `decisions.rs`, `gates.rs`, `children.rs` and `nested.rs`.
const ELSEWHERE: [(S, H, S); 11] = [
    (S::Waiting, H::BackOff, S::Backoff),
    (S::Backoff, H::Hold, S::Waiting),
    (S::Backoff, H::Reopen, S::Pending),
    (S::Leased, H::Suspend, S::Waiting),
    (S::Running, H::Suspend, S::Waiting),
    (S::NeedsReview, H::Reopen, S::Pending),
    (S::Pending, H::Exhaust, S::NeedsReview),
    (S::Waiting, H::Exhaust, S::NeedsReview),
    (S::Pending, H::Fail, S::Failed),
    (S::Leased, H::Fail, S::Failed),
    (S::Running, H::Fail, S::Failed),
];

/// Every legal transition of a task that a command causes.
fn status_transitions() -> Vec<(T, T, Vec<Ask>)> {
    vec![
        (T::Planning, T::Failed, vec![deadline("t").later(60_000)]),
        (T::Planning, T::Cancelled, vec![cancel("t")]),
        (T::Planned, T::Running, vec![execute("t")]),
        (T::Planned, T::Failed, vec![deadline("t").later(60_000)]),
        (T::Planned, T::Cancelled, vec![cancel("t")]),
        (T::Running, T::Paused, vec![pause("t")]),
        (T::Running, T::NeedsReview, vec![fails_for_good("it")]),
        (T::Running, T::Completed, vec![done("it")]),
        (T::Running, T::Failed, vec![hand_back("it"), give_up("it")]),
        (T::Running, T::Cancelled, vec![cancel("t")]),
        (T::Paused, T::Running, vec![execute("t")]),
        (T::Paused, T::NeedsReview, vec![fails_for_good("it"), execute("t")]),
        (T::Paused, T::Completed, vec![done("it")]),
        (T::Paused, T::Failed, vec![fails("it"), give_up("it")]),
        (T::Paused, T::Cancelled, vec![cancel("t")]),
        (T::NeedsReview, T::Running, vec![retry("it")]),
        (T::NeedsReview, T::Paused, vec![pause("t")]),
        (T::NeedsReview, T::Completed, vec![skip("it")]),
        (T::NeedsReview, T::Failed, vec![give_up("it")]),
        (T::NeedsReview, T::Cancelled, vec![cancel("t")]),
        (T::Completed, T::Running, vec![rerun("it")]),
        (T::Failed, T::Running, vec![rerun("it")]),
        (T::Cancelled, T::Running, vec![rerun("it")]),
    ]
}

/// Legal, and waiting for its command: plans are made before a task is accepted.
const RESERVED: [(T, T); 2] = [(T::Planning, T::Planned), (T::Planned, T::Completed)];

/// A world in which subtask `it` is in that state: it waits for `first`, and `then` waits for it. No worker
/// has a free slot.
pub(crate) fn subject(state: S) -> World {
    let mut world = World::with_sketch(sketch("t", "first, it < first, then < it").deadline(60_000), 0);
    let w = &mut world;
    match state {
        S::Pending => {}
        S::Ready => given(w, [complete("first")]),
        S::Blocked => given(w, [complete("first"), block("it")]),
        S::Waiting => given(w, [execute_until("t", "it"), complete("first")]),
        S::Leased => given(w, [complete("first"), open("w1", 1), look()]),
        S::Running => given(w, [complete("first"), open("w1", 1), look(), ack("it")]),
        S::Backoff => given(w, [complete("first"), open("w1", 1), look(), fails("it"), detach("w1")]),
        S::NeedsReview => {
            given(w, [complete("first"), open("w1", 1), look(), fails_for_good("it"), detach("w1")]);
        }
        S::Completed => given(w, [complete("first"), complete("it")]),
        S::Failed => given(w, [complete("first"), give_up("it")]),
        S::Skipped => given(w, [complete("first"), skip("it")]),
        S::Cancelled => given(w, [complete("first"), cancel("t")]),
    }
    assert_eq!(world.sub("it").state, state);
    world
}

/// A world in which task `t`, with the one subtask `it`, has that status; `it` is leased where it can be.
fn subject_task(status: T) -> World {
    let mut world = World::new();
    let w = &mut world;
    given(w, [open("w1", 1), submit(sketch("t", "it").deadline(60_000))]);
    match status {
        T::Planning => {
            let no = w.task_no("t");
            w.tasks.get_mut(&no).expect("just submitted").status = T::Planning;
        }
        T::Planned => {}
        T::Running => given(w, [execute("t")]),
        T::Paused => given(w, [execute("t"), pause("t")]),
        T::NeedsReview => given(w, [execute("t"), fails_for_good("it")]),
        T::Completed => given(w, [execute("t"), done("it")]),
        T::Failed => given(w, [execute("t"), fails("it"), give_up("it")]),
        T::Cancelled => given(w, [cancel("t")]),
    }
    assert_eq!(world.task("t").status, status);
    world
}

#[test]
fn subtasks_move_as_the_table_says_and_not_otherwise() {
    let caused = transitions().into_iter().map(|(from, by, to, _)| (from, by, to));
    let legal: Vec<(S, H, S)> = caused.chain(ELSEWHERE).collect();
    for from in S::ALL {
        for by in HAPPENINGS {
            let expected = legal.iter().find(|row| (row.0, row.1) == (from, by)).map(|row| row.2);
            assert_eq!(from.next(by), expected, "{from:?} by {by:?}");
        }
    }
    assert_eq!(legal.len(), 55);
}

#[test]
fn each_transition_of_a_subtask_is_caused_by_a_command() {
    for (from, by, to, mut asks) in transitions() {
        let mut world = subject(from);
        let last = asks.pop().expect("a row asks for something");
        for ask in asks {
            given(&mut world, [ask]);
            assert_eq!(world.sub("it").state, from, "{from:?} by {by:?}: the last ask moves it");
        }
        given(&mut world, [last]);
        assert_eq!(world.sub("it").state, to, "{from:?} by {by:?}");
    }
}

#[test]
fn every_happening_is_in_the_table() {
    let place = |happening: H| match happening {
        H::Arrive => 0,
        H::Hold => 1,
        H::Block => 2,
        H::Unblock => 3,
        H::Lease => 4,
        H::Start => 5,
        H::Requeue => 6,
        H::BackOff => 7,
        H::Exhaust => 8,
        H::Complete => 9,
        H::Fail => 10,
        H::Skip => 11,
        H::Cancel => 12,
        H::Suspend => 13,
        H::Reopen => 14,
    };
    let places: BTreeSet<i32> = HAPPENINGS.into_iter().map(place).collect();
    assert!(places.into_iter().eq(0..15));
}

#[test]
fn tasks_move_as_the_table_says_and_not_otherwise() {
    let caused = status_transitions().into_iter().map(|(from, to, _)| (from, to));
    let legal: BTreeSet<(T, T)> = caused.chain(RESERVED).collect();
    assert_eq!(legal.len(), status_transitions().len() + RESERVED.len(), "no row stands twice");
    for from in T::ALL {
        for to in T::ALL {
            assert_eq!(from.may_become(to), legal.contains(&(from, to)), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn each_transition_of_a_task_is_caused_by_a_command() {
    for (from, to, mut asks) in status_transitions() {
        let mut world = subject_task(from);
        let last = asks.pop().expect("a row asks for something");
        for ask in asks {
            given(&mut world, [ask]);
            assert_eq!(world.task("t").status, from, "{from:?} to {to:?}: the last ask moves it");
        }
        given(&mut world, [last]);
        assert_eq!(world.task("t").status, to, "{from:?} to {to:?}");
    }
}

/// What each command about the subtask comes to in each state: the state it moves to, `=` where it counts
/// and nothing moves, `-` where it is refused, stale or means nothing.
#[test]
fn each_command_in_each_state_moves_as_far_as_it_may() {
    type Make = fn(&str) -> Ask;
    #[rustfmt::skip]
    let commands: [(&str, Make); 16] = [
        ("done", done), ("fails", fails), ("for good", fails_for_good), ("ack", ack), ("hand_back", hand_back),
        ("lose", lose), ("silence", silence), ("wake", wake), ("block", block), ("unblock", unblock),
        ("retry", retry), ("release", release), ("skip", skip), ("give_up", give_up), ("complete", complete),
        ("route", |it| route(it, "coder")),
    ];
    #[rustfmt::skip]
    let grid: [(S, [&str; 16]); 12] = [
        //               done         fails      for good        ack        hand_back lose     silence    wake       block      unblock  retry    release  skip       give_up   complete     route
        (S::Pending,     ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "-",     "=",     "-",       "-",      "-",         "="]),
        (S::Ready,       ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "blocked", "-",     "-",     "-",     "skipped", "failed", "completed", "="]),
        (S::Blocked,     ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "ready", "-",     "-",     "skipped", "failed", "completed", "ready"]),
        (S::Leased,      ["completed", "backoff", "needs_review", "running", "ready",  "ready", "backoff", "backoff", "-",       "-",     "-",     "-",     "-",       "-",      "-",         "-"]),
        (S::Running,     ["completed", "backoff", "needs_review", "=",       "ready",  "ready", "backoff", "backoff", "-",       "-",     "-",     "-",     "-",       "-",      "-",         "-"]),
        (S::Backoff,     ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "ready",   "-",       "-",     "ready", "-",     "skipped", "failed", "completed", "="]),
        (S::Waiting,     ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "-",     "ready", "skipped", "failed", "completed", "="]),
        (S::NeedsReview, ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "ready", "-",     "skipped", "failed", "completed", "="]),
        (S::Completed,   ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "-",     "-",     "-",       "-",      "-",         "-"]),
        (S::Failed,      ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "-",     "-",     "-",       "-",      "-",         "-"]),
        (S::Skipped,     ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "-",     "-",     "-",       "-",      "-",         "-"]),
        (S::Cancelled,   ["-",         "-",       "-",            "-",       "-",      "-",     "-",       "-",       "-",       "-",     "-",     "-",     "-",       "-",      "-",         "-"]),
    ];
    let mut differ = Vec::new();
    for (from, row) in grid {
        for ((name, make), expected) in commands.into_iter().zip(row) {
            let mut world = subject(from);
            arm(&mut world, "it");
            let outcome = world.ask(make("it").later(5_000));
            let to = world.sub("it").state;
            let came = match &outcome.replies[0] {
                _ if to != from => to.word(),
                Ok(Reply::Verdict(Verdict::Accepted) | Reply::State(_)) => "=",
                Ok(_) | Err(_) => "-",
            };
            if came == "-" {
                assert!(outcome.changes.is_empty(), "{from:?} {name}: {:?}", outcome.changes);
            }
            if came != expected {
                differ.push(format!("{from:?} {name}: expected {expected}, got {came}"));
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Gives what is leased an SLA of five seconds.
fn arm(world: &mut World, name: &str) {
    let (place, at) = (world.place(name), world.now.plus_ms(5_000));
    let row = world.subtasks.get_mut(&place).expect("it is drawn");
    if row.state.is_leased() {
        row.wake_at = Some(at);
    }
}
