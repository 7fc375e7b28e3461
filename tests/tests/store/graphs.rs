//! Plans that grow, and the notes that are kept of a task.

use std::sync::Arc;

use bytes::Bytes;
use downbeat_core::{
    id::TaskNo,
    note::NoteKey,
    plan::{Node, Plan},
    reads::Reads,
    rows::{Changes, Growth, NewPlan, NoteRow, Rows, SubtaskRow},
    subtask::Subtask,
    task::Task,
};
use downbeat_store::{Store, StoreError};

use crate::build::{
    self, TENANT, growth, load, note, notes, one_of_each, rows, same, subtask_row, whole, write,
};

/// What a task has grown by, with a row for each node.
fn grown(task: i64, growth: Vec<Growth>) -> Changes {
    let last = growth.last().expect("some growth");
    let total = last.first + u32::try_from(last.nodes.len()).unwrap();
    let row = |index| subtask_row(task, index, Subtask { attempts: index as u16, ..build::subtask() });
    Changes {
        tasks: vec![Task { total, ..build::task(task) }],
        new_subtasks: (growth[0].first..total).map(row).collect(),
        growth,
        ..Changes::default()
    }
}

fn json(nodes: &[Arc<Node>]) -> String {
    serde_json::to_string(nodes).unwrap()
}

/// The nodes of a plan and of what was added to it.
fn nodes(base: &NewPlan, parts: &[&Growth]) -> Vec<Arc<Node>> {
    let parts = parts.iter().flat_map(|part| part.nodes.clone());
    base.plan.nodes().iter().cloned().chain(parts).collect()
}

async fn plan_of(store: &dyn Store, task: i64) -> Arc<Plan> {
    let found = store.plans(&[TaskNo(task)]).await.unwrap();
    assert_eq!(found.len(), 1);
    Arc::clone(&found[0].plan)
}

pub(crate) async fn a_plan_grows_with_its_task(store: &dyn Store) {
    let base = one_of_each();
    write(store, &base).await;
    let first = grown(100, vec![growth(100, 2, 1), growth(100, 3, 9)]);
    write(store, &first).await;
    let second = || grown(100, vec![growth(100, 12, 2)]);
    // With something of each old row beside what is new.
    let mut row = build::subtask();
    row.attempts = 78;
    let changed = subtask_row(100, 0, row);
    let history = vec![build::history(100, 8, 9)];
    let outputs = vec![build::output(100, 1)];
    let changes = Changes { subtasks: vec![changed.clone()], history, outputs, ..second() };
    write(store, &changes).await;
    let second = second();

    let subtasks: Vec<SubtaskRow> = [changed, base.new_subtasks[1].clone()]
        .into_iter()
        .chain(first.new_subtasks.iter().chain(&second.new_subtasks).cloned())
        .collect();
    same(&load(store, &whole(100)).await, &rows(&second.tasks, &subtasks, &[]));
    let record = store.task(TaskNo(100)).await.unwrap().unwrap();
    assert_eq!(record.task.total, 14);
    assert_eq!(record.subtasks.len(), 14);

    let plan = plan_of(store, 100).await;
    let all = nodes(&base.new_plans[0], &[&first.growth[0], &first.growth[1], &second.growth[0]]);
    assert_eq!(json(plan.nodes()), json(&all));
    // What follows from the nodes does so across the parts.
    assert_eq!(plan.dependents(1), [2]);
    assert_eq!(plan.dependents(11), [12]);
    assert_eq!(plan.children(0).collect::<Vec<_>>(), (2..14).collect::<Vec<_>>());
    assert_eq!(store.events(TaskNo(100), 7, 9).await.unwrap().len(), 2);
}

pub(crate) async fn a_new_task_grows_in_the_batch_that_creates_it(store: &dyn Store) {
    let growth = vec![growth(100, 2, 2), growth(100, 4, 1)];
    let new = [0, 1, 2, 3, 4].map(|index| subtask_row(100, index, build::subtask()));
    let changes = Changes {
        new_subtasks: new.into(),
        notes: vec![note(100, NoteKey::Signals, "{}")],
        growth,
        ..one_of_each()
    };
    write(store, &changes).await;
    same(&load(store, &whole(100)).await, &rows(&changes.new_tasks, &changes.new_subtasks, &[]));
    let all = nodes(&changes.new_plans[0], &[&changes.growth[0], &changes.growth[1]]);
    assert_eq!(json(plan_of(store, 100).await.nodes()), json(&all));
    assert_eq!(store.notes(TaskNo(100)).await.unwrap().len(), 1);
}

