//! Databases of earlier versions, with rows in them, and replicas of the version before beside this one: what they
//! wrote is read, and what they write is taken. Their statements are written out here, as nothing else has them.

use downbeat_core::{
    id::{Index, TaskNo},
    note::NoteKey,
    rows::Changes,
    subtask::{Subtask, SubtaskState},
    task::Task,
};
use downbeat_store::{
    PostgresStore, SqliteStore, Store,
    migrate::{self, Migration},
};
use downbeat_tests::postgres::Postgres;

use crate::{
    Place,
    build::{self, load, note, rows, same, subtask_row, whole, write},
    clock,
    on_postgres::sql,
};

const REQUEST: &str = r#"{"description":"why","metadata":{"context":{"a":1}}}"#;
const NODES: &str = r#"[{"key":"one","id":"writer::task-1::1","agent":"writer","capabilities":["prose"],"route":70,"input":{"a" : 1},"attempts_max":3,"priority":"low"},{"key":"two","id":"two::task-1::1","route":71,"depends_on":[0],"sla_seconds":30,"attempts_max":3,"priority":"normal"}]"#;

/// A task as the first version knew it.
fn old_task(no: i64) -> Task {
    Task { asking: 0, total: 3, ..build::task(no) }
}

/// Subtasks as the first version knew them.
fn old_subtasks() -> Vec<Subtask> {
    let running = Subtask { failed: 0, skipped: 0, ..build::subtask() };
    let bare =
        Subtask { queued: None, lease: None, session: None, outcome: None, wake_at: None, ..running.clone() };
    // To the version before, what people went on without.
    let skipped = Subtask { state: SubtaskState::Skipped, ..bare.clone() };
    vec![running, skipped, bare]
}

/// What is found of them.
fn found_subtasks() -> Vec<Subtask> {
    let mut found = old_subtasks();
    found[1].waived = true;
    found
}

/// SQL for a value, or for none.
fn maybe(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "null".into(), |value| value.to_string())
}

/// A row of `tasks`, column by column as they were.
fn task_values(task: &Task, digest: &str) -> String {
    let times = [task.started_at, task.ended_at, task.deadline, task.stopped_at, task.due_at, task.wake_at];
    let times = times.map(|at| maybe(at.map(|at| at.0))).join(", ");
    let Task { no, tenant, id, total, unfinished, failed, in_review, events, created_at, reason, .. } = task;
    let (status, mode, priority) = (task.status as u8, task.course as u8, task.priority as u8);
    format!(
        "{}, {}, '{id}', {digest}, {status}, {mode}, {priority}, {total}, {unfinished}, {failed}, {in_review},
         {events}, {}, {times}, '{reason}'",
        no.0, tenant.0, created_at.0
    )
}

/// A row of `subtasks`, column by column as they were.
fn subtask_values(task: i64, index: Index, row: &Subtask, held: &str) -> String {
    let Subtask { pending, failures, attempts, losses, queued, .. } = row;
    let rest = [
        maybe(*queued),
        maybe(row.lease.map(|lease| lease.0)),
        maybe(row.session.map(|session| session.0)),
        maybe(row.outcome.map(|outcome| outcome as u8)),
        maybe(row.wake_at.map(|at| at.0)),
        row.since.0.to_string(),
    ];
    format!(
        "{task}, {index}, 1, {}, {}, {}, {pending}, {failures}, {attempts}, {losses}, {held}, {}",
        row.state as u8,
        row.route.0,
        row.priority as u8,
        rest.join(", ")
    )
}

/// What the first version wrote on Postgres for a new task.
fn write_on_postgres(no: i64) -> String {
    let digest = format!("decode(repeat('{no:02x}', 32), 'hex')");
    let subtasks: Vec<String> = (0..)
        .zip(&old_subtasks())
        .map(|(index, row)| format!("row({})::subtask_row", subtask_values(no, index, row, "true")))
        .collect();
    format!(
        "insert into tasks (
             no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, events,
             created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason, stamp
         )
         select c.*, nextval('stamps') from unnest(array[row({})::task_row]) as c;
         insert into plans (task_no, tenant, title, request, nodes)
         values ({no}, 1, 'Title', convert_to('{REQUEST}', 'UTF8'), convert_to('{NODES}', 'UTF8'));
         insert into subtasks (
             task_no, idx, tenant, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
             session_no, outcome, wake_at, since
         )
         select c.* from unnest(array[{}]) as c;",
        task_values(&old_task(no), &digest),
        subtasks.join(", ")
    )
}

