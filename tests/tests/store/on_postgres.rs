//! What only Postgres is asked: locks between writers, lost connections, migrations by many.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use downbeat_core::{
    id::{SessionNo, TaskNo},
    note::NoteKey,
    reads::Reads,
    rows::Changes,
    task::{Task, TaskStatus},
    time::Time,
};
use downbeat_store::{
    PostgresStore, Store, StoreError, Writer,
    migrate::{self, Applied, Migration},
};
use downbeat_tests::{harness::Database, postgres::Postgres};
use futures::FutureExt;
use tokio_postgres::NoTls;

use crate::{
    build::{self, one_of_each, rows, same, subtask_row, whole, write, write_with},
    new_database, open_postgres,
};

/// A plain connection, to look and to meddle.
pub(crate) async fn sql(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Waits until as many backends of this database wait for a lock.
pub(crate) async fn until_waiting(client: &tokio_postgres::Client, backends: i64) {
    let query = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.query_one(query, &[]).await.unwrap().get::<_, i64>(0) < backends {
        assert!(Instant::now() < deadline, "nobody waits for a lock");
    }
}

async fn writers(store: &PostgresStore) -> (Box<dyn Writer>, Box<dyn Writer>) {
    (store.writer().await.unwrap(), store.writer().await.unwrap())
}

fn two_tasks() -> Changes {
    Changes {
        new_tasks: vec![build::task(1), build::task(2)],
        new_subtasks: [(1, 0), (2, 0)].map(|(task, index)| subtask_row(task, index, build::subtask())).into(),
        ..Changes::default()
    }
}

#[tokio::test]
async fn hints_skip_tasks_that_are_locked() {
    let store = open_postgres().await;
    let changes = two_tasks();
    write(&store, &changes).await;
    let (mut one, mut two) = writers(&store).await;
    one.load(&whole(1)).await.unwrap();
    let hints = Reads { hints: [(TaskNo(1), 0), (TaskNo(2), 0)].into(), ..Reads::default() };
    let loaded = two.load(&hints).await.unwrap();
    same(&loaded.rows, &rows(&changes.new_tasks[1..], &changes.new_subtasks[1..], &[]));
    two.rollback().await;
    one.rollback().await;
    let loaded = two.load(&hints).await.unwrap();
    same(&loaded.rows, &rows(&changes.new_tasks, &changes.new_subtasks, &[]));
    two.rollback().await;
}

#[tokio::test]
async fn who_waits_for_a_lock_sees_what_was_written_and_draws_a_later_stamp() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let meddler = sql(&url).await;
    write(&store, &two_tasks()).await;
    let (mut one, mut two) = writers(&store).await;
    let first = one.load(&whole(1)).await.unwrap();

    // By number, by id, and with a task that the other one has not locked.
    let mut reads = whole(1);
    reads.ids.insert((build::TENANT, "task-1".into()));
    reads.hints.insert((TaskNo(2), 0));
    let mut waiting = two.load(&reads);
    assert!((&mut waiting).now_or_never().is_none());
    until_waiting(&meddler, 1).await;
    let between = meddler.query_one("select nextval('stamps')", &[]).await.unwrap().get::<_, i64>(0);
    assert!(between > first.stamp);
    let mut task = build::task(1);
    task.events = 77;
    let mut row = build::subtask();
    row.attempts = 78;
    let changes = Changes {
        tasks: vec![task.clone()],
        subtasks: vec![subtask_row(1, 0, row)],
        new_subtasks: vec![subtask_row(1, 1, build::subtask())],
        ..Changes::default()
    };
    one.commit(&changes).await.unwrap();

    let second = waiting.await.unwrap();
    assert!(second.stamp > between, "{} drawn before the lock was there, {between}", second.stamp);
    let subtasks =
        [changes.subtasks[0].clone(), changes.new_subtasks[0].clone(), subtask_row(2, 0, build::subtask())];
    same(&second.rows, &rows(&[task, build::task(2)], &subtasks, &[]));
}

