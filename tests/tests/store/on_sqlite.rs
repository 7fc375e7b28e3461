//! What only SQLite is asked.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use downbeat_core::{
    id::{RouteNo, SessionNo, TaskNo},
    reads::Reads,
    rows::{Changes, Output},
    time::Time,
};
use downbeat_store::{ListTasks, SqliteStore, Store, StoreError};

use crate::{
    Place,
    build::{self, TENANT, one_of_each, whole, write, write_with},
    open_memory, open_sqlite,
};

/// The result of a future that must be done when it is polled first.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for something"),
    }
}

#[test]
fn in_memory_everything_is_done_at_once() {
    let store = open_memory();
    let mut writer = at_once(store.writer()).unwrap();
    at_once(writer.load(&Reads::default())).unwrap();
    at_once(writer.commit(&one_of_each())).unwrap();
    at_once(writer.load(&whole(100))).unwrap();
    at_once(writer.rollback());
    let replica = at_once(store.join()).unwrap();
    at_once(store.tick(replica, 1, 1, false)).unwrap();
    at_once(store.leave(replica)).unwrap();
    at_once(store.intern_routes(TENANT, &[])).unwrap();
    at_once(store.routes_after(RouteNo(0))).unwrap();
    at_once(store.find_task(TENANT, "task-100")).unwrap();
    at_once(store.plans(&[TaskNo(100)])).unwrap();
    at_once(store.task(TaskNo(100))).unwrap();
    let list =
        ListTasks { tenant: TENANT, statuses: Vec::new(), id_prefix: String::new(), before: None, limit: 1 };
    at_once(store.list_tasks(&list)).unwrap();
    at_once(store.outputs(&[(TaskNo(100), 0)])).unwrap();
    at_once(store.outputs_of(TaskNo(100))).unwrap();
    at_once(store.notes(TaskNo(100))).unwrap();
    at_once(store.events(TaskNo(100), 0, 1)).unwrap();
    at_once(store.ready(RouteNo(70), [0; 4], 1)).unwrap();
    at_once(store.stuck(RouteNo(70), true, Time(0), 1)).unwrap();
    at_once(store.sessions()).unwrap();
    at_once(store.leases(&[SessionNo(7)])).unwrap();
    at_once(store.lease_counts(TENANT)).unwrap();
    at_once(store.agents(TENANT)).unwrap();
    at_once(store.maintain()).unwrap();
    at_once(store.ping()).unwrap();
    at_once(store.notify("hint")).unwrap();
    assert!(at_once(store.listen()).unwrap().is_none());
}

#[test]
fn another_batch_in_between_is_a_conflict() {
    let store = open_memory();
    let (mut one, mut two) = (at_once(store.writer()).unwrap(), at_once(store.writer()).unwrap());
    at_once(one.load(&whole(100))).unwrap();
    at_once(two.load(&whole(100))).unwrap();
    // A small write of its own is no batch.
    at_once(store.join()).unwrap();
    at_once(one.commit(&one_of_each())).unwrap();
    let refused = at_once(two.commit(&Changes { tasks: vec![build::task(100)], ..Changes::default() }));
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    at_once(two.load(&whole(100))).unwrap();
    at_once(two.commit(&Changes { tasks: vec![build::task(100)], ..Changes::default() })).unwrap();
}

