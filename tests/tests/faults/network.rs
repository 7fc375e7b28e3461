//! Streams that break, stand still, or are not read.

use std::time::Duration;

use downbeat_sdk::{
    Plan, SubmitTask, Subtask,
    proto::{Outcome, TaskStatus, WorkerState},
};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Gate, Ledger, RawWorker, SdkWorker, Watcher, Wire,
        plans::{chain, fan},
        raw_worker::lease_of,
        served, soon, until,
    },
    on_both_databases,
};
use serde_json::json;

on_both_databases! {
    cut_for_less_than_the_grace_time_keeps_the_leases
    cut_for_longer_loses_them
    worker_that_never_acknowledges_costs_no_attempt
    worker_that_reads_nothing_delays_nobody
}

async fn worker_is(plane: &ControlPlane, state: WorkerState) {
    let client = plane.client();
    until("the worker's session is as expected", || async {
        let workers = client.workers("maker").await.unwrap();
        workers.iter().any(|worker| worker.state() == state).then_some(())
    })
    .await;
}

async fn cut_for_less_than_the_grace_time_keeps_the_leases(database: Database) {
    let plane = ControlPlane::start_here(&database, |config| config.policy.grace_ms = 600_000).await;
    let wire = Wire::to(&plane.grpc).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&wire.url(), &["maker"], 16, &ledger, &gate);
    served(&client, "maker").await;
    client.submit(fan("n-1", "maker", 16)).await.unwrap();
    client.submit(chain("n-2", "maker", 3)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    for task in ["n-1", "n-2"] {
        watcher.follow(task);
        client.execute(task).await.unwrap();
    }
    ledger.begun(16).await;
    for _ in 0..3 {
        wire.cut();
        worker_is(&plane, WorkerState::Detached).await;
        // What is finished meanwhile is delivered afterwards.
        gate.let_through(4);
        wire.mend();
        worker_is(&plane, WorkerState::Connected).await;
    }
    gate.open_for_all();
    for task in watcher.verify(&ledger).await {
        assert_eq!(task.status(), TaskStatus::Completed);
        for sub in &task.subtasks {
            let [attempt] = &sub.attempts[..] else { panic!("one attempt: {sub:?}") };
            assert_eq!((attempt.attempt, attempt.outcome()), (1, Outcome::Completed));
        }
    }
    assert_eq!(ledger_runs(&ledger), 19, "nothing was begun twice");
}

fn ledger_runs(ledger: &Ledger) -> usize {
    downbeat_tests::harness::Runs::runs(ledger).len()
}

async fn cut_for_longer_loses_them(database: Database) {
    let plane = ControlPlane::start_here(&database, |_| {}).await;
    let wire = Wire::to(&plane.grpc).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let _cut = SdkWorker::start(&wire.url(), &["maker"], 4, &ledger, &gate);
    served(&client, "maker").await;
    client.submit(fan("n-3", "maker", 4)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("n-3");
    client.execute("n-3").await.unwrap();
    ledger.begun(4).await;
    wire.cut();
    watcher.counts("lost", 4, |event| event.outcome() == Outcome::Lost).await;
    let other = Gate::open();
    let _other = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &other);
    watcher.counts("subtask.completed", 4, |event| event.kind == "subtask.completed").await;
    // It finishes, and learns only then that nobody waits for it any more.
    gate.open_for_all();
    wire.mend();
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.metrics.unwrap().failures, 0);
    assert!(task.subtasks.iter().all(|sub| sub.attempts.len() == 2));
}

async fn worker_that_never_acknowledges_costs_no_attempt(database: Database) {
    let plane = ControlPlane::start_here(&database, |config| config.liveness.lease_ms = 600_000).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut deaf = RawWorker::start(&plane.grpc, &["maker"], 2).await;
    client.submit(fan("a-1", "maker", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("a-1");
    client.execute("a-1").await.unwrap();
    let briefs = [deaf.brief().await, deaf.brief().await];
    // It is alive, and says so.
    deaf.heartbeat(&[]).await;
    watcher.counts("subtask.returned", 2, |event| event.kind == "subtask.returned").await;
    soon("its stream is ended", deaf.end()).await;
    let _other = SdkWorker::start(&plane.grpc, &["maker"], 2, &ledger, &Gate::open());
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    for sub in &task.subtasks {
        let [attempt] = &sub.attempts[..] else { panic!("one attempt: {sub:?}") };
        assert_eq!(attempt.attempt, 1);
        assert!(briefs.iter().all(|brief| lease_of(brief).lease_id != attempt.lease_id));
    }
}

async fn worker_that_reads_nothing_delays_nobody(database: Database) {
    let plane = ControlPlane::start_here(&database, |config| config.liveness.assign_ack_ms = 5_000).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    // Far more than any buffer on the way holds: what it is sent stays where it is.
    let deaf = RawWorker::start(&plane.grpc, &["maker"], 40).await;
    let large = json!("x".repeat(250_000));
    let subtasks = (0..40).map(|i| Subtask::new(format!("s{i}")).agent("maker").input(&large));
    let task = SubmitTask::new("d-1").title("large").plan(Plan::new().subtasks(subtasks));
    client.submit(task).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("d-1");
    client.execute("d-1").await.unwrap();
    watcher.counts("subtask.leased", 40, |event| event.kind == "subtask.leased").await;
    let beats = tokio::spawn(async move {
        loop {
            deaf.heartbeat(&[]).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    // Another worker of the same agent goes on meanwhile, from start to end.
    let _good = SdkWorker::start(&plane.grpc, &["maker"], 8, &ledger, &Gate::open());
    client.submit(chain("d-2", "maker", 5)).await.unwrap();
    watcher.follow("d-2");
    client.execute("d-2").await.unwrap();
    watcher.sees("d-2", "completes", |event| event.kind == "task.completed").await;
    let returned = |event: &downbeat_sdk::proto::Event| event.kind == "subtask.returned";
    watcher.counts("subtask.returned", 40, returned).await;
    let tasks = watcher.verify(&ledger).await;
    beats.abort();
    for sub in tasks.iter().flat_map(|task| &task.subtasks) {
        assert_eq!(sub.attempts.len(), 1, "no attempt is spent on who reads nothing");
    }
}