pub(crate) async fn each_plan_has_its_own_parts(store: &dyn Store) {
    let base = |task| Changes {
        new_tasks: vec![build::task(task)],
        new_plans: vec![build::plan(task)],
        ..Changes::default()
    };
    for task in 1..=3 {
        write(store, &base(task)).await;
    }
    let mut both = grown(1, vec![growth(1, 2, 2)]);
    both.growth.push(growth(3, 2, 1));
    both.tasks.push(build::task(3));
    write(store, &both).await;

    let asked = [3, 1, 4, 2].map(TaskNo);
    let found = store.plans(&asked).await.unwrap();
    let mut lengths: Vec<_> = found.iter().map(|plan| (plan.task.0, plan.plan.len())).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [(1, 4), (2, 2), (3, 3)]);
    for plan in &found {
        assert_eq!(plan.request, build::plan(plan.task.0).request);
        assert_eq!(plan.id, format!("task-{}", plan.task));
    }
}

pub(crate) async fn a_place_of_a_plan_is_taken_once(store: &dyn Store) {
    write(store, &one_of_each()).await;
    write(store, &grown(100, vec![growth(100, 2, 2)])).await;
    let mut writer = store.writer().await.unwrap();
    writer.load(&whole(100)).await.unwrap();
    let again = Changes {
        tasks: vec![Task { events: 99, ..build::task(100) }],
        growth: vec![growth(100, 2, 1)],
        notes: vec![note(100, NoteKey::Signals, "{}")],
        ..Changes::default()
    };
    let refused = writer.commit(&again).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_ne!(store.task(TaskNo(100)).await.unwrap().unwrap().task.events, 99);
    assert_eq!(store.notes(TaskNo(100)).await.unwrap(), []);
    assert_eq!(plan_of(store, 100).await.len(), 4);
    drop(writer);
    write(store, &grown(100, vec![growth(100, 4, 1)])).await;
    assert_eq!(plan_of(store, 100).await.len(), 5);
}

pub(crate) async fn a_plan_has_the_context_of_the_metadata(store: &dyn Store) {
    let contexts = [
        ("{\"context\": {\"b\": 1, \"a\": [ 2 ]}, \"more\": 3}", "{\"b\": 1, \"a\": [ 2 ]}"),
        ("{\"context\":null}", ""),
        ("{\"more\":{\"context\":1}}", ""),
        ("null", ""),
        ("", ""),
    ];
    for (task, (metadata, context)) in (1..).zip(contexts) {
        let mut plan = build::plan(task);
        plan.request.metadata = Bytes::from_static(metadata.as_bytes());
        let changes = Changes {
            new_tasks: vec![build::task(task)],
            new_plans: vec![plan],
            growth: vec![growth(task, 2, 1)],
            ..Changes::default()
        };
        write(store, &changes).await;
        let plan = plan_of(store, task).await;
        assert_eq!(std::str::from_utf8(plan.context()).unwrap(), context, "{metadata}");
    }
}

/// Rows with these notes and no others.
fn noted(mut rows: Rows, found: &[NoteRow], absent: &[(i64, NoteKey)]) -> Rows {
    found.iter().for_each(|note| rows.load_note(note.task, note.key, Some(note.body.clone())));
    absent.iter().for_each(|&(task, key)| rows.load_note(TaskNo(task), key, None));
    rows
}

