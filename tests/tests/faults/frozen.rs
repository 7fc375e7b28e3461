//! Workers and replicas that stand still past their time, and then go on as if nothing had happened.

use std::fs;

use downbeat_sdk::proto::{Event, Outcome, TaskStatus, WorkerState, result_ack::Verdict};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Dir, Gate, Ledger, Notes, RawWorker, Runs, SdkWorker, Watcher, WorkerProcess,
        plans::{chain, fan, single},
        process::Signal,
        raw_worker::{hello, lease_of},
        served, soon, until,
    },
    on_both_databases,
    postgres::Postgres,
};

on_both_databases! {
    frozen_worker_is_replaced_and_comes_back
    late_result_of_a_silent_worker_is_stale
}

async fn frozen_worker_is_replaced_and_comes_back(database: Database) {
    let plane = ControlPlane::start_here(&database, |_| {}).await;
    let (client, notes, dir) = (plane.client(), Notes::new(), Dir::new("gate"));
    let go = dir.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let frozen = WorkerProcess::start(&plane.grpc, "maker", 1, &notes, &wait);
    served(&client, "maker").await;
    client.submit(single("f-1", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("f-1");
    client.execute("f-1").await.unwrap();
    notes.begun(1).await;
    frozen.freeze();
    watcher.sees("f-1", "the lease is lost", |event| event.outcome() == Outcome::Lost).await;
    // Its command ends while it stands still: the result is there, and nobody to send it.
    fs::write(&go, "").unwrap();
    let other = WorkerProcess::start(&plane.grpc, "maker", 1, &notes, &wait);
    let task = watcher.verify(&notes).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let [lost, done] = &task.subtasks[0].attempts[..] else { panic!("two attempts: {task:?}") };
    assert_eq!((lost.outcome(), done.outcome()), (Outcome::Lost, Outcome::Completed));
    assert_eq!((lost.attempt, done.attempt), (1, 2));

    frozen.thaw();
    until("it is connected again", || async {
        let workers = client.workers("maker").await.unwrap();
        let connected = workers.iter().filter(|worker| worker.state() == WorkerState::Connected);
        (connected.count() == 2).then_some(())
    })
    .await;
    drop(other);
    // Its late result has changed nothing, and it works again.
    client.submit(single("f-2", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("f-2");
    client.execute("f-2").await.unwrap();
    watcher.verify(&notes).await;
    let after = client.get("f-1").await.unwrap();
    assert_eq!((after.last_event, &after.subtasks[0].output), (task.last_event, &task.subtasks[0].output));
    assert_eq!(notes.runs().len(), 3);
}

async fn late_result_of_a_silent_worker_is_stale(database: Database) {
    let plane = ControlPlane::start_here(&database, |_| {}).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut silent = RawWorker::start(&plane.grpc, &["maker"], 1).await;
    client.submit(single("l-1", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("l-1");
    client.execute("l-1").await.unwrap();
    let brief = silent.begin().await;
    ledger.begin(&brief);
    watcher.sees("l-1", "the lease is lost", |event| event.outcome() == Outcome::Lost).await;
    soon("its stream is ended", silent.end()).await;
    let _other = SdkWorker::start(&plane.grpc, &["maker"], 1, &ledger, &Gate::open());
    watcher.sees("l-1", "done elsewhere", |event| event.kind == "subtask.completed").await;
    let lease = lease_of(&brief);
    let mut back =
        RawWorker::resume(&plane.grpc, hello(&["maker"], 1), &silent.welcome.clone(), &[lease]).await;
    assert!(!back.welcome.resumed, "its session is gone");
    assert_eq!(back.welcome.lost, [lease]);
    back.complete(lease, "\"late\"").await;
    back.fail(lease, "LATE", true).await;
    assert_eq!(back.verdicts(2).await, [Verdict::Stale, Verdict::Stale]);
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.subtasks[0].attempts.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_replica_is_given_up_and_comes_back() {
    let database = Database::postgres();
    let (one, two) = (ControlPlane::start(&database).await, ControlPlane::start(&database).await);
    let freeze = || one.process().signal(Signal::Stop);
    let thaw = || one.process().signal(Signal::Continue);
    is_given_up_and_comes_back(&one, &two, freeze, thaw).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_cut_off_from_the_database_is_given_up_and_comes_back() {
    let url = Postgres::shared().create_database();
    let (far, wire) = Database::behind_wire(&url).await;
    let one = ControlPlane::start(&far).await;
    let two = ControlPlane::start(&Database::Postgres(url)).await;
    is_given_up_and_comes_back(&one, &two, || wire.freeze(), || wire.mend()).await;
}

fn completed(event: &Event) -> bool {
    event.kind == "subtask.completed"
}

/// By the default times: 10 s until the replica counts as dead, 15 s of grace for its workers.
async fn is_given_up_and_comes_back(
    one: &ControlPlane,
    two: &ControlPlane,
    stop: impl Fn(),
    go_on: impl Fn(),
) {
    let (client, ledger, gate) = (two.client(), Ledger::default(), Gate::closed());
    let _first = SdkWorker::start(&one.grpc, &["maker"], 4, &ledger, &gate);
    let _busy_first = SdkWorker::start(&one.grpc, &["busy"], 16, &ledger, &Gate::open());
    served(&client, "maker").await;
    served(&client, "busy").await;
    client.submit(fan("z-1", "maker", 4)).await.unwrap();
    let mut watcher = Watcher::new(&[&two.grpc]);
    watcher.follow("z-1");
    client.execute("z-1").await.unwrap();
    ledger.begun(4).await;
    // Others keep it busy, so that it is stopped in the middle of batches, with locks in its hands.
    let mut others = Watcher::new(&[&two.grpc]);
    for i in 0..20 {
        let id = format!("busy-{i}");
        client.submit(chain(&id, "busy", 20)).await.unwrap();
        others.follow(&id);
        client.execute(id).await.unwrap();
    }
    others.counts("subtask.completed", 40, completed).await;
    stop();
    let _second = SdkWorker::start(&two.grpc, &["maker"], 4, &ledger, &Gate::open());
    let _busy_second = SdkWorker::start(&two.grpc, &["busy"], 16, &ledger, &Gate::open());
    watcher.counts("subtask.completed", 4, completed).await;
    others.counts("subtask.completed", 400, completed).await;
    // Its worker delivers, and a moment later it hears of it: too late.
    gate.open_for_all();
    go_on();
    let busy = others.verify(&ledger).await;
    assert!(busy.iter().all(|task| task.status() == TaskStatus::Completed));
    let task = watcher.verify(&ledger).await.remove(0);
    assert!(task.subtasks.iter().all(|sub| sub.attempts.len() == 2), "{task:?}");
    // It serves again, with its worker.
    until("its worker is there again", || async {
        let workers = client.workers("maker").await.unwrap();
        let connected = workers.iter().filter(|worker| worker.state() == WorkerState::Connected);
        (connected.count() == 2).then_some(())
    })
    .await;
    let mut watcher = Watcher::new(&[&one.grpc]);
    one.client().submit(fan("z-2", "maker", 20)).await.unwrap();
    watcher.follow("z-2");
    one.client().execute("z-2").await.unwrap();
    watcher.verify(&ledger).await;
    assert_eq!(client.get("z-1").await.unwrap(), task, "nothing of it has changed");
}
