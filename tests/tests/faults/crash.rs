//! kill -9 where it hurts most: of a control plane on SQLite and of workers in the middle of 200 running tasks, and
//! of a replica that nobody starts again.

use std::fs;

use downbeat_sdk::{
    Client,
    proto::{Event, Outcome, TaskStatus},
};
use downbeat_tests::harness::{
    ControlPlane, Database, Dir, Gate, Ledger, Notes, Runs, SdkWorker, Watcher, WorkerProcess,
    plans::{chain, diamond, fan},
    served,
};
use futures::{StreamExt, stream};

const TASKS: usize = 200;
/// Submitted at the same time.
const AT_ONCE: usize = 16;

fn completed(event: &Event) -> bool {
    event.kind == "subtask.completed"
}

/// Submits and starts them all.
async fn start_all(client: &Client, watcher: &mut Watcher, task: impl Fn(&str) -> downbeat_sdk::SubmitTask) {
    let ids: Vec<String> = (0..TASKS).map(|i| format!("task-{i}")).collect();
    let started = stream::iter(&ids).map(|id| {
        let task = task(id);
        async move {
            client.submit(task).await.unwrap();
            client.execute(id).await.unwrap();
        }
    });
    started.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    ids.iter().for_each(|id| watcher.follow(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_plane_on_sqlite_is_killed() {
    let database = Database::sqlite();
    let mut plane = ControlPlane::start(&database).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let _workers: Vec<SdkWorker> =
        (0..4).map(|_| SdkWorker::start(&plane.grpc, &["maker"], 64, &ledger, &gate)).collect();
    served(&client, "maker").await;
    let mut watcher = Watcher::new(&[&plane.grpc]);
    start_all(&client, &mut watcher, |id| diamond(id, "maker")).await;
    // All 200 run. Results, assignments and commits are under way whenever it is killed.
    ledger.begun(TASKS).await;
    for round in 1..=4 {
        gate.let_through(TASKS / 2);
        watcher.counts("subtask.completed", round * TASKS / 2 - TASKS / 4, completed).await;
        plane.restart().await;
    }
    gate.open_for_all();
    let tasks = watcher.verify(&ledger).await;
    assert_eq!(tasks.len(), TASKS);
    for task in &tasks {
        assert_eq!(task.status(), TaskStatus::Completed);
        assert_eq!(task.metrics.unwrap().failures, 0, "a dead control plane is nobody's failure");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_sqlite_are_killed() {
    let database = Database::sqlite();
    let plane = ControlPlane::start_here(&database, |_| {}).await;
    let (client, notes, dir) = (plane.client(), Notes::new(), Dir::new("gate"));
    let go = dir.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let worker = || WorkerProcess::start(&plane.grpc, "maker", 8, &notes, &wait);
    let mut workers: Vec<WorkerProcess> = (0..3).map(|_| worker()).collect();
    served(&client, "maker").await;
    let mut watcher = Watcher::new(&[&plane.grpc]);
    start_all(&client, &mut watcher, |id| chain(id, "maker", 2)).await;
    // All slots are taken: the first to die has eight attempts in hand.
    notes.begun(24).await;
    for round in 0..4 {
        watcher.counts("subtask.completed", round * TASKS / 4, completed).await;
        workers.remove(0).kill();
        workers.push(worker());
        fs::write(&go, "").unwrap();
    }
    let tasks = watcher.verify(&notes).await;
    assert_eq!(tasks.len(), TASKS);
    let attempts = tasks.iter().flat_map(|task| &task.subtasks).flat_map(|sub| &sub.attempts);
    let lost = attempts.filter(|attempt| attempt.outcome() == Outcome::Lost).count();
    assert!(lost >= 8, "{lost} attempts were lost");
    for task in &tasks {
        assert_eq!(task.status(), TaskStatus::Completed);
        assert_eq!(task.metrics.unwrap().failures, 0, "a dead worker is not the subtask's fault");
    }
    // Every attempt was begun at most once, and all but those lost on their way were.
    assert!((2 * TASKS..=2 * TASKS + lost).contains(&notes.runs().len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_never_comes_back_is_given_up() {
    let database = Database::postgres();
    let (one, mut two) = (ControlPlane::start(&database).await, ControlPlane::start(&database).await);
    let (client, ledger, gate) = (one.client(), Ledger::default(), Gate::closed());
    // It knows the second replica only, and dies with it as far as anybody can tell.
    let _cut_off = SdkWorker::start(&two.grpc, &["maker"], 4, &ledger, &gate);
    served(&client, "maker").await;
    client.submit(fan("g-1", "maker", 4)).await.unwrap();
    let mut watcher = Watcher::new(&[&one.grpc]);
    watcher.follow("g-1");
    client.execute("g-1").await.unwrap();
    ledger.begun(4).await;
    two.kill();
    let _other = SdkWorker::start(&one.grpc, &["maker"], 4, &ledger, &Gate::open());
    // By the default times: 10 s until the replica counts as dead, 15 s of grace for its workers.
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    for sub in &task.subtasks {
        let outcomes: Vec<Outcome> = sub.attempts.iter().map(|attempt| attempt.outcome()).collect();
        assert_eq!(outcomes, [Outcome::Lost, Outcome::Completed]);
        let [lost, done] = &sub.attempts[..] else { unreachable!("two outcomes") };
        let grace = done.started_at_ms - lost.started_at_ms;
        assert!(grace >= 15_000, "its worker had {grace} ms to come back");
    }
}
