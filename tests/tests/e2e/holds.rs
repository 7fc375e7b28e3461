//! Subtasks that wait for a person: manual mode, checkpoints, release.

use downbeat_sdk::{
    ExecuteTask,
    proto::{SubtaskState, TaskStatus},
};
use downbeat_tests::{
    harness::{ControlPlane, Database, Gate, Ledger, Runs, SdkWorker, Watcher, plans::diamond, served},
    on_both_databases,
};

on_both_databases! {
    manual_mode_waits_for_every_release
    checkpoints_stop_before_some
}

async fn manual_mode_waits_for_every_release(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;
    client.submit(diamond("m-1", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("m-1");
    client.execute(ExecuteTask::new("m-1").manual()).await.unwrap();
    let held = |key: &'static str| {
        move |event: &downbeat_sdk::proto::Event| event.kind == "subtask.waiting" && event.key == key
    };
    watcher.sees("m-1", "`start` is held", held("start")).await;
    assert_eq!(ledger.runs(), []);
    assert_eq!(client.release_subtask("m-1", "start").await.unwrap(), SubtaskState::Ready);
    let again = client.release_subtask("m-1", "start").await;
    assert!(
        again.is_err_and(|error| error.reason() == Some("SUBTASK_STATE")),
        "only what is held is released"
    );
    watcher.sees("m-1", "`left` is held", held("left")).await;
    watcher.sees("m-1", "`right` is held", held("right")).await;
    // By its full id this time; and one that still waits for dependencies may be released ahead of time.
    client.release_subtask("m-1", "maker::m-1::2").await.unwrap();
    assert_eq!(client.release_subtask("m-1", "end").await.unwrap(), SubtaskState::Pending);
    watcher
        .sees("m-1", "`left` completes", |event| event.kind == "subtask.completed" && event.key == "left")
        .await;
    assert_eq!(client.get("m-1").await.unwrap().subtasks[2].state(), SubtaskState::Waiting);
    client.release_subtask("m-1", "right").await.unwrap();
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let unknown = client.release_subtask("m-1", "nobody").await.unwrap_err();
    assert_eq!(unknown.reason(), Some("SUBTASK_UNKNOWN"));
}

async fn checkpoints_stop_before_some(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;
    client.submit(diamond("k-1", "maker")).await.unwrap();
    let unknown = client.execute(ExecuteTask::new("k-1").hold_before(["end", "nobody"])).await.unwrap_err();
    assert_eq!(unknown.reason(), Some("INVALID_REQUEST"));
    assert!(unknown.to_string().contains("checkpoints[1]"), "{unknown}");
    assert_eq!(
        client.get("k-1").await.unwrap().status(),
        TaskStatus::Planned,
        "a refused request starts nothing"
    );

    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("k-1");
    client.execute(ExecuteTask::new("k-1").hold_before(["maker::k-1::3", "end"])).await.unwrap();
    watcher
        .sees("k-1", "`right` is held", |event| event.kind == "subtask.waiting" && event.key == "right")
        .await;
    watcher
        .sees("k-1", "`left` completes", |event| event.kind == "subtask.completed" && event.key == "left")
        .await;
    // Executing anew without checkpoints lets everything go.
    client.execute("k-1").await.unwrap();
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}
