//! The checker that every other test leans on: each kind of damage is seen, and said in words.

use downbeat_core::{
    event::{Event, What},
    id::{LeaseId, SessionNo},
    invariant::broken,
    subtask::{Outcome, Subtask, SubtaskState},
    task::{Task, TaskStatus},
    time::Time,
};

use crate::{
    ask::{done, drain, execute, fails, fails_for_good, give_up, hand_back, pause, sketch, submit, wake},
    table::given,
    world::World,
};

/// A task's whole state, to be damaged.
struct Whole {
    task: Task,
    rows: Vec<Subtask>,
    events: Vec<Event>,
}

/// `a` completed, `b` leased for the second time, `c` ready, `d` in backoff, `e` in review, `f` waits for
/// `b`, `g` was given up.
fn whole() -> (World, Whole) {
    let mut world = World::with("a, b < a, c, d, e, f < b, g", 6);
    given(
        &mut world,
        [done("a"), fails("b"), wake("b").later(4), fails("d"), fails_for_good("e"), pause("t")],
    );
    given(&mut world, [hand_back("c"), hand_back("g"), give_up("g"), drain("w1"), execute("t")]);
    let states = "a completed, b leased, c ready, d backoff, e needs_review, f pending, g failed";
    assert_eq!(world.states("t"), states);
    let whole = Whole {
        task: world.task("t").clone(),
        rows: world.subtasks.values().cloned().collect(),
        events: world.history[&world.task_no("t")].clone(),
    };
    (world, whole)
}

#[test]
fn a_sound_task_breaks_nothing() {
    let (world, whole) = whole();
    assert!(broken(&whole.task, &world.plans[&whole.task.no], &whole.rows, &whole.events).is_empty());
}

#[test]
fn each_damage_is_seen() {
    type Damage = fn(&mut Whole);
    let rows: [(&str, Damage); 26] = [
        ("6 rows for 7 subtasks", |w| w.rows.truncate(6)),
        ("counter unfinished says 6, counted 5", |w| w.task.unfinished += 1),
        ("counter failed says 0, counted 1", |w| w.task.failed -= 1),
        ("counter in_review says 2, counted 1", |w| w.task.in_review += 1),
        ("counter total says 8, counted 7", |w| w.task.total += 1),
        ("status running, due needs_review", |w| w.task.status = TaskStatus::Running),
        ("status needs_review with end Some(Time(5))", |w| w.task.ended_at = Some(Time(5))),
        ("status failed with end None", |w| w.task.status = TaskStatus::Failed),
        ("subtask 1 (leased): unfinished in a failed task", |w| w.task.status = TaskStatus::Failed),
        ("subtask 1 (leased): session None", |w| w.rows[1].session = None),
        ("subtask 2 (ready): session Some(SessionNo(9))", |w| w.rows[2].session = Some(SessionNo(9))),
        ("subtask 2 (ready): place in line None in a needs_review task", |w| w.rows[2].queued = None),
        ("subtask 3 (backoff): place in line Some(9) in a needs_review task", |w| w.rows[3].queued = Some(9)),
        ("subtask 2 (ready): place in line Some(", |w| w.task.status = TaskStatus::Paused),
        ("subtask 3 (backoff): nothing will wake it", |w| w.rows[3].wake_at = None),
        ("subtask 5 (pending): pending, though all dependencies are done", |w| {
            w.rows[1].state = SubtaskState::Completed;
        }),
        ("subtask 5 (pending): pending, though all dependencies are done", |w| {
            w.rows[1].state = SubtaskState::Skipped;
        }),
        ("subtask 5 (ready): went ahead of 1 dependencies", |w| w.rows[5].state = SubtaskState::Ready),
        ("subtask 5 (running): went ahead of 1 dependencies", |w| w.rows[5].state = SubtaskState::Running),
        ("subtask 5 (completed): went ahead of 1 dependencies", |w| {
            w.rows[5].state = SubtaskState::Completed
        }),
        ("event 3 stands where 2 belongs", |w| {
            w.events.remove(1);
        }),
        ("events, the task counts", |w| {
            w.events.pop();
        }),
        ("subtask 0 (completed): completed 2 times", |w| {
            w.task.events += 1;
            let (number, at) = (w.task.events, Time(9));
            let what = What::Subtask {
                index: 0,
                state: SubtaskState::Completed,
                reason: String::new(),
                code: String::new(),
                by: String::new(),
            };
            w.events.push(Event { number, at, what });
        }),
        ("subtask 2 (ready): completed 1 times", |w| {
            w.task.events += 1;
            let (number, at, lease) = (w.task.events, Time(9), LeaseId(9));
            let (state, outcome) = (SubtaskState::Completed, Outcome::Completed);
            let (error, reason) = (None, String::new());
            let what = What::Ended { index: 2, state, lease, attempt: 1, outcome, error, reason };
            w.events.push(Event { number, at, what });
        }),
        ("subtask 1: lease None, the history says Some(", |w| w.rows[1].lease = None),
        ("subtask 1: lease 9 after Some(", |w| {
            w.task.events += 1;
            let (number, at, lease) = (w.task.events, Time(9), LeaseId(9));
            w.events.push(Event {
                number,
                at,
                what: What::Leased { index: 1, attempt: 3, lease, worker: "w".into() },
            });
        }),
    ];
    for (words, damage) in rows {
        let (world, mut whole) = whole();
        damage(&mut whole);
        let found = broken(&whole.task, &world.plans[&whole.task.no], &whole.rows, &whole.events);
        assert!(found.iter().any(|one| one.contains(words)), "expected {words:?}, got {found:#?}");
    }
}

#[test]
fn before_the_execution_waiting_is_no_damage() {
    let mut world = World::new();
    given(&mut world, [submit(sketch("t", "a"))]);
    let (task, plan) = (world.task("t"), &world.plans[&world.task_no("t")]);
    assert!(broken(task, plan, &[world.sub("a").clone()], &world.history[&task.no]).is_empty());
}
