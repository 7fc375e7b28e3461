//! Schedules: rows written only by who has seen their newest version.

use std::collections::VecDeque;

use bytes::Bytes;
use downbeat_core::{
    id::ScheduleNo,
    schedule::{
        Cause, Counts, Fired, Firing, Order, Overlap, Paused, Schedule, Spec, State, Timing, Waiting,
    },
    time::Time,
};
use downbeat_store::{ScheduleRecord, Store, StoreError};

use crate::build::TENANT;

const HOUR_MS: u64 = 3_600_000;

/// A schedule with everything that one may have.
fn schedule(name: &str) -> ScheduleRecord {
    let timing = Timing::Cron { expression: "0 2 * * *".into(), time_zone: "Europe/Berlin".into() };
    let firing = Firing {
        due: Time(11),
        at: Time(12),
        by: Cause::Backfill,
        outcome: Fired::Started,
        task: "nightly-11".into(),
        reason: "because 🎼".into(),
        count: 1,
    };
    let order = Order { due: Time(5), cancels: Some("old".into()), by: Cause::Trigger, name: "now".into() };
    let state = State {
        created_at: Time(1),
        changed_at: Time(2),
        decided: Time(3),
        next_due: Some(Time(4)),
        paused: Some(Paused { at: Time(6), by: "ann".into(), reason: "line one\nline \"two\"".into() }),
        order: Some(order),
        waiting: Some(Waiting { due: Time(7), since: Time(8) }),
        last_task: Some("nightly-9".into()),
        counts: Counts { started: 1, skipped: 2, missed: 3, refused: 4 },
        firings: VecDeque::from([firing]),
    };
    ScheduleRecord {
        schedule: Schedule {
            no: ScheduleNo(0),
            tenant: TENANT,
            name: name.into(),
            version: 1,
            wake_at: Some(Time(9_700_000_000_000)),
            spec: Spec { timing, overlap: Overlap::CancelRunning, catch_up_seconds: 90 },
            state,
        },
        starts: Bytes::from_static(b"{\"task\": {\"title\":\"T\"}}"),
    }
}

async fn create(store: &dyn Store, name: &str) -> ScheduleRecord {
    let mut new = schedule(name);
    new.schedule.no = store.create_schedule(&new).await.unwrap();
    new
}

pub(crate) async fn a_schedule_comes_back_as_it_was_written(store: &dyn Store) {
    let mut it = create(store, "nightly").await;
    assert_eq!(store.schedule(TENANT, "nightly").await.unwrap(), Some(it.clone()));
    assert_eq!(store.schedule_numbered(it.schedule.no).await.unwrap(), Some(it.clone()));
    assert_eq!(store.schedule(TENANT, "Nightly").await.unwrap(), None);
    assert_eq!(store.schedule_numbered(ScheduleNo(9_999)).await.unwrap(), None);
    it.schedule.wake_at = None;
    it.schedule.spec.timing = Timing::Once { at: Time(77) };
    it.schedule.state = State { order: None, waiting: None, paused: None, ..it.schedule.state };
    store.change_schedule(&it.schedule, None).await.unwrap();
    it.schedule.version = 2;
    assert_eq!(store.schedule(TENANT, "nightly").await.unwrap(), Some(it.clone()));
    let other = Bytes::from_static(b"{}");
    store.change_schedule(&it.schedule, Some(&other)).await.unwrap();
    let it = ScheduleRecord { schedule: Schedule { version: 3, ..it.schedule }, starts: other };
    assert_eq!(store.schedule(TENANT, "nightly").await.unwrap(), Some(it));
}

pub(crate) async fn a_schedule_is_written_by_who_has_seen_it(store: &dyn Store) {
    let it = create(store, "nightly").await.schedule;
    let first = Schedule { wake_at: Some(Time(1)), ..it.clone() };
    store.change_schedule(&first, None).await.unwrap();
    let late = store.change_schedule(&Schedule { wake_at: Some(Time(2)), ..it.clone() }, None).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    let early = store.change_schedule(&Schedule { version: 3, ..it.clone() }, None).await;
    assert!(matches!(early, Err(StoreError::Conflict(_))), "{early:?}");
    let found = store.schedule(TENANT, "nightly").await.unwrap().unwrap().schedule;
    assert_eq!(found, Schedule { version: 2, ..first });
    store.delete_schedule(it.no).await.unwrap();
    let gone = store.change_schedule(&found, None).await;
    assert!(matches!(gone, Err(StoreError::Conflict(_))), "{gone:?}");
}

pub(crate) async fn a_name_is_taken_once_and_a_number_never_again(store: &dyn Store) {
    let first = create(store, "nightly").await.schedule.no;
    let again = store.create_schedule(&schedule("nightly")).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    store.delete_schedule(first).await.unwrap();
    store.delete_schedule(first).await.unwrap();
    assert_eq!(store.schedule(TENANT, "nightly").await.unwrap(), None);
    assert!(create(store, "nightly").await.schedule.no > first);
}

pub(crate) async fn schedules_are_listed_by_name(store: &dyn Store) {
    for name in ["b", "a", "B", "c-1"] {
        create(store, name).await;
    }
    let names = async |after: &str, limit| {
        let found = store.schedules(TENANT, after, limit).await.unwrap();
        found.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(names("", 10).await, ["B", "a", "b", "c-1"]);
    assert_eq!(names("", 2).await, ["B", "a"]);
    assert_eq!(names("a", 10).await, ["b", "c-1"]);
    assert_eq!(names("z", 10).await, [""; 0]);
}

pub(crate) async fn a_look_sees_schedules_that_are_due_soon(store: &dyn Store) {
    let replica = store.join().await.unwrap();
    let now = store.tick(replica, HOUR_MS, 1, false).await.unwrap().now;
    let mut numbers = Vec::new();
    for (name, wake_at) in [
        ("soon", Some(now.plus_ms(3_000))),
        ("late", Some(Time(now.0 - 5_000))),
        ("later", Some(now.plus_ms(600_000))),
        ("never", None),
    ] {
        let mut new = schedule(name);
        new.schedule.wake_at = wake_at;
        numbers.push((wake_at, store.create_schedule(&new).await.unwrap()));
    }
    let seen = |nth: usize| (numbers[nth].0.unwrap(), numbers[nth].1);
    let tick = store.tick(replica, HOUR_MS, 10, false).await.unwrap();
    assert_eq!(tick.schedules, [seen(1), seen(0)]);
    assert_eq!(tick.due, [], "what is due otherwise stands beside");
    assert_eq!(store.tick(replica, HOUR_MS, 1, false).await.unwrap().schedules, [seen(1)]);
}
