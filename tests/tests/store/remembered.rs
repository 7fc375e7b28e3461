//! Batches on rows that a Postgres writer remembers: nothing is locked until the commit, and the commit proves them.

use downbeat_core::{
    id::{SessionNo, TaskNo},
    note::NoteKey,
    reads::Reads,
    rows::{Changes, Rows},
    task::Task,
};
use downbeat_store::{PostgresStore, Store, StoreError, Writer};
use futures::FutureExt;
use tokio_postgres::Client;

use crate::{
    build::{self, load, rows, same, subtask_row, write_with},
    new_database,
    on_postgres::{sql, until_waiting},
};

/// What the database said about the time is used for a second, so a slow machine may need another try.
const TRIES: usize = 100;

struct Bed {
    store: PostgresStore,
    meddler: Client,
    /// Remembers the task.
    one: Box<dyn Writer>,
    other: Box<dyn Writer>,
}

impl Bed {
    /// A task with one subtask, and a session.
    async fn new() -> Bed {
        let url = new_database().await;
        let store = PostgresStore::connect(&url, 2).await.unwrap();
        let meddler = sql(&url).await;
        let (mut one, other) = (store.writer().await.unwrap(), store.writer().await.unwrap());
        let changes = Changes {
            new_tasks: vec![build::task(1)],
            new_subtasks: vec![subtask_row(1, 0, build::subtask())],
            new_sessions: vec![build::session(7)],
            ..Changes::default()
        };
        write_with(one.as_mut(), &changes).await;
        Bed { store, meddler, one, other }
    }

    /// Begins a batch of `one` on remembered rows.
    async fn recall(&mut self, reads: &Reads) -> Rows {
        for _ in 0..TRIES {
            // Reads what is not remembered yet, and hears what time it is.
            let head = self.store.task(TaskNo(1)).await.unwrap().unwrap().task;
            self.one.load(reads).await.unwrap();
            self.one.commit(&events(&head, head.events + 1)).await.unwrap();
            let loaded = self.one.load(reads).await.unwrap();
            if !self.is_open().await {
                return loaded.rows;
            }
            self.one.rollback().await;
        }
        panic!("nothing is remembered");
    }

    async fn is_open(&self) -> bool {
        let query = "select count(*) from pg_stat_activity
                     where datname = current_database() and state like 'idle in transaction%'";
        self.meddler.query_one(query, &[]).await.unwrap().get::<_, i64>(0) > 0
    }

    async fn head(&self) -> Task {
        self.store.task(TaskNo(1)).await.unwrap().unwrap().task
    }
}

fn place() -> Reads {
    Reads { tasks: [TaskNo(1)].into(), subtasks: [(TaskNo(1), 0)].into(), ..Reads::default() }
}

fn events(head: &Task, events: u64) -> Changes {
    Changes { tasks: vec![Task { events, ..head.clone() }], ..Changes::default() }
}

fn conflict(committed: downbeat_store::Result<()>) {
    assert!(matches!(committed, Err(StoreError::Conflict(_))), "{committed:?}");
}

#[tokio::test]
async fn what_nobody_else_changed_is_written_without_reading_it_again() {
    let mut bed = Bed::new().await;
    let recalled = bed.recall(&place()).await;
    same(&recalled, &load(&bed.store, &place()).await);
    let mut row = build::subtask();
    row.attempts = 78;
    let head = bed.head().await;
    let changes = Changes { subtasks: vec![subtask_row(1, 0, row.clone())], ..events(&head, 900) };
    bed.one.commit(&changes).await.unwrap();
    let expected = rows(&changes.tasks, &changes.subtasks, &[]);
    same(&load(&bed.store, &place()).await, &expected);
    // And what was written is what is remembered.
    same(&bed.one.load(&place()).await.unwrap().rows, &expected);
    bed.one.rollback().await;
}