pub(crate) async fn notes_come_back_as_they_were_written(store: &dyn Store) {
    const LAST: NoteKey = NoteKey::Gate(i32::MAX as u32);
    let keys = [(1, NoteKey::Signals), (1, NoteKey::Gate(0)), (1, LAST), (2, NoteKey::Signals)];
    let tasks = vec![build::task(1), build::task(2)];
    write(store, &Changes { new_tasks: tasks.clone(), ..Changes::default() }).await;
    same(&load(store, &notes(&keys)).await, &noted(rows(&tasks, &[], &[]), &[], &keys));
    assert_eq!(store.notes(TaskNo(1)).await.unwrap(), []);

    let written = vec![
        note(1, NoteKey::Gate(0), "{\"votes\": [1 , 2.50]}"),
        note(1, LAST, ""),
        note(1, NoteKey::Signals, "{\"w\":\"\u{10FFFF}\"}"),
    ];
    write(store, &Changes { tasks: tasks.clone(), notes: written.clone(), ..Changes::default() }).await;
    let absent = [(2, NoteKey::Signals)];
    same(&load(store, &notes(&keys)).await, &noted(rows(&tasks, &[], &[]), &written, &absent));
    let listed = written.iter().map(|note| (note.key, note.body.clone())).collect::<Vec<_>>();
    assert_eq!(store.notes(TaskNo(1)).await.unwrap(), listed);
    assert_eq!(store.notes(TaskNo(2)).await.unwrap(), []);
    assert_eq!(store.notes(TaskNo(3)).await.unwrap(), []);

    // Those that nobody asked for are not loaded, and neither are those of another task.
    let one = [(1, NoteKey::Gate(0)), (2, NoteKey::Gate(0))];
    let reads = Reads { whole: [TaskNo(2)].into(), ..notes(&one) };
    same(&load(store, &reads).await, &noted(rows(&tasks, &[], &[]), &written[..1], &one[1..]));
}

pub(crate) async fn notes_are_read_by_their_keys(store: &dyn Store) {
    let (index, first, last) =
        (NoteKey::Context, NoteKey::ContextValue(1), NoteKey::ContextValue(i32::MAX as u32));
    let written = vec![
        note(1, index, "{}"),
        note(1, NoteKey::ContextWrite(7), "[7]"),
        note(1, first, "\"one\""),
        note(1, last, "null"),
        note(2, first, "2"),
    ];
    let tasks = vec![build::task(1), build::task(2)];
    write(store, &Changes { new_tasks: tasks, notes: written, ..Changes::default() }).await;
    let mut found = store.notes_at(TaskNo(1), &[last, NoteKey::Signals, first, index]).await.unwrap();
    found.sort();
    let expected = [(index, "{}"), (first, "\"one\""), (last, "null")];
    assert_eq!(found, expected.map(|(key, body)| (key, Bytes::from(body))));
    assert_eq!(store.notes_at(TaskNo(1), &[]).await.unwrap(), []);
    assert_eq!(store.notes_at(TaskNo(3), &[first]).await.unwrap(), []);
    // Of those there may be very many: whoever lists notes does not see them.
    let listed: Vec<NoteKey> =
        store.notes(TaskNo(1)).await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed, [index, NoteKey::ContextWrite(7)]);
    assert_eq!(store.notes(TaskNo(2)).await.unwrap(), []);
}

pub(crate) async fn a_note_is_overwritten(store: &dyn Store) {
    let key = NoteKey::Gate(3);
    let tasks = vec![build::task(1)];
    let old = vec![note(1, key, "{\"level\":1}"), note(1, NoteKey::Signals, "{}")];
    write(store, &Changes { new_tasks: tasks.clone(), notes: old, ..Changes::default() }).await;
    let reads = notes(&[(1, key)]);
    let mut writer = store.writer().await.unwrap();
    for body in ["{\"level\":2}", "{\"level\":3}"] {
        writer.load(&reads).await.unwrap();
        let notes = vec![note(1, key, body)];
        writer.commit(&Changes { tasks: tasks.clone(), notes, ..Changes::default() }).await.unwrap();
        let found = writer.load(&reads).await.unwrap().rows;
        same(&found, &noted(rows(&tasks, &[], &[]), &[note(1, key, body)], &[]));
        writer.rollback().await;
    }
    let listed = [(key, Bytes::from("{\"level\":3}")), (NoteKey::Signals, Bytes::from("{}"))];
    assert_eq!(store.notes(TaskNo(1)).await.unwrap(), listed);
}

pub(crate) async fn notes_of_a_task_that_is_not_there_are_absent(store: &dyn Store) {
    let keys = [(1, NoteKey::Signals), (2, NoteKey::Gate(1))];
    same(&load(store, &notes(&keys)).await, &noted(Rows::default(), &[], &keys));
    let named = Reads { ids: [(TENANT, "task-1".to_owned())].into(), ..notes(&keys) };
    same(&load(store, &named).await, &noted(Rows::default(), &[], &keys));
}
