//! Loading and committing.

use std::sync::Arc;

use bytes::Bytes;
use downbeat_core::{
    command::Request,
    id::{LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    plan::Plan,
    reads::Reads,
    rows::{AgentSeen, Changes, NewPlan, Output, Rows},
    session::SessionState,
    subtask::{Subtask, SubtaskState},
    task::{Course, Priority, TaskStatus},
    time::Time,
};
use downbeat_store::{Store, StoreError};

use crate::build::{self, TENANT, load, one_of_each, rows, same, whole, write, write_with};

pub(crate) async fn every_row_comes_back_as_it_was_written(store: &dyn Store) {
    let changes = one_of_each();
    write(store, &changes).await;

    let reads = Reads { sessions: [SessionNo(7)].into(), ..whole(100) };
    let expected = rows(&changes.new_tasks, &changes.new_subtasks, &changes.new_sessions);
    same(&load(store, &reads).await, &expected);
    let record = store.task(TaskNo(100)).await.unwrap().expect("the task");
    assert_eq!(record.task, changes.new_tasks[0]);
    assert_eq!(record.subtasks, changes.new_subtasks.iter().map(|sub| sub.row.clone()).collect::<Vec<_>>());
    assert_eq!(store.sessions().await.unwrap(), changes.new_sessions);
    assert_eq!(store.outputs_of(TaskNo(100)).await.unwrap(), changes.outputs);
    assert_eq!(store.events(TaskNo(100), 0, 100).await.unwrap(), changes.history[0].events);
    assert_eq!(store.agents(TENANT).await.unwrap(), changes.agents);

    let plans = store.plans(&[TaskNo(100)]).await.unwrap();
    let [found] = plans.as_slice() else { panic!("one plan, got {}", plans.len()) };
    let written = &changes.new_plans[0];
    assert_eq!((found.task, found.tenant, found.id.as_str()), (TaskNo(100), TENANT, "task-100"));
    assert_eq!(found.request, written.request);
    assert_eq!(json(&found.plan), json(&written.plan));
    assert_eq!(found.plan.dependents(0), written.plan.dependents(0));
    assert_eq!(found.plan.inside(), written.plan.inside());
}

fn json(plan: &Plan) -> String {
    serde_json::to_string(plan.nodes()).unwrap()
}

pub(crate) async fn changed_rows_come_back_changed(store: &dyn Store) {
    write(store, &one_of_each()).await;
    let mut task = build::task(100);
    task.status = TaskStatus::NeedsReview;
    task.course = Course::Auto;
    task.priority = Priority::Low;
    (task.total, task.unfinished, task.failed, task.in_review) = (4, 5, 6, 7);
    (task.events, task.asking) = (8, 9);
    (task.started_at, task.ended_at, task.due_at, task.wake_at) = (None, None, None, None);
    (task.deadline, task.stopped_at) = (None, None);
    task.reason = String::new();
    let sub = Subtask {
        state: SubtaskState::Ready,
        route: RouteNo(71),
        priority: Priority::Low,
        pending: 9,
        failed: 0,
        skipped: 10,
        failures: 8,
        attempts: 7,
        losses: 6,
        held: false,
        waived: true,
        queued: None,
        lease: None,
        session: None,
        outcome: None,
        wake_at: None,
        since: Time(0),
    };
    let mut session = build::session(7);
    session.replica = ReplicaNo(4);
    session.state = SessionState::Draining;
    session.wake_at = None;
    let changes = Changes {
        tasks: vec![task],
        subtasks: vec![build::subtask_row(100, 0, sub)],
        sessions: vec![session],
        outputs: vec![Output { artifacts: Vec::new(), body: Bytes::new(), ..build::output(100, 1) }],
        history: vec![build::history(100, 8, 8)],
        agents: vec![build::seen("writer", 6)],
        ..Changes::default()
    };
    write(store, &changes).await;

    let reads = Reads { sessions: [SessionNo(7)].into(), ..whole(100) };
    let untouched = one_of_each().new_subtasks[1].clone();
    let subtasks = [changes.subtasks[0].clone(), untouched];
    same(&load(store, &reads).await, &rows(&changes.tasks, &subtasks, &changes.sessions));
    assert_eq!(store.outputs_of(TaskNo(100)).await.unwrap()[1], changes.outputs[0]);
    assert_eq!(store.events(TaskNo(100), 7, 100).await.unwrap(), changes.history[0].events);
    assert_eq!(store.agents(TENANT).await.unwrap(), changes.agents);
}

pub(crate) async fn extreme_values_survive(store: &dyn Store) {
    const INT: u32 = i32::MAX as u32;
    let mut task = build::task(i64::MAX);
    task.id = "x".repeat(200);
    (task.total, task.unfinished, task.failed, task.in_review) = (INT, INT, INT, INT);
    (task.asking, task.events) = (INT, i64::MAX as u64);
    (task.created_at, task.due_at) = (Time(i64::MIN), Some(Time(i64::MAX)));
    task.reason = "\u{10FFFF}".repeat(1_000);
    let sub = Subtask {
        route: RouteNo(i64::MIN),
        pending: INT,
        failed: INT,
        skipped: INT,
        failures: u16::MAX,
        attempts: u16::MAX,
        losses: u16::MAX,
        queued: Some(i64::MAX),
        lease: Some(LeaseId(i64::MAX)),
        session: Some(SessionNo(i64::MIN)),
        ..build::subtask()
    };
    let body = Bytes::from(vec![b'9'; 1024 * 1024]);
    let bare = NewPlan {
        request: Request::default(),
        plan: Arc::new(Plan::from_nodes(Vec::new())),
        ..build::plan(i64::MAX)
    };
    let changes = Changes {
        new_tasks: vec![task],
        new_plans: vec![bare],
        new_subtasks: vec![build::subtask_row(i64::MAX, INT, sub)],
        outputs: vec![Output { body, ..build::output(i64::MAX, INT) }],
        ..Changes::default()
    };
    write(store, &changes).await;

    same(&load(store, &whole(i64::MAX)).await, &rows(&changes.new_tasks, &changes.new_subtasks, &[]));
    assert_eq!(store.outputs_of(TaskNo(i64::MAX)).await.unwrap(), changes.outputs);
    let plans = store.plans(&[TaskNo(i64::MAX)]).await.unwrap();
    assert_eq!(plans[0].request, Request::default());
    assert!(plans[0].plan.nodes().is_empty());
}

pub(crate) async fn missing_rows_are_left_out(store: &dyn Store) {
    let reads = Reads {
        sessions: [SessionNo(1)].into(),
        seats: [SessionNo(1), SessionNo(2)].into(),
        ids: [(TENANT, "nobody".to_owned())].into(),
        tasks: [TaskNo(1)].into(),
        whole: [TaskNo(2)].into(),
        subtasks: [(TaskNo(3), 0)].into(),
        hints: [(TaskNo(4), 0)].into(),
        locks: true,
        ..Reads::default()
    };
    same(&load(store, &reads).await, &Rows::default());
    assert!(store.task(TaskNo(1)).await.unwrap().is_none());
    assert_eq!(store.find_task(TENANT, "nobody").await.unwrap(), None);
}

pub(crate) async fn tasks_are_loaded_by_id(store: &dyn Store) {
    let mut elsewhere = build::task(101);
    (elsewhere.tenant, elsewhere.id) = (TenantNo(2), "task-100".into());
    let changes = Changes { new_tasks: vec![elsewhere, build::task(100)], ..Changes::default() };
    write(store, &changes).await;

    let named = |tenant| Reads { ids: [(tenant, "task-100".to_owned())].into(), ..Reads::default() };
    same(&load(store, &named(TENANT)).await, &rows(&[build::task(100)], &[], &[]));
    same(&load(store, &named(TenantNo(2))).await, &rows(&changes.new_tasks[..1], &[], &[]));
    same(&load(store, &named(TenantNo(3))).await, &Rows::default());
    assert_eq!(store.find_task(TenantNo(2), "task-100").await.unwrap(), Some(TaskNo(101)));
}

pub(crate) async fn only_declared_subtasks_are_loaded(store: &dyn Store) {
    let subtasks: Vec<_> = [(100, 0), (100, 1), (100, 2), (101, 0), (101, 1)]
        .map(|(task, index)| build::subtask_row(task, index, build::subtask()))
        .into();
    let changes = Changes {
        new_tasks: vec![build::task(100), build::task(101)],
        new_subtasks: subtasks.clone(),
        ..Changes::default()
    };
    write(store, &changes).await;

    // A hint, a named place, and the whole of a task that has a hint too.
    let reads = Reads {
        tasks: [TaskNo(100)].into(),
        subtasks: [(TaskNo(100), 2)].into(),
        hints: [(TaskNo(100), 1), (TaskNo(101), 1)].into(),
        ..Reads::default()
    };
    let expected = [&subtasks[1], &subtasks[2], &subtasks[4]].map(Clone::clone);
    same(&load(store, &reads).await, &rows(&changes.new_tasks, &expected, &[]));
    let reads = Reads { whole: [TaskNo(101)].into(), ..reads };
    let expected = [&subtasks[1], &subtasks[2], &subtasks[3], &subtasks[4]].map(Clone::clone);
    same(&load(store, &reads).await, &rows(&changes.new_tasks, &expected, &[]));
}

pub(crate) async fn seats_come_without_their_declaration(store: &dyn Store) {
    let sessions = vec![build::session(6), build::session(7)];
    write(store, &Changes { new_sessions: sessions.clone(), ..Changes::default() }).await;
    let mut bare = sessions[0].clone();
    bare.declaration = Arc::default();

    let seats = Reads { seats: [SessionNo(6)].into(), ..Reads::default() };
    same(&load(store, &seats).await, &rows(&[], &[], &[bare.clone()]));
    let both = Reads { sessions: [SessionNo(7)].into(), seats: [SessionNo(6), SessionNo(7)].into(), ..seats };
    same(&load(store, &both).await, &rows(&[], &[], &[bare.clone(), sessions[1].clone()]));

    // Written back, it still has it.
    write(store, &Changes { sessions: vec![bare], ..Changes::default() }).await;
    assert_eq!(store.sessions().await.unwrap(), sessions);
}

pub(crate) async fn the_same_task_id_twice_is_a_conflict(store: &dyn Store) {
    let (mut one, mut two) = (store.writer().await.unwrap(), store.writer().await.unwrap());
    let reads = Reads { ids: [(TENANT, "twin".to_owned())].into(), ..Reads::default() };
    let submit = |no| {
        let mut task = build::task(no);
        task.id = "twin".into();
        Changes { new_tasks: vec![task], new_plans: vec![build::plan(no)], ..Changes::default() }
    };
    one.load(&reads).await.unwrap();
    two.load(&reads).await.unwrap();
    one.commit(&submit(1)).await.unwrap();
    let refused = two.commit(&submit(2)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");

    let loaded = two.load(&reads).await.unwrap();
    same(&loaded.rows, &rows(&submit(1).new_tasks, &[], &[]));
    two.commit(&Changes { new_tasks: vec![build::task(3)], ..Changes::default() }).await.unwrap();
    assert!(store.plans(&[TaskNo(2)]).await.unwrap().is_empty());
}

pub(crate) async fn stamps_only_grow(store: &dyn Store) {
    let (mut one, mut two) = (store.writer().await.unwrap(), store.writer().await.unwrap());
    let mut newest = 0;
    let mut latest = Time(0);
    for round in 0..6 {
        let writer = if round % 2 == 0 { &mut one } else { &mut two };
        let loaded = writer.load(&Reads::default()).await.unwrap();
        assert!(loaded.stamp > newest, "{} after {newest}", loaded.stamp);
        assert!(loaded.now >= latest);
        (newest, latest) = (loaded.stamp, loaded.now);
        match round {
            0 | 1 => writer.rollback().await,
            _ => {
                let changes = Changes { new_sessions: vec![build::session(round)], ..Changes::default() };
                writer.commit(&changes).await.unwrap();
            }
        }
    }
}

pub(crate) async fn a_rollback_leaves_nothing(store: &dyn Store) {
    let mut writer = store.writer().await.unwrap();
    writer.load(&whole(100)).await.unwrap();
    writer.rollback().await;
    writer.rollback().await;
    assert!(store.task(TaskNo(100)).await.unwrap().is_none());
    write_with(writer.as_mut(), &one_of_each()).await;
    assert!(store.task(TaskNo(100)).await.unwrap().is_some());
}

pub(crate) async fn a_batch_given_up_leaves_nothing(store: &dyn Store) {
    write(store, &one_of_each()).await;
    let mut writer = store.writer().await.unwrap();
    let first = writer.load(&whole(100)).await.unwrap();
    let second = writer.load(&whole(100)).await.unwrap();
    assert!(second.stamp > first.stamp);
    same(&second.rows, &first.rows);
    let mut task = build::task(100);
    task.events = 99;
    writer.commit(&Changes { tasks: vec![task.clone()], ..Changes::default() }).await.unwrap();
    assert_eq!(store.task(TaskNo(100)).await.unwrap().expect("the task").task, task);
}

pub(crate) async fn a_batch_without_changes_is_fine(store: &dyn Store) {
    let mut writer = store.writer().await.unwrap();
    for _ in 0..3 {
        writer.load(&whole(100)).await.unwrap();
        writer.commit(&Changes::default()).await.unwrap();
    }
    write_with(writer.as_mut(), &one_of_each()).await;
}

pub(crate) async fn a_refused_batch_leaves_nothing_and_the_writer_usable(store: &dyn Store) {
    write(store, &one_of_each()).await;
    let mut writer = store.writer().await.unwrap();
    // The second plan of a task can never be written, however often one tries.
    let poison = Changes {
        new_tasks: vec![build::task(200)],
        new_plans: vec![build::plan(100)],
        new_subtasks: vec![build::subtask_row(200, 0, build::subtask())],
        history: vec![build::history(200, 1, 1)],
        ..Changes::default()
    };
    for _ in 0..2 {
        writer.load(&Reads::default()).await.unwrap();
        let refused = writer.commit(&poison).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    assert!(store.task(TaskNo(200)).await.unwrap().is_none());
    assert!(store.events(TaskNo(200), 0, 10).await.unwrap().is_empty());
    let healthy = Changes { new_plans: vec![build::plan(200)], ..poison };
    write_with(writer.as_mut(), &healthy).await;
    assert!(store.task(TaskNo(200)).await.unwrap().is_some());

    // What is not JSON is found before anything is sent.
    let mut words = build::plan(300);
    words.request.metadata = Bytes::from_static(b"{");
    writer.load(&Reads::default()).await.unwrap();
    let refused = writer.commit(&Changes { new_plans: vec![words], ..Changes::default() }).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    write_with(writer.as_mut(), &Changes { new_plans: vec![build::plan(300)], ..Changes::default() }).await;
}

pub(crate) async fn dead_sessions_are_deleted(store: &dyn Store) {
    let sessions = vec![build::session(6), build::session(7), build::session(8)];
    write(store, &Changes { new_sessions: sessions, ..Changes::default() }).await;
    let dead = vec![SessionNo(6), SessionNo(8), SessionNo(9)];
    write(store, &Changes { dead_sessions: dead, ..Changes::default() }).await;
    assert_eq!(store.sessions().await.unwrap(), [build::session(7)]);
}

pub(crate) async fn the_last_word_of_an_agent_counts(store: &dyn Store) {
    let elsewhere = AgentSeen { tenant: TenantNo(2), ..build::seen("writer", 9) };
    let mut last = build::seen("writer", 2);
    last.declaration.domain = "numbers".into();
    let agents = vec![build::seen("writer", 1), elsewhere.clone(), build::seen("Critic", 1), last.clone()];
    write(store, &Changes { agents, ..Changes::default() }).await;
    assert_eq!(store.agents(TENANT).await.unwrap(), [build::seen("Critic", 1), last]);
    assert_eq!(store.agents(TenantNo(2)).await.unwrap(), [elsewhere]);
}

pub(crate) async fn a_writer_is_dropped_in_the_middle(store: &dyn Store) {
    write(store, &one_of_each()).await;
    let mut lost = store.writer().await.unwrap();
    lost.load(&whole(100)).await.unwrap();
    drop(lost);
    let mut task = build::task(100);
    task.events = 99;
    let mut writer = store.writer().await.unwrap();
    writer.load(&whole(100)).await.unwrap();
    writer.commit(&Changes { tasks: vec![task], ..Changes::default() }).await.unwrap();
    assert_eq!(store.task(TaskNo(100)).await.unwrap().expect("the task").task.events, 99);
}