#[tokio::test]
async fn what_another_wrote_since_is_not_overwritten() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    let head = bed.head().await;
    bed.other.load(&place()).await.unwrap();
    // The head stays as it was: its stamp tells that something of the task is new.
    let mut row = build::subtask();
    row.attempts = 78;
    let theirs = Changes { subtasks: vec![subtask_row(1, 0, row)], ..events(&head, head.events) };
    bed.other.commit(&theirs).await.unwrap();

    let ours = Changes {
        subtasks: vec![subtask_row(1, 0, build::subtask())],
        outputs: vec![build::output(1, 0)],
        ..events(&head, 900)
    };
    conflict(bed.one.commit(&ours).await);
    let expected = rows(&theirs.tasks, &theirs.subtasks, &[]);
    same(&load(&bed.store, &place()).await, &expected);
    assert_eq!(bed.store.outputs_of(TaskNo(1)).await.unwrap(), []);
    same(&bed.one.load(&place()).await.unwrap().rows, &expected);
    bed.one.commit(&ours).await.unwrap();
    assert_eq!(bed.head().await.events, 900);
}

#[tokio::test]
async fn who_waits_for_the_lock_of_another_finds_out_what_it_wrote() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    let head = bed.head().await;
    bed.other.load(&place()).await.unwrap();
    let ours = events(&head, 900);
    let mut waiting = bed.one.commit(&ours);
    assert!((&mut waiting).now_or_never().is_none());
    until_waiting(&bed.meddler, 1).await;
    let theirs = events(&head, 800);
    bed.other.commit(&theirs).await.unwrap();
    conflict(waiting.await);
    assert_eq!(bed.head().await.events, 800);

    // One that writes nothing changes nothing. (It is new: what a writer remembers it does not lock.)
    bed.recall(&place()).await;
    bed.other = bed.store.writer().await.unwrap();
    bed.other.load(&place()).await.unwrap();
    let mut waiting = bed.one.commit(&ours);
    assert!((&mut waiting).now_or_never().is_none());
    until_waiting(&bed.meddler, 1).await;
    bed.other.rollback().await;
    waiting.await.unwrap();
    assert_eq!(bed.head().await.events, 900);
}

#[tokio::test]
async fn an_answer_that_changes_nothing_is_proven_too() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    bed.one.commit(&Changes::default()).await.unwrap();
    bed.recall(&place()).await;
    let head = bed.head().await;
    bed.other.load(&place()).await.unwrap();
    bed.other.commit(&events(&head, 900)).await.unwrap();
    conflict(bed.one.commit(&Changes::default()).await);
}

#[tokio::test]
async fn a_seat_that_moved_is_noticed() {
    let mut bed = Bed::new().await;
    let seated = Reads { seats: [SessionNo(7)].into(), ..place() };
    bed.recall(&seated).await;
    let moved = Reads { sessions: [SessionNo(7)].into(), ..Reads::default() };
    bed.other.load(&moved).await.unwrap();
    let session = build::session(7);
    bed.other.commit(&Changes { sessions: vec![session], ..Changes::default() }).await.unwrap();
    let head = bed.head().await;
    conflict(bed.one.commit(&events(&head, 900)).await);

    bed.recall(&seated).await;
    bed.other.load(&moved).await.unwrap();
    bed.other.commit(&Changes { dead_sessions: vec![SessionNo(7)], ..Changes::default() }).await.unwrap();
    conflict(bed.one.commit(&events(&head, 900)).await);
    assert_ne!(bed.head().await.events, 900);
}

#[tokio::test]
async fn what_is_new_is_written_under_locks() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    let head = bed.head().await;
    let ours = Changes { new_sessions: vec![build::session(8)], ..events(&head, 900) };
    conflict(bed.one.commit(&ours).await);
    assert_eq!(bed.head().await, head);
    bed.one.load(&place()).await.unwrap();
    assert!(bed.is_open().await);
    bed.one.commit(&ours).await.unwrap();
    assert_eq!(bed.head().await.events, 900);
    assert_eq!(bed.store.sessions().await.unwrap().len(), 2);
}

/// What the task grows by, and notes of it.
fn grown(head: &Task, events: u64) -> Changes {
    let head = Task { total: 2, ..head.clone() };
    Changes {
        growth: vec![build::growth(1, 1, 1)],
        new_subtasks: vec![subtask_row(1, 1, build::subtask())],
        ..self::events(&head, events)
    }
}

#[tokio::test]
async fn what_wants_locks_is_not_recalled() {
    let mut bed = Bed::new().await;
    for reads in [
        Reads { locks: true, ..place() },
        Reads { notes: [(TaskNo(1), NoteKey::Signals)].into(), ..place() },
        Reads { sessions: [SessionNo(7)].into(), ..place() },
    ] {
        bed.recall(&place()).await;
        bed.one.rollback().await;
        bed.one.load(&reads).await.unwrap();
        assert!(bed.is_open().await, "{reads:?}");
        bed.one.rollback().await;
    }
}

