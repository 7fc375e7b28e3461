//! Rows to write, with every column set to something that is not its neighbour's.

use std::sync::Arc;

use bytes::Bytes;
use downbeat_core::{
    command::{Request, WorkflowAt},
    draft::Draft,
    event::{Artifact, AttemptError, Event, What},
    id::{Index, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    nested::Inside,
    note::NoteKey,
    plan::{Node, Plan},
    reads::Reads,
    rows::{AgentSeen, Changes, Growth, History, NewPlan, NoteRow, Output, Rows, SubtaskRow},
    session::{AgentDeclaration, Session, SessionState, WorkerDeclaration},
    subtask::{Outcome, Subtask, SubtaskState},
    task::{Course, Priority, Task, TaskStatus},
    time::Time,
};
use downbeat_store::{Store, Writer};

pub(crate) const TENANT: TenantNo = TenantNo::DEFAULT;

pub(crate) fn task(no: i64) -> Task {
    Task {
        no: TaskNo(no),
        tenant: TENANT,
        id: format!("task-{no}"),
        digest: [no as u8; 32],
        status: TaskStatus::Running,
        course: Course::Manual,
        priority: Priority::High,
        total: 11,
        unfinished: 10,
        failed: 2,
        in_review: 3,
        asking: 5,
        events: 4,
        created_at: Time(1_700_000_000_001),
        started_at: Some(Time(1_700_000_000_002)),
        ended_at: Some(Time(1_700_000_000_003)),
        deadline: Some(Time(9_700_000_000_005)),
        stopped_at: Some(Time(1_700_000_000_006)),
        due_at: Some(Time(1_700_000_000_004)),
        wake_at: Some(Time(9_700_000_000_005)),
        reason: "because 🎼".into(),
    }
}

pub(crate) fn subtask() -> Subtask {
    Subtask {
        state: SubtaskState::Running,
        route: RouteNo(70),
        priority: Priority::Critical,
        pending: 1,
        failed: 12,
        skipped: 13,
        failures: 2,
        attempts: 3,
        losses: 4,
        held: true,
        waived: false,
        queued: Some(5),
        lease: Some(LeaseId(6)),
        session: Some(SessionNo(7)),
        outcome: Some(Outcome::TimedOut),
        wake_at: Some(Time(9_700_000_000_008)),
        since: Time(1_700_000_000_009),
    }
}

/// A subtask that stands in line.
pub(crate) fn in_line(route: i64, priority: Priority, queued: i64) -> Subtask {
    Subtask {
        state: SubtaskState::Ready,
        route: RouteNo(route),
        priority,
        queued: Some(queued),
        lease: None,
        session: None,
        outcome: None,
        wake_at: None,
        ..subtask()
    }
}

pub(crate) fn subtask_row(task: i64, index: Index, row: Subtask) -> SubtaskRow {
    SubtaskRow { tenant: TENANT, task: TaskNo(task), index, row }
}

pub(crate) fn plan(task: i64) -> NewPlan {
    let draft = |key: &str, depends_on: &[&str]| Draft {
        key: key.into(),
        agent: "writer".into(),
        capabilities: vec!["rust".into(), "prose".into()],
        input: serde_json::value::RawValue::from_string("{ \"kept\" : [1,2.50,\"ä\"] }".into()).ok(),
        depends_on: depends_on.iter().map(|&key| key.into()).collect(),
        sla_seconds: Some(30),
        max_attempts: Some(5),
        priority: Some(Priority::Low),
        ..Draft::default()
    };
    let drafts = [draft("one", &[]), draft("two", &["one"])];
    let plan = Plan::build(&format!("task-{task}"), Priority::Normal, 3, &drafts, |_| RouteNo(70));
    let request = Request {
        title: format!("Title of {task} 🎼"),
        description: "Line one\nline \"two\"\u{0}".into(),
        metadata: Bytes::from_static(b"{\"b\": 1, \"a\":{\"x\":[true , null]}}"),
        workflow: Some(WorkflowAt { name: "release".into(), version: 7 }),
        inside: Some(Arc::new(Inside {
            task: TaskNo(1),
            task_id: "outer \"ä\"".into(),
            index: 3,
            subtask_id: "it::outer::1".into(),
            attempt: 2,
            depth: 4,
        })),
    };
    let plan = plan.with_inside(request.inside.clone());
    NewPlan { tenant: TENANT, task: TaskNo(task), request, plan: Arc::new(plan) }
}

pub(crate) fn output(task: i64, index: Index) -> Output {
    let artifact = Artifact {
        name: "report".into(),
        uri: "s3://bucket/report.pdf".into(),
        media_type: "application/pdf".into(),
        size_bytes: u64::MAX,
        digest: "sha256:00".into(),
    };
    Output {
        tenant: TENANT,
        task: TaskNo(task),
        index,
        body: Bytes::from(format!("{{\"of\": [{task} , {index}]}}")),
        artifacts: vec![artifact],
    }
}

/// Nodes for a plan, that depend on each other in turn, and the first one on what is there: `new.2`, `new.3`, ...
pub(crate) fn growth(task: i64, first: Index, count: u32) -> Growth {
    let node = |index: Index| {
        let draft = Draft { key: format!("new.{index}"), ..Draft::default() };
        let mut nodes = Plan::build(&format!("task-{task}"), Priority::Normal, 3, &[draft], |_| RouteNo(71))
            .nodes()
            .to_vec();
        let node = Node { depends_on: vec![index - 1], parent: Some(0), ..Node::clone(&nodes.remove(0)) };
        Arc::new(node)
    };
    Growth { tenant: TENANT, task: TaskNo(task), first, nodes: (first..first + count).map(node).collect() }
}

pub(crate) fn note(task: i64, key: NoteKey, body: &'static str) -> NoteRow {
    NoteRow { tenant: TENANT, task: TaskNo(task), key, body: Bytes::from_static(body.as_bytes()) }
}

/// Events numbered `first..=last`, one of each kind in turn.
pub(crate) fn history(task: i64, first: u64, last: u64) -> History {
    let at = Time(1_700_000_000_100);
    let events = (first..=last).map(|number| Event { number, at, what: what(number) }).collect();
    History { tenant: TENANT, task: TaskNo(task), events }
}

fn what(number: u64) -> What {
    let (index, lease) = (1, LeaseId(i64::MAX));
    let reason = String::from("why\u{0}");
    let by = String::from("somebody");
    match number % 7 {
        0 => What::Task { status: TaskStatus::Running, reason },
        1 => What::Subtask { index, state: SubtaskState::Blocked, reason, code: "CODE".into(), by },
        2 => What::Leased { index, attempt: 2, lease, worker: "worker-1".into() },
        3 => What::Returned { index, lease },
        4 => What::Ended {
            index,
            state: SubtaskState::NeedsReview,
            lease,
            attempt: 3,
            outcome: Outcome::Failed,
            error: Some(AttemptError { code: "E".into(), message: "m".into() }),
            reason,
        },
        5 => What::Grown { index: Some(index), first: 2, count: 3, reason, by },
        _ => What::Progress { index, lease, message: "half".into() },
    }
}

pub(crate) fn agent(name: &str) -> AgentDeclaration {
    AgentDeclaration {
        name: name.into(),
        capabilities: vec!["prose".into(), "rust".into()],
        skills: vec!["haiku".into()],
        domain: "letters".into(),
        description: "writes".into(),
        sla_ms: Some(1_000),
        progress_timeout_ms: Some(2_000),
        input_schema: r#"{"type":"object"}"#.into(),
        output_schema: r#"{"type":"string"}"#.into(),
    }
}

pub(crate) fn session(no: i64) -> Session {
    let declaration = WorkerDeclaration {
        worker: format!("worker-{no}"),
        agents: vec![agent("writer")],
        slots: 8,
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        build_id: "b1".into(),
    };
    Session {
        no: SessionNo(no),
        tenant: TENANT,
        replica: ReplicaNo(3),
        token: [no as u8; 16],
        connection: no as u32,
        state: SessionState::Detached,
        declaration: Arc::new(declaration),
        opened_at: Time(1_700_000_000_200),
        wake_at: Some(Time(9_700_000_000_201)),
    }
}

pub(crate) fn seen(name: &str, at: i64) -> AgentSeen {
    AgentSeen { tenant: TENANT, declaration: agent(name), at: Time(at) }
}

/// One row of each kind, for task 100 and session 7.
pub(crate) fn one_of_each() -> Changes {
    Changes {
        new_tasks: vec![task(100)],
        new_plans: vec![plan(100)],
        new_subtasks: vec![
            subtask_row(100, 0, subtask()),
            subtask_row(100, 1, in_line(70, Priority::Low, 9)),
        ],
        outputs: vec![output(100, 0)],
        history: vec![history(100, 1, 7)],
        new_sessions: vec![session(7)],
        agents: vec![seen("writer", 5)],
        ..Changes::default()
    }
}

/// Reads for these notes alone.
pub(crate) fn notes(keys: &[(i64, NoteKey)]) -> Reads {
    Reads { notes: keys.iter().map(|&(task, key)| (TaskNo(task), key)).collect(), ..Reads::default() }
}

/// Reads for all of a task.
pub(crate) fn whole(task: i64) -> Reads {
    Reads { tasks: [TaskNo(task)].into(), whole: [TaskNo(task)].into(), ..Reads::default() }
}

/// Writes one batch that reads nothing.
pub(crate) async fn write(store: &dyn Store, changes: &Changes) {
    let mut writer = store.writer().await.expect("a writer");
    write_with(writer.as_mut(), changes).await;
}

pub(crate) async fn write_with(writer: &mut dyn Writer, changes: &Changes) {
    writer.load(&Reads::default()).await.expect("nothing to load");
    writer.commit(changes).await.expect("a commit");
}

/// Loads and ends the batch.
pub(crate) async fn load(store: &dyn Store, reads: &Reads) -> Rows {
    let mut writer = store.writer().await.expect("a writer");
    let loaded = writer.load(reads).await.expect("rows");
    writer.rollback().await;
    loaded.rows
}

/// Rows can only be looked at as a whole from outside the core.
pub(crate) fn same(found: &Rows, expected: &Rows) {
    assert_eq!(format!("{found:#?}"), format!("{expected:#?}"));
}

/// Rows as they would have been loaded.
pub(crate) fn rows(tasks: &[Task], subtasks: &[SubtaskRow], sessions: &[Session]) -> Rows {
    let mut rows = Rows::default();
    tasks.iter().cloned().for_each(|task| rows.load_task(task));
    subtasks.iter().cloned().for_each(|sub| rows.load_subtask(sub.task, sub.index, sub.row));
    sessions.iter().cloned().for_each(|session| rows.load_session(session));
    rows
}