#[tokio::test]
async fn notes_are_read_under_the_lock_of_their_task() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let meddler = sql(&url).await;
    write(&store, &two_tasks()).await;
    let (mut one, mut two) = writers(&store).await;
    let reads = build::notes(&[(1, NoteKey::Signals)]);
    one.load(&reads).await.unwrap();
    let mut waiting = two.load(&reads);
    assert!((&mut waiting).now_or_never().is_none());
    until_waiting(&meddler, 1).await;
    let note = build::note(1, NoteKey::Signals, "{}");
    let noted = |note| Changes { tasks: vec![build::task(1)], notes: vec![note], ..Changes::default() };
    one.commit(&noted(note.clone())).await.unwrap();

    let mut expected = rows(&[build::task(1)], &[], &[]);
    expected.load_note(note.task, note.key, Some(note.body));
    same(&waiting.await.unwrap().rows, &expected);
    // The other task is free, and so is a look at what is committed.
    one.load(&build::notes(&[(2, NoteKey::Signals)])).await.unwrap();
    two.commit(&noted(build::note(1, NoteKey::Gate(0), "{}"))).await.unwrap();
    assert_eq!(store.notes(TaskNo(1)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_plan_with_a_gap_is_not_read() {
    let store = open_postgres().await;
    let growth = vec![build::growth(100, 3, 1)];
    write(&store, &Changes { growth, ..one_of_each() }).await;
    let found = store.plans(&[TaskNo(100)]).await;
    assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
}

#[tokio::test]
async fn seats_are_shared_and_sessions_are_not() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let meddler = sql(&url).await;
    let sessions = vec![build::session(6), build::session(7)];
    write(&store, &Changes { new_sessions: sessions, ..Changes::default() }).await;
    let (mut one, mut two) = writers(&store).await;
    let seats = Reads { seats: [SessionNo(6), SessionNo(7)].into(), ..Reads::default() };
    one.load(&seats).await.unwrap();
    two.load(&seats).await.unwrap();
    two.rollback().await;

    let change = Reads { sessions: [SessionNo(7)].into(), ..Reads::default() };
    let mut waiting = two.load(&change);
    assert!((&mut waiting).now_or_never().is_none());
    until_waiting(&meddler, 1).await;
    let mut gone = build::session(6);
    gone.wake_at = None;
    one.commit(&Changes { sessions: vec![gone], ..Changes::default() }).await.unwrap();
    waiting.await.unwrap();
    two.rollback().await;
}

#[tokio::test]
async fn the_mark_sees_a_batch_that_was_overtaken() {
    let store = open_postgres().await;
    let sessions = vec![build::session(6), build::session(7)];
    write(&store, &Changes { new_sessions: sessions, ..Changes::default() }).await;
    let replica = store.join().await.unwrap();
    let (mut early, mut late) = writers(&store).await;
    let change = |no| Reads { sessions: [SessionNo(no)].into(), ..Reads::default() };
    let changed = |no| Changes { sessions: vec![build::session(no)], ..Changes::default() };
    let first = early.load(&change(6)).await.unwrap();
    let second = late.load(&change(7)).await.unwrap();
    assert!(first.stamp < second.stamp);
    late.commit(&changed(7)).await.unwrap();
    let between = store.tick(replica, 1_000, 1, false).await.unwrap().sessions_mark;
    early.commit(&changed(6)).await.unwrap();
    assert_ne!(store.tick(replica, 1_000, 1, false).await.unwrap().sessions_mark, between);
}

#[tokio::test]
async fn a_lost_connection_is_replaced() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let meddler = sql(&url).await;
    write(&store, &one_of_each()).await;
    let mut writer = store.writer().await.unwrap();
    let loaded = writer.load(&whole(100)).await.unwrap();
    assert!(store.task(TaskNo(100)).await.unwrap().is_some());
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
    assert!(meddler.query_one(kill, &[]).await.unwrap().get::<_, i64>(0) >= 2);

    let mut task = build::task(100);
    task.events = 99;
    let changes = Changes { tasks: vec![task.clone()], ..Changes::default() };
    let lost = writer.commit(&changes).await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    let again = writer.load(&whole(100)).await.unwrap();
    same(&again.rows, &loaded.rows);
    writer.commit(&changes).await.unwrap();

    // The pool notices too, at the latest when a dead connection was tried.
    let mut looks = 0;
    while store.task(TaskNo(100)).await.is_err() {
        looks += 1;
        assert!(looks < 10, "reads do not come back");
    }
    assert_eq!(store.task(TaskNo(100)).await.unwrap().expect("the task").task, task);
}