#[tokio::test]
async fn growth_and_notes_are_written_under_locks() {
    for ours in [
        |head: &Task| grown(head, 900),
        |head: &Task| Changes { notes: vec![build::note(1, NoteKey::Gate(0), "{}")], ..events(head, 900) },
    ] {
        let mut bed = Bed::new().await;
        bed.recall(&place()).await;
        let head = bed.head().await;
        let ours = ours(&head);
        conflict(bed.one.commit(&ours).await);
        assert_eq!(bed.head().await, head);
        assert_eq!(bed.store.notes(TaskNo(1)).await.unwrap(), []);
        // The next try locks.
        bed.one.load(&place()).await.unwrap();
        assert!(bed.is_open().await);
        bed.one.commit(&ours).await.unwrap();
        assert_eq!(bed.head().await.events, 900);
        assert_eq!(bed.store.notes(TaskNo(1)).await.unwrap().len(), ours.notes.len());
        assert!(!bed.is_open().await);
    }
}

#[tokio::test]
async fn a_task_that_grew_is_remembered_as_it_is_now() {
    let mut bed = Bed::new().await;
    let locked = Reads { locks: true, ..build::whole(1) };
    bed.one.load(&locked).await.unwrap();
    let head = bed.head().await;
    let changes = grown(&head, 900);
    bed.one.commit(&changes).await.unwrap();
    let recalled = bed.recall(&build::whole(1)).await;
    same(&recalled, &load(&bed.store, &build::whole(1)).await);

    // Whoever remembers it as it was finds out.
    bed.one.rollback().await;
    std::mem::swap(&mut bed.one, &mut bed.other);
    bed.recall(&place()).await;
    let head = bed.head().await;
    bed.other.load(&locked).await.unwrap();
    let growth = vec![build::growth(1, 2, 1)];
    let new_subtasks = vec![subtask_row(1, 2, build::subtask())];
    let theirs = Changes { growth, new_subtasks, ..events(&Task { total: 3, ..head.clone() }, head.events) };
    bed.other.commit(&theirs).await.unwrap();
    conflict(bed.one.commit(&events(&head, 901)).await);
    assert_eq!(bed.head().await.total, 3);
}

#[tokio::test]
async fn a_note_of_another_disproves_what_is_remembered() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    let head = bed.head().await;
    bed.other.load(&build::notes(&[(1, NoteKey::Signals)])).await.unwrap();
    // The head stays as it was.
    let notes = vec![build::note(1, NoteKey::Signals, "{}")];
    bed.other.commit(&Changes { notes, ..events(&head, head.events) }).await.unwrap();
    conflict(bed.one.commit(&events(&head, 900)).await);
    assert_eq!(bed.head().await, head);
}

#[tokio::test]
async fn new_rows_of_an_old_task_are_proven_with_it() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    let head = bed.head().await;
    let more = |events: u64| Changes {
        new_subtasks: vec![subtask_row(1, 1, build::subtask())],
        ..self::events(&Task { total: 2, ..head.clone() }, events)
    };
    bed.other.load(&place()).await.unwrap();
    bed.other.commit(&events(&head, 800)).await.unwrap();
    conflict(bed.one.commit(&more(900)).await);
    assert_eq!(bed.store.task(TaskNo(1)).await.unwrap().unwrap().subtasks.len(), 1);
    assert!(!bed.is_open().await);

    bed.recall(&place()).await;
    bed.one.commit(&more(900)).await.unwrap();
    let record = bed.store.task(TaskNo(1)).await.unwrap().unwrap();
    assert_eq!((record.task.events, record.task.total, record.subtasks.len()), (900, 2, 2));
    // All of it is remembered, and all there is.
    let recalled = bed.recall(&build::whole(1)).await;
    same(&recalled, &load(&bed.store, &build::whole(1)).await);
}

/// Tasks, each with a subtask, a plan and an event, and beside them what changes of an old one.
fn created(nos: &[i64], beside: Changes) -> Changes {
    Changes {
        new_tasks: nos.iter().map(|no| build::task(*no)).collect(),
        new_plans: nos.iter().map(|no| build::plan(*no)).collect(),
        new_subtasks: nos.iter().map(|no| subtask_row(*no, 0, build::subtask())).collect(),
        history: nos.iter().map(|no| build::history(*no, 1, 1)).collect(),
        ..beside
    }
}