/// What the first version wrote in SQLite for a new task.
fn write_in_sqlite(no: i64) -> String {
    let digest = format!("x'{}'", format!("{no:02x}").repeat(32));
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let subtasks: Vec<String> = (0..)
        .zip(&old_subtasks())
        .map(|(index, row)| format!("({})", subtask_values(no, index, row, "1")))
        .collect();
    format!(
        "insert into tasks (
             no, tenant, id, digest, status, mode, priority, total, unfinished, failed, in_review, events,
             created_at, started_at, ended_at, deadline, stopped_at, due_at, wake_at, reason
         )
         values ({});
         insert into plans (task_no, tenant, title, request, nodes)
         values ({no}, 1, 'Title', x'{}', x'{}');
         insert into subtasks (
             task_no, idx, tenant, state, route, priority, pending, failures, attempts, losses, held, queued, lease,
             session_no, outcome, wake_at, since
         )
         values {};",
        task_values(&old_task(no), &digest),
        hex(REQUEST),
        hex(NODES),
        subtasks.join(", ")
    )
}

/// The first step, and that it was taken.
fn first_step(known: &[Migration]) -> String {
    let Migration { number, name, sql } = known[0];
    format!(
        "create table schema_migrations (number int not null primary key, name text not null, digest text not null);
         insert into schema_migrations values ({number}, '{name}', '{}');
         {sql}",
        known[0].digest()
    )
}

/// What was written before is there, and grows.
async fn is_kept(store: &dyn Store, task: i64, subtasks: &[Subtask]) {
    let all: Vec<_> = (0..).zip(subtasks).map(|(index, row)| subtask_row(task, index, row.clone())).collect();
    same(&load(store, &whole(task)).await, &rows(&[old_task(task)], &all, &[]));
    let plans = store.plans(&[TaskNo(task)]).await.unwrap();
    assert_eq!(plans[0].request.description, "why");
    assert_eq!(plans[0].plan.context(), b"{\"a\":1}");
    assert_eq!(plans[0].plan.dependents(0), [1]);
    assert_eq!(plans[0].plan.nodes()[0].input.as_ref().unwrap().get(), "{\"a\" : 1}");
    assert_eq!(store.notes(TaskNo(task)).await.unwrap(), []);

    let mut changed = subtasks.to_vec();
    (changed[0].failed, changed[0].skipped, changed[0].waived) = (1, 2, true);
    let new = subtask_row(task, 3, build::subtask());
    let changes = Changes {
        tasks: vec![Task { total: 4, asking: 5, ..old_task(task) }],
        growth: vec![build::growth(task, 2, 1)],
        subtasks: vec![subtask_row(task, 0, changed[0].clone())],
        new_subtasks: vec![new.clone()],
        notes: vec![note(task, NoteKey::Signals, "{}")],
        ..Changes::default()
    };
    write(store, &changes).await;
    let record = store.task(TaskNo(task)).await.unwrap().unwrap();
    changed.push(new.row);
    assert_eq!((record.task, record.subtasks), (changes.tasks[0].clone(), changed));
    assert_eq!(store.plans(&[TaskNo(task)]).await.unwrap()[0].plan.len(), 3);
    assert_eq!(store.notes(TaskNo(task)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn rows_of_the_first_version_are_kept_on_postgres() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().create_database()).await.unwrap();
    let before = sql(&url).await;
    before.batch_execute(&first_step(migrate::POSTGRES)).await.unwrap();
    before.batch_execute(&write_on_postgres(1)).await.unwrap();
    let early = PostgresStore::connect(&url, 1).await.expect_err("a step is missing");
    assert!(early.to_string().contains("run `downbeat migrate`"), "{early}");
    PostgresStore::migrate(&url).await.unwrap();
    let store = PostgresStore::connect(&url, 1).await.unwrap();
    is_kept(&store, 1, &found_subtasks()).await;

    // A replica of that version has not gone yet.
    before.batch_execute(&write_on_postgres(2)).await.unwrap();
    is_kept(&store, 2, &old_subtasks()).await;
    let columns = "update tasks t set events = c.events
                   from unnest(array[row(1, 1, 'task-1', '', 2, 0, 1, 4, 4, 0, 0, 77, 0, null, null, null, null,
                       null, null, '')::task_row]) as c where t.no = c.no";
    before.batch_execute(columns).await.unwrap();
    let head = store.task(TaskNo(1)).await.unwrap().unwrap().task;
    assert_eq!((head.events, head.asking), (77, 5));
}

#[tokio::test]
async fn rows_of_the_first_version_are_kept_in_sqlite() {
    let place = Place::new();
    let before = rusqlite::Connection::open(place.file()).unwrap();
    before.execute_batch(&first_step(migrate::SQLITE)).unwrap();
    before.execute_batch(&write_in_sqlite(1)).unwrap();
    drop(before);
    let store = SqliteStore::open_with(place.file(), clock()).unwrap();
    is_kept(&store, 1, &found_subtasks()).await;
}