#[tokio::test]
async fn what_was_committed_survives_a_kill() {
    let mut server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let url = server.create_database();
    PostgresStore::migrate(&url).await.unwrap();
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    let stamp = writer.load(&Reads::default()).await.unwrap().stamp;
    writer.commit(&one_of_each()).await.unwrap();
    writer.load(&whole(100)).await.unwrap();
    server.kill();

    let lost = writer.commit(&Changes { tasks: vec![build::task(100)], ..Changes::default() }).await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    let away = writer.load(&whole(100)).await;
    assert!(matches!(away, Err(StoreError::Unavailable { commit_unknown: false, .. })), "{away:?}");
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .unwrap();
    let loaded = writer.load(&whole(100)).await.unwrap();
    assert!(loaded.stamp > stamp, "{} after {stamp}", loaded.stamp);
    let changes = one_of_each();
    same(&loaded.rows, &rows(&changes.new_tasks, &changes.new_subtasks, &[]));
    writer.rollback().await;
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[tokio::test]
async fn a_poison_value_is_refused_alone() {
    let store = open_postgres().await;
    let mut writer = store.writer().await.unwrap();
    let mut poison = build::plan(1);
    poison.request.title = "a\u{0}b".into();
    let changes = Changes { new_tasks: vec![build::task(1)], new_plans: vec![poison], ..Changes::default() };
    writer.load(&Reads::default()).await.unwrap();
    let refused = writer.commit(&changes).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");

    // A number that the column is too narrow for, and an id that cannot be looked for.
    let mut wide = build::task(1);
    wide.total = u32::MAX;
    writer.load(&Reads::default()).await.unwrap();
    let refused = writer.commit(&Changes { new_tasks: vec![wide], ..Changes::default() }).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let strange = Reads { ids: [(build::TENANT, "a\u{0}b".into())].into(), ..Reads::default() };
    let refused = writer.load(&strange).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");

    write_with(writer.as_mut(), &Changes { new_plans: Vec::new(), ..changes }).await;
    assert!(store.task(TaskNo(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn deadlocks_are_conflicts() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    let mut meddler = sql(&url).await;
    let onlooker = sql(&url).await;
    write(&store, &two_tasks()).await;
    // Somebody who takes the locks in another order.
    let other = meddler.transaction().await.unwrap();
    other.execute("select from tasks where no = 2 for update", &[]).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    let reads = Reads { tasks: [TaskNo(1), TaskNo(2)].into(), ..Reads::default() };
    let mut waiting = writer.load(&reads);
    assert!((&mut waiting).now_or_never().is_none());
    until_waiting(&onlooker, 1).await;
    let (theirs, ours) =
        futures::join!(other.execute("select from tasks where no = 1 for update", &[]), waiting);
    match ours {
        Err(StoreError::Conflict(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => assert_eq!(
            theirs.unwrap_err().code(),
            Some(&tokio_postgres::error::SqlState::T_R_DEADLOCK_DETECTED)
        ),
    }
    other.rollback().await.unwrap();
    writer.load(&reads).await.unwrap();
}

#[tokio::test]
async fn hints_are_heard() {
    let store = open_postgres().await;
    let mut hints = store.listen().await.unwrap().expect("Postgres has others");
    store.notify("look").await.unwrap();
    assert_eq!(hints.recv().await.as_deref(), Some("look"));
    drop(hints);
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    let mut hints = store.listen().await.unwrap().expect("Postgres has others");
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
    sql(&url).await.query(kill, &[]).await.unwrap();
    assert_eq!(hints.recv().await, None);
}

/// Both ends keep their connections open, and hear nothing of each other any more.
#[tokio::test]
async fn a_link_that_forgets_its_connections_is_noticed() {
    const READERS: usize = 3;
    let (database, wire) = Database::behind_wire(&new_database().await).await;
    let Database::Postgres(url) = database else { unreachable!("asked for Postgres") };
    let store = PostgresStore::connect(&url, READERS).await.unwrap();
    let reads = || futures::future::join_all((0..READERS).map(|_| store.ping()));
    assert!(reads().await.iter().all(Result::is_ok));
    let mut hints = store.listen().await.unwrap().expect("Postgres has others");
    wire.forget();
    let lost = store.ping().await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    assert!(reads().await.iter().all(Result::is_ok), "those beside it are not tried any more");
    assert_eq!(hints.recv().await, None);
}

#[tokio::test]
async fn history_goes_to_the_day_it_happened_on() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    let meddler = sql(&url).await;
    store.maintain().await.unwrap();
    let partitions = "select count(*) from pg_inherits where inhparent = 'history'::regclass";
    assert_eq!(meddler.query_one(partitions, &[]).await.unwrap().get::<_, i64>(0), 5);

    let mut writer = store.writer().await.unwrap();
    let now = writer.load(&Reads::default()).await.unwrap().now;
    let mut task = build::task(1);
    task.created_at = now;
    let mut today = build::history(1, 1, 2);
    today.events.iter_mut().for_each(|event| event.at = now);
    let changes = Changes { new_tasks: vec![task.clone()], history: vec![today], ..Changes::default() };
    writer.commit(&changes).await.unwrap();
    let misplaced = "select count(*) from history_default";
    assert_eq!(meddler.query_one(misplaced, &[]).await.unwrap().get::<_, i64>(0), 0);

    // The clock is set back by a month: what happens now is still found.
    let mut later = build::history(1, 3, 4);
    later.events.iter_mut().for_each(|event| event.at = Time(now.0 - 30 * 86_400_000));
    let changes = Changes { tasks: vec![task], history: vec![later], ..Changes::default() };
    write_with(writer.as_mut(), &changes).await;
    assert_eq!(store.events(TaskNo(1), 0, 10).await.unwrap().len(), 4);
}

/// Also when the statistics say that every task has the status: what is asked for is what few tasks have.
#[tokio::test]
async fn a_status_that_no_task_has_is_not_looked_for_in_all_of_them() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    let changes = Changes { new_tasks: (1..=5_000).map(build::task).collect(), ..Changes::default() };
    write(&store, &changes).await;
    let finished = |no| Task { status: TaskStatus::Completed, ..build::task(no) };
    write(&store, &Changes { tasks: (1..=5_000).map(finished).collect(), ..Changes::default() }).await;
    let meddler = sql(&url).await;
    meddler.batch_execute("vacuum analyze").await.unwrap();

    let list = include_str!("../../../control-plane/store/src/postgres/sql/list_tasks.sql");
    let prepare = format!(
        "set plan_cache_mode = force_generic_plan;
         prepare list (int, smallint[], bigint, text, bigint) as {list}"
    );
    meddler.batch_execute(&prepare).await.unwrap();
    let plan = meddler.query("explain execute list (1, '{2}', 100, 'task-', 10)", &[]).await.unwrap();
    let plan: Vec<&str> = plan.iter().map(|line| line.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("tasks_listed") && !plan.contains("tasks_pkey"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_migrate_at_once() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().create_database()).await.unwrap();
    let unmigrated = PostgresStore::connect(&url, 1).await.expect_err("nothing is there");
    assert!(unmigrated.to_string().contains("run `downbeat migrate`"), "{unmigrated}");
    let migrations = futures::future::join_all((0..4).map(|_| PostgresStore::migrate(&url))).await;
    migrations.into_iter().for_each(|done| done.unwrap());
    PostgresStore::migrate(&url).await.unwrap();
    PostgresStore::connect(&url, 1).await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let url = new_database().await;
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    let meddler = sql(&url).await;
    let newer = "insert into schema_migrations values (99, '0099_later', '')";
    meddler.execute(newer, &[]).await.unwrap();
    for refused in [store.check().await, PostgresStore::migrate(&url).await] {
        let refused = refused.expect_err("a newer schema").to_string();
        assert!(refused.starts_with("the database has schema 99, this downbeat knows up to"), "{refused}");
    }
    let other = "delete from schema_migrations where number = 99; update schema_migrations set digest = 'x'";
    meddler.batch_execute(other).await.unwrap();
    let refused = store.check().await.expect_err("another build").to_string();
    assert!(refused.contains("belongs to another build"), "{refused}");
}

#[test]
fn steps_are_applied_in_their_order() {
    let known = [
        Migration { number: 1, name: "0001_a", sql: "a" },
        Migration { number: 2, name: "0002_b", sql: "b" },
    ];
    let row = |number, step: Migration| Applied { number, name: step.name.into(), digest: step.digest() };
    let numbers = |applied: &[Applied]| {
        migrate::missing(&known, applied)
            .map(|steps| steps.iter().map(|step| step.number).collect::<Vec<_>>())
    };
    assert_eq!(numbers(&[]).unwrap(), [1, 2]);
    assert_eq!(numbers(&[row(1, known[0])]).unwrap(), [2]);
    assert_eq!(numbers(&[row(1, known[0]), row(2, known[1])]).unwrap(), [] as [i32; 0]);
    for wrong in [vec![row(2, known[1])], vec![row(1, known[1])], vec![row(1, known[0]), row(3, known[1])]] {
        assert!(matches!(numbers(&wrong), Err(StoreError::Schema(_))), "{wrong:?}");
    }
    for dialect in [migrate::POSTGRES, migrate::SQLITE] {
        assert!(dialect.iter().zip(1..).all(|(step, number)| step.number == number));
    }
    let names =
        |dialect: &[Migration]| dialect.iter().map(|step| (step.number, step.name)).collect::<Vec<_>>();
    assert_eq!(names(migrate::POSTGRES), names(migrate::SQLITE));
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let tls = PostgresStore::connect("postgres://localhost/x?sslmode=require", 1).await;
    assert!(matches!(tls, Err(StoreError::Config(_))), "{tls:?}");
    let nonsense = PostgresStore::connect("postgres://localhost:x", 1).await;
    assert!(matches!(nonsense, Err(StoreError::Config(_))), "{nonsense:?}");
    let nobody = PostgresStore::connect("postgres://127.0.0.1:1/x", 1).await;
    assert!(matches!(nobody, Err(StoreError::Unavailable { .. })), "{nobody:?}");
    let server = Postgres::shared();
    let missing = PostgresStore::connect(&server.url("no_such_database"), 1).await;
    assert!(matches!(missing, Err(StoreError::Config(_))), "{missing:?}");
}

#[tokio::test]
async fn the_schema_is_the_one_checked_in() {
    let url = new_database().await;
    let dump = tokio::task::spawn_blocking(move || Postgres::shared().dump_schema(&url)).await.unwrap();
    compare("postgres", &dump);
}

/// Compares a schema with the dump that is checked in; writes it there first where `BLESS` is set.
pub(crate) fn compare(dialect: &str, schema: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(dialect).join("schema.sql");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, schema).expect("the dump is written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        schema == checked_in,
        "{} is not the schema that the migrations make; BLESS=1 writes it anew:\n{schema}",
        path.display()
    );
}