fn named(nos: &[i64]) -> Reads {
    Reads { ids: nos.iter().map(|no| (build::TENANT, format!("task-{no}"))).collect(), ..Reads::default() }
}

#[tokio::test]
async fn a_new_task_is_written_without_looking_for_its_name() {
    let mut bed = Bed::new().await;
    bed.recall(&Reads { seats: [SessionNo(7)].into(), ..place() }).await;
    bed.one.rollback().await;
    for (reads, nos) in [
        // Alone, and with what it is placed on.
        (named(&[2]), vec![2]),
        (Reads { seats: [SessionNo(7)].into(), ..named(&[3, 4]) }, vec![3, 4]),
    ] {
        bed.recall(&reads).await;
        bed.one.commit(&created(&nos, Changes::default())).await.unwrap();
    }
    for no in [2, 3, 4] {
        let record = bed.store.task(TaskNo(no)).await.unwrap().unwrap();
        assert_eq!((record.task, record.subtasks), (build::task(no), vec![build::subtask()]));
        assert_eq!(bed.store.events(TaskNo(no), 0, 9).await.unwrap(), build::history(no, 1, 1).events);
    }
}

#[tokio::test]
async fn of_new_tasks_whose_names_are_taken_nothing_is_written() {
    let mut bed = Bed::new().await;
    bed.recall(&place()).await;
    bed.one.rollback().await;
    let other = Changes { new_tasks: vec![Task { no: TaskNo(12), ..build::task(2) }], ..Changes::default() };
    write_with(bed.other.as_mut(), &other).await;
    for is_mixed in [false, true] {
        bed.recall(&Reads { tasks: [TaskNo(1)].into(), ..named(&[2, 3]) }).await;
        let head = bed.head().await;
        let beside = if is_mixed { events(&head, 900) } else { Changes::default() };
        conflict(bed.one.commit(&created(&[2, 3], beside)).await);
        assert_eq!(bed.head().await, head);
        assert!(bed.store.task(TaskNo(2)).await.unwrap().is_none());
        assert!(bed.store.task(TaskNo(3)).await.unwrap().is_none());
        assert_eq!(bed.store.events(TaskNo(3), 0, 9).await.unwrap(), []);
        // The next try looks.
        let found = bed.one.load(&named(&[2, 3])).await.unwrap().rows;
        same(&found, &rows(&other.new_tasks, &[], &[]));
        bed.one.rollback().await;
    }
}

#[tokio::test]
async fn tasks_old_and_new_are_written_together_or_not_at_all() {
    let mut bed = Bed::new().await;
    let reads = Reads { seats: [SessionNo(7)].into(), ..Reads { ids: named(&[2]).ids, ..place() } };
    bed.recall(&reads).await;
    let head = bed.head().await;
    bed.other.load(&place()).await.unwrap();
    bed.other.commit(&events(&head, 800)).await.unwrap();
    conflict(bed.one.commit(&created(&[2], events(&head, 900))).await);
    assert_eq!(bed.head().await.events, 800);
    assert!(bed.store.task(TaskNo(2)).await.unwrap().is_none());
    assert!(!bed.is_open().await);

    bed.recall(&reads).await;
    let head = bed.head().await;
    bed.one.commit(&created(&[2], events(&head, 900))).await.unwrap();
    assert_eq!(bed.head().await.events, 900);
    assert_eq!(bed.store.task(TaskNo(2)).await.unwrap().unwrap().task, build::task(2));
    assert!(!bed.is_open().await);
}

#[tokio::test]
async fn a_batch_on_remembered_rows_has_the_later_stamp() {
    let mut bed = Bed::new().await;
    // Here the stamp for the next batch is drawn, and there a later one is used.
    bed.recall(&place()).await;
    bed.one.rollback().await;
    let head = bed.head().await;
    let theirs = bed.other.load(&place()).await.unwrap().stamp;
    bed.other.commit(&events(&head, 900)).await.unwrap();
    let locked = Reads { sessions: [SessionNo(7)].into(), ..place() };
    bed.one.load(&locked).await.unwrap();
    bed.one.rollback().await;
    assert!(bed.one.load(&place()).await.unwrap().stamp > theirs);
    bed.one.rollback().await;
}
