//! The periodic look, replicas and upkeep.

use downbeat_core::{
    effect::Wake,
    id::{ReplicaNo, RouteNo, SessionNo, TaskNo},
    plan::RouteSpec,
    rows::Changes,
    subtask::Subtask,
    task::{Priority, Task},
    time::Time,
};
use downbeat_store::{Due, Store};

use crate::build::{self, TENANT, in_line, subtask_row, write};

const HOUR_MS: u64 = 3_600_000;

pub(crate) async fn what_is_due_comes_oldest_first(store: &dyn Store) {
    let wake = |at: i64| Some(Time(at));
    let mut task = build::task(1);
    task.wake_at = wake(30);
    let mut session = build::session(7);
    session.wake_at = wake(20);
    let subtask = |index, at| subtask_row(1, index, Subtask { wake_at: at, ..build::subtask() });
    let changes = Changes {
        new_tasks: vec![task, build::task(2)],
        new_subtasks: vec![subtask(0, wake(40)), subtask(1, wake(10)), subtask(2, None)],
        new_sessions: vec![session, build::session(8)],
        ..Changes::default()
    };
    write(store, &changes).await;

    let replica = store.join().await.unwrap();
    let tick = store.tick(replica, HOUR_MS, 100, false).await.unwrap();
    let due = [
        Due { at: Time(10), wake: Wake::Subtask(TaskNo(1), 1) },
        Due { at: Time(20), wake: Wake::Session(SessionNo(7)) },
        Due { at: Time(30), wake: Wake::Task(TaskNo(1)) },
        Due { at: Time(40), wake: Wake::Subtask(TaskNo(1), 0) },
    ];
    assert_eq!(tick.due, due);
    assert_eq!(store.tick(replica, HOUR_MS, 2, false).await.unwrap().due, due[..2]);
    assert_eq!(store.tick(replica, HOUR_MS, 0, false).await.unwrap().due, []);
    let mut now = store.writer().await.unwrap();
    let loaded = now.load(&Default::default()).await.unwrap();
    assert!(loaded.now >= tick.now && tick.now > Time(1_600_000_000_000), "{:?} {:?}", loaded.now, tick.now);
}

pub(crate) async fn the_next_time_is_told_with_what_is_due(store: &dyn Store) {
    let far = |ms: i64| Some(Time(i64::MAX / 2 - ms));
    let task = |no, at| Task { wake_at: at, ..build::task(no) };
    let mut session = build::session(7);
    session.wake_at = far(3);
    let waiting = subtask_row(1, 0, Subtask { wake_at: far(2), ..build::subtask() });
    let changes = Changes {
        new_tasks: vec![task(1, far(1)), task(2, Some(Time(10)))],
        new_subtasks: vec![waiting],
        ..Changes::default()
    };
    write(store, &changes).await;
    let replica = store.join().await.unwrap();
    let tick = store.tick(replica, HOUR_MS, 100, false).await.unwrap();
    assert_eq!((tick.due.len(), tick.next_due), (1, far(2)));
    write(store, &Changes { new_sessions: vec![session], ..Changes::default() }).await;
    assert_eq!(store.tick(replica, HOUR_MS, 0, false).await.unwrap().next_due, far(3));
}

pub(crate) async fn a_silent_replica_is_dead(store: &dyn Store) {
    let (silent, awake) = (store.join().await.unwrap(), store.join().await.unwrap());
    assert_ne!(silent, awake);
    assert_eq!(store.tick(awake, HOUR_MS, 1, false).await.unwrap().replicas, [silent, awake]);
    // Time passes: without any grace the other one is dead as soon as a millisecond is over.
    let mut looks = 0;
    while store.tick(awake, 0, 1, false).await.unwrap().replicas != [awake] {
        looks += 1;
        assert!(looks < 10_000, "{silent} stays alive");
    }
    assert_eq!(store.tick(awake, HOUR_MS, 1, false).await.unwrap().replicas, [awake]);
    // It was only slow: its next look brings it back under its number.
    assert_eq!(store.tick(silent, HOUR_MS, 1, false).await.unwrap().replicas, [silent, awake]);
    assert_eq!(store.tick(awake, HOUR_MS, 1, false).await.unwrap().replicas, [silent, awake]);
}

pub(crate) async fn a_replica_that_leaves_is_gone(store: &dyn Store) {
    let (one, two) = (store.join().await.unwrap(), store.join().await.unwrap());
    store.leave(one).await.unwrap();
    store.leave(one).await.unwrap();
    store.leave(ReplicaNo(999)).await.unwrap();
    assert_eq!(store.tick(two, HOUR_MS, 1, false).await.unwrap().replicas, [two]);
    assert!(store.join().await.unwrap() > two);
}

pub(crate) async fn the_mark_changes_with_every_session(store: &dyn Store) {
    let replica = store.join().await.unwrap();
    let mut marks = vec![store.tick(replica, HOUR_MS, 1, false).await.unwrap().sessions_mark];
    let steps = [
        Changes { new_sessions: vec![build::session(1), build::session(2)], ..Changes::default() },
        Changes { sessions: vec![build::session(1)], ..Changes::default() },
        Changes { sessions: vec![build::session(1)], ..Changes::default() },
        Changes { dead_sessions: vec![SessionNo(2)], ..Changes::default() },
        Changes {
            dead_sessions: vec![SessionNo(1)],
            new_sessions: vec![build::session(3)],
            ..Changes::default()
        },
        Changes { dead_sessions: vec![SessionNo(3)], new_tasks: vec![build::task(1)], ..Changes::default() },
    ];
    for changes in &steps {
        write(store, changes).await;
        let mark = store.tick(replica, HOUR_MS, 1, false).await.unwrap().sessions_mark;
        assert_ne!(Some(&mark), marks.last(), "after {changes:?}");
        assert_eq!(store.tick(replica, HOUR_MS, 1, false).await.unwrap().sessions_mark, mark);
        marks.push(mark);
    }
    assert_eq!(marks.first(), marks.last(), "nobody at the start, nobody at the end");
}

pub(crate) async fn routes_with_somebody_in_line_are_named(store: &dyn Store) {
    let specs: Vec<RouteSpec> = (0..5).map(|n| RouteSpec::new(&format!("agent-{n}"), &[])).collect();
    let routes = store.intern_routes(TENANT, &specs).await.unwrap();
    let on = |index: u32, route: RouteNo| in_line(route.0, Priority::Normal, i64::from(index));
    let idle = Subtask { queued: None, ..on(2, routes[2]) };
    let subtasks = vec![
        subtask_row(1, 0, on(0, routes[3])),
        subtask_row(1, 1, on(1, routes[1])),
        subtask_row(1, 2, idle),
        subtask_row(1, 3, on(3, routes[1])),
    ];
    write(store, &Changes { new_subtasks: subtasks, ..Changes::default() }).await;
    let replica = store.join().await.unwrap();
    assert_eq!(
        store.tick(replica, HOUR_MS, 1, true).await.unwrap().in_line,
        Some(vec![routes[1], routes[3]])
    );
    assert_eq!(store.tick(replica, HOUR_MS, 1, false).await.unwrap().in_line, None);
}

pub(crate) async fn upkeep_may_be_repeated(store: &dyn Store) {
    store.maintain().await.unwrap();
    store.maintain().await.unwrap();
    store.ping().await.unwrap();
    store.notify("a hint").await.unwrap();
}
