//! The database down at start and down later, what is told of it meanwhile, and a full disk below SQLite.

use std::{path::Path, process::Command};

use downbeat_sdk::{
    Plan, SubmitTask, Subtask,
    proto::{SubmitTaskRequest, TaskStatus, task_service_client::TaskServiceClient},
};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Dir, Gate, Ledger, SdkWorker, Watcher,
        plans::{chain, diamond, single},
        served, soon, until,
    },
    postgres::Postgres,
};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_down_at_start_is_waited_for_and_down_later_is_told() {
    let mut postgres = Postgres::start();
    let database = Database::Postgres(postgres.create_database());
    postgres.kill();
    let process = ControlPlane::launch(&database, &[]);
    process.logged("waiting for the database").await;
    postgres.restart();
    let plane = ControlPlane::from(process, &database).await;
    let (client, http, ledger, gate) = (plane.client(), plane.http(), Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &gate);
    served(&client, "maker").await;
    http.get("/readyz").await.expect(200);
    client.submit(chain("w-1", "maker", 3)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("w-1");
    client.execute("w-1").await.unwrap();
    ledger.begun(1).await;

    postgres.kill();
    http.get("/healthz").await.expect(200);
    let away = http.get("/readyz").await;
    assert_eq!((away.status, away.problems().0.as_str()), (503, "UNAVAILABLE"), "{away}");
    assert!(away.header("retry-after").is_some());
    let body =
        json!({"task_id": "w-2", "title": "t", "plan": {"subtasks": [{"key": "a", "agent": "maker"}]}});
    let refused = http.post("/orchestrate", &body).await;
    assert_eq!((refused.status, refused.problems().0.as_str()), (503, "UNAVAILABLE"), "{refused}");
    let request: SubmitTaskRequest = single("w-3", "maker").into_request().unwrap();
    let mut raw = TaskServiceClient::new(plane.channel());
    let status = soon("an answer", raw.submit_task(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some()), "{details:?}");
    // What is done meanwhile is not lost, and what was asked for may be asked again.
    gate.open_for_all();
    postgres.restart();
    client.submit(single("w-3", "maker")).await.unwrap();
    watcher.follow("w-3");
    client.execute("w-3").await.unwrap();
    for task in watcher.verify(&ledger).await {
        assert_eq!(task.status(), TaskStatus::Completed);
        assert!(task.subtasks.iter().all(|sub| sub.attempts.len() == 1));
    }
    http.get("/readyz").await.expect(200);
    // An operator's wish to stop does not wait for the database.
    postgres.kill();
    plane.stop().await;
}

/// A small file system of its own; gone when dropped.
struct SmallDisk(Dir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(size: &str) -> Option<SmallDisk> {
        let dir = Dir::new("disk");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|done| done.status.success());
        mounted.then_some(SmallDisk(dir))
    }

    fn resize(&self, size: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(self.0.path());
        assert!(mount.status().is_ok_and(|status| status.success()), "remount");
    }

    fn data(&self) -> Database {
        let dir = Dir::at(self.0.path().join("data"));
        Database::Sqlite(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the control plane may still be on its way out.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_is_told_and_nothing_is_lost() {
    if let Some(disk) = SmallDisk::mount("6m") {
        let database = disk.data();
        let plane = ControlPlane::start(&database).await;
        fills_up_and_goes_on(plane, || disk.resize("64m")).await;
        return;
    }
    // Not root: a limit on the size of files does the same.
    files_cannot_grow().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_on_the_size_of_files_is_told_and_nothing_is_lost() {
    files_cannot_grow().await;
}

async fn files_cannot_grow() {
    let database = Database::sqlite();
    let mut shell = Command::new("sh");
    // In blocks of 512 bytes; without the trap the process would be killed by a signal instead of told.
    shell.args(["-c", "trap '' XFSZ; ulimit -S -f 8192; exec \"$@\"", "limited"]);
    let plane = ControlPlane::start_wrapped(shell, &database).await;
    let pid = plane.process().pid().to_string();
    fills_up_and_goes_on(plane, || {
        let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
        assert!(lifted.is_ok_and(|status| status.success()), "prlimit lifts a soft limit");
    })
    .await;
}

/// Submits until nothing fits any more, makes room, and sees everything to its end.
async fn fills_up_and_goes_on(plane: ControlPlane, make_room: impl FnOnce()) {
    let (client, impatient, http) = (plane.client(), plane.impatient_client(), plane.http());
    let (ledger, gate) = (Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &gate);
    served(&client, "maker").await;
    let mut watcher = Watcher::new(&[&plane.grpc]);
    client.submit(diamond("first", "maker")).await.unwrap();
    watcher.follow("first");
    client.execute("first").await.unwrap();
    ledger.begun(1).await;
    let large = json!("x".repeat(250_000));
    let task = |id: &str| {
        let plan = Plan::new().subtask(Subtask::new("only").agent("maker").input(&large));
        SubmitTask::new(id).title("large").plan(plan)
    };
    let mut refused = None;
    for i in 0..200 {
        match impatient.submit(task(&format!("large-{i}"))).await {
            Ok(_) => watcher.follow(&format!("large-{i}")),
            Err(error) => {
                refused = Some((i, error));
                break;
            }
        }
    }
    let (taken, error) = refused.expect("the disk is full at some time");
    assert!(taken > 0);
    assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    assert_eq!(error.reason(), Some("UNAVAILABLE"));
    http.get("/healthz").await.expect(200);
    assert_eq!(client.get("first").await.unwrap().status(), TaskStatus::Running, "what is there can be read");
    // A result that cannot be kept is not acknowledged; it waits.
    gate.let_through(1);
    make_room();
    gate.open_for_all();
    let again = format!("large-{taken}");
    until("the refused one is taken", || async { client.submit(task(&again)).await.ok() }).await;
    watcher.follow(&again);
    for i in 0..=taken {
        client.execute(format!("large-{i}")).await.unwrap();
    }
    let tasks = watcher.verify(&ledger).await;
    assert_eq!(tasks.len(), taken + 2);
    for task in &tasks {
        assert_eq!(task.status(), TaskStatus::Completed);
        assert!(task.subtasks.iter().all(|sub| sub.attempts.len() == 1), "{task:?}");
    }
}

#[tokio::test]
async fn data_directory_of_another_process_is_refused() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let mut second = ControlPlane::launch(&database, &[]);
    assert!(!second.end().await.success());
    assert!(second.log().contains("another downbeat"), "{}", second.log());
    plane.client().submit(single("mine", "maker")).await.unwrap();
    let Database::Sqlite(dir) = &database else { unreachable!("asked for SQLite") };
    let broken = Database::Sqlite(Dir::new("broken"));
    let Database::Sqlite(broken_dir) = &broken else { unreachable!("asked for SQLite") };
    assert!(Path::new(dir.path()).exists());
    std::fs::write(
        broken_dir.path().join("downbeat.db"),
        "this is no database, and never was one".repeat(100),
    )
    .unwrap();
    let mut third = ControlPlane::launch(&broken, &[]);
    assert!(!third.end().await.success(), "a file that is no database is refused");
}