#[tokio::test]
async fn a_full_disk_leaves_the_writer_usable() {
    let place = Place::new();
    let store = open_sqlite(&place.file());
    let mut writer = store.writer().await.unwrap();
    store.limit_pages(100).unwrap();
    let large = Output { body: Bytes::from(vec![b'1'; 1024 * 1024]), ..build::output(1, 0) };
    let too_much = Changes {
        new_tasks: vec![build::task(1)],
        outputs: vec![large],
        history: vec![build::history(1, 1, 1)],
        ..Changes::default()
    };
    writer.load(&Reads::default()).await.unwrap();
    let refused = writer.commit(&too_much).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert!(store.task(TaskNo(1)).await.unwrap().is_none());

    let little = Changes { new_tasks: vec![build::task(1)], ..Changes::default() };
    write_with(writer.as_mut(), &little).await;
    store.limit_pages(1_000_000).unwrap();
    write_with(writer.as_mut(), &Changes { new_tasks: Vec::new(), ..too_much }).await;
    assert_eq!(store.outputs_of(TaskNo(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn after_leaving_everything_is_in_one_file() {
    let place = Place::new();
    let store = open_sqlite(&place.file());
    let replica = store.join().await.unwrap();
    write(&store, &one_of_each()).await;
    let log = place.file().with_extension("db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    store.leave(replica).await.unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
}

#[tokio::test]
async fn a_file_keeps_rows_and_stamps() {
    let place = Place::new();
    let store = open_sqlite(&place.file());
    let mut writer = store.writer().await.unwrap();
    let stamp = writer.load(&Reads::default()).await.unwrap().stamp;
    writer.commit(&one_of_each()).await.unwrap();
    let replica = store.join().await.unwrap();
    drop((writer, store));

    let store = open_sqlite(&place.file());
    assert_eq!(store.task(TaskNo(100)).await.unwrap().expect("the task").task, build::task(100));
    let loaded = store.writer().await.unwrap().load(&Reads::default()).await.unwrap();
    assert!(loaded.stamp > stamp, "{} after {stamp}", loaded.stamp);
    assert!(store.join().await.unwrap() > replica);
}

#[tokio::test]
async fn a_file_is_open_in_one_process_only() {
    let place = Place::new();
    let store = open_sqlite(&place.file());
    let refused = SqliteStore::open(place.file()).expect_err("somebody has it");
    assert!(refused.to_string().contains("is open in another process"), "{refused}");
    drop(store);
    SqliteStore::open(place.file()).unwrap();
}

#[tokio::test]
async fn a_writer_outlives_the_store() {
    let place = Place::new();
    let store = open_sqlite(&place.file());
    let mut writer = store.writer().await.unwrap();
    drop(store);
    write_with(writer.as_mut(), &one_of_each()).await;
    SqliteStore::open(place.file()).expect_err("the writer has it");
}

#[test]
fn what_cannot_be_opened_is_said() {
    let place = Place::new();
    let nowhere = SqliteStore::open(place.0.join("no/such/place.db")).expect_err("no directory");
    assert!(matches!(nowhere, StoreError::Config(_)), "{nowhere}");
    std::fs::write(place.file(), "this is no database, and long enough to be looked at as one").unwrap();
    let garbage = SqliteStore::open(place.file()).expect_err("no database");
    assert!(matches!(garbage, StoreError::Corrupt(_)), "{garbage}");
}

#[test]
fn a_newer_schema_is_refused() {
    let place = Place::new();
    drop(open_sqlite(&place.file()));
    let meddler = rusqlite::Connection::open(place.file()).unwrap();
    meddler.execute("insert into schema_migrations values (99, '0099_later', '')", []).unwrap();
    let refused = SqliteStore::open(place.file()).expect_err("a newer schema").to_string();
    assert!(refused.starts_with("the database has schema 99, this downbeat knows up to"), "{refused}");
    meddler.execute_batch("delete from schema_migrations where number = 99").unwrap();
    SqliteStore::open(place.file()).unwrap();
}

#[test]
fn the_schema_is_the_one_checked_in() {
    crate::on_postgres::compare("sqlite", &open_memory().schema().unwrap());
}

#[tokio::test]
async fn reads_go_on_beside_a_commit() {
    let place = Place::new();
    let store = open_sqlite(&place.file());
    write(&store, &one_of_each()).await;
    let reads = (0..32).map(|_| store.task(TaskNo(100)));
    let changes = Changes { tasks: vec![build::task(100)], ..Changes::default() };
    let (found, ()) = futures::join!(futures::future::join_all(reads), write(&store, &changes));
    assert!(found.into_iter().all(|task| task.unwrap().is_some()));
}
