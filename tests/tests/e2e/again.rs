//! Doing it again: rerun, snapshots, restore and fork, on tasks that run and tasks that have ended.

use downbeat_sdk::{ForkTask, RerunTask, proto::TaskStatus};
use downbeat_tests::harness::{Ledger, Runs, SdkWorker, Stage, served, stage::of_key};
use serde_json::{Value, json};

async fn staged() -> (Stage, SdkWorker, Ledger) {
    let (stage, ledger) = (Stage::new().await, Ledger::default());
    let worker = SdkWorker::obedient(&stage.plane.grpc, &["maker"], 4, &ledger);
    served(&stage.client, "maker").await;
    (stage, worker, ledger)
}

fn chain() -> Value {
    json!([
        {"key": "a", "agent": "maker", "input": {"say": "a1"}},
        {"key": "b", "agent": "maker", "depends_on": ["a"]},
        {"key": "c", "agent": "maker", "depends_on": ["b"]},
    ])
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("a text `{name}` in {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completed_task_runs_again_from_where_it_is_told() {
    let (stage, _worker, ledger) = staged().await;
    stage.run("done", chain()).await;
    let first = stage.is("done", "completed").await;
    let before = stage.history("done").await.len();
    let body = json!({"subtasks": ["b"], "by": "ann", "reason": "flaky"});
    let answer = stage.post("/tasks/done/rerun", body).await.expect(200);
    assert_eq!(
        (&answer["status"], answer["subtasks"].as_array().map(Vec::len)),
        (&json!("running"), Some(2))
    );
    let view = stage.is("done", "completed").await;
    let (b, old) = (of_key(&view, "b").unwrap(), of_key(&first, "b").unwrap());
    assert_eq!(b["replaces"], old["subtask_id"]);
    assert_eq!(b["outputs"]["outputs"]["a"], "a1", "what `a` delivered is used again");
    assert_eq!(ledger.runs().len(), 3 + 2);
    // Both are told where both are asked for.
    let all = stage.http.get("/tasks/done?replaced=true").await.expect(200);
    let shown = all["subtasks"].as_array().unwrap();
    assert_eq!(shown.len(), 5);
    assert_eq!(shown.iter().filter(|sub| sub["replaced"] == true).count(), 2);
    let events = stage.history("done").await;
    let grown = &events[before..].iter().find(|event| event["kind"] == "task.grown").unwrap();
    assert_eq!((&grown["by"], &grown["message"]), (&json!("ann"), &json!("flaky")));
    assert_eq!(
        (text(&events[before - 1], "kind"), text(events.last().unwrap(), "kind")),
        ("task.completed", "task.completed")
    );
    let unknown = stage.post("/tasks/done/rerun", json!({"subtasks": ["nobody"]})).await;
    assert_eq!(unknown.expect(404)["error"]["code"], "SUBTASK_UNKNOWN");
    let old = stage.post("/tasks/done/rerun", json!({"subtasks": [old["subtask_id"]]})).await;
    assert_eq!(old.expect(409)["error"]["code"], "SUBTASK_STATE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_and_a_running_task_run_again_with_other_inputs() {
    let (stage, _worker, _) = staged().await;
    let plan = json!([
        {"key": "a", "agent": "maker", "input": {"say": "a1"}},
        {"key": "b", "agent": "maker", "depends_on": ["a"], "input": {"fail": "BROKEN"}, "on_failure": "fail"},
        {"key": "c", "agent": "maker", "depends_on": ["b"]},
    ]);
    stage.run("broken", plan).await;
    assert_eq!(of_key(&stage.is("broken", "failed").await, "c").unwrap()["state"], "skipped");
    let rerun = RerunTask::new("broken").input("b", &json!({"say": "mended"})).by("bob");
    let again = stage.client.rerun(rerun).await.unwrap();
    assert_eq!((again.status(), again.subtask_ids.len()), (TaskStatus::Running, 2));
    stage.is("broken", "completed").await;
    assert_eq!(stage.output("broken", "c").await["outputs"]["b"], "mended");
    stage.history("broken").await;

    // One that waits for a person: what was asked is asked anew, of the new output.
    let plan = json!([
        {"key": "a", "agent": "maker", "input": {"say": "a1"}},
        {"key": "ok", "depends_on": ["a"], "approval": {}},
        {"key": "c", "agent": "maker", "depends_on": ["ok", "a"]},
    ]);
    stage.run("running", plan).await;
    let asked = stage.reaches("running", "ok", "waiting").await;
    let rerun = RerunTask::new("running").input("a", &json!({"say": "a2"})).by("bob");
    assert_eq!(stage.client.rerun(rerun).await.unwrap().subtask_ids.len(), 3);
    let anew = stage.reaches("running", "ok", "waiting").await;
    assert_ne!(anew["gate"]["digest"], asked["gate"]["digest"]);
    let decide = async |sub: &Value| {
        let path = format!("/tasks/running/subtasks/{}/decision", text(sub, "subtask_id"));
        stage.post(&path, json!({"option": "approve", "digest": sub["gate"]["digest"], "by": "ann"})).await
    };
    assert_eq!(decide(&asked).await.expect(409)["error"]["code"], "SUBTASK_STATE");
    decide(&anew).await.expect(200);
    stage.is("running", "completed").await;
    assert_eq!(stage.output("running", "c").await["outputs"]["a"], "a2");
    stage.history("running").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_back_to_a_snapshot_and_forks_from_an_event() {
    let (stage, _worker, ledger) = staged().await;
    let plan = json!([
        {"key": "a", "agent": "maker", "input": {"say": "a1"}},
        {"key": "ok", "depends_on": ["a"], "approval": {}},
        {"key": "c", "agent": "maker", "depends_on": ["a", "ok"]},
    ]);
    stage.run("old", plan).await;
    let approve = async |task: &str| {
        let gate = stage.reaches(task, "ok", "waiting").await["gate"].clone();
        let body = json!({"option": "approve", "digest": gate["digest"], "by": "ann"});
        stage.post(&format!("/tasks/{task}/subtasks/ok/decision"), body).await.expect(200);
    };
    stage.reaches("old", "ok", "waiting").await;
    let taken = stage.post("/tasks/old/snapshots", json!({"name": "mine", "by": "ann"})).await.expect(201);
    assert_eq!(taken["name"], "mine");
    let twice = stage.post("/tasks/old/snapshots", json!({"name": "mine"})).await;
    assert_eq!(twice.expect(409)["error"]["code"], "SNAPSHOT_TAKEN");
    approve("old").await;
    stage.is("old", "completed").await;
    // `a` has another output by now.
    let rerun = RerunTask::new("old").input("a", &json!({"say": "a2"}));
    stage.client.rerun(rerun).await.unwrap();
    approve("old").await;
    stage.is("old", "completed").await;
    assert_eq!(stage.output("old", "c").await["outputs"]["a"], "a2");
    let names = stage.client.snapshots("old").await.unwrap();
    let names: Vec<&str> = names.iter().map(|snapshot| &snapshot.name[..]).collect();
    assert_eq!(names[..2], ["before ok", "mine"]);

    let ran = ledger.runs().len();
    let restored =
        stage.post("/tasks/old/restore", json!({"snapshot": "mine", "by": "bob"})).await.expect(200);
    assert_eq!(restored["status"], "running");
    assert_eq!(stage.output("old", "a").await, "a1", "what was completed then");
    approve("old").await;
    stage.is("old", "completed").await;
    assert_eq!(stage.output("old", "c").await["outputs"]["a"], "a1");
    assert_eq!(ledger.runs().len(), ran + 1, "only `c` ran again");
    let events = stage.history("old").await;
    let who: Vec<&Value> =
        events.iter().filter(|event| event["kind"] == "task.grown").map(|event| &event["by"]).collect();
    assert_eq!(who.last(), Some(&&json!("bob")));

    // From the moment when the first `a` was completed.
    let done = |event: &&Value| event["kind"] == "subtask.completed" && event["key"] == "a";
    let event = events.iter().find(done).unwrap()["number"].as_u64().unwrap();
    let fork = || ForkTask::new("old", "new").at_event(event).execute();
    assert!(!stage.client.fork(fork()).await.unwrap().existed);
    assert!(stage.client.fork(fork()).await.unwrap().existed);
    let other = json!({"task_id": "new", "event": event + 1, "execute": true});
    assert_eq!(stage.post("/tasks/old/fork", other).await.expect(409)["error"]["code"], "TASK_CONFLICT");
    approve("new").await;
    let view = stage.is("new", "completed").await;
    assert_eq!(ledger.runs().len(), ran + 2, "`a` was taken over");
    assert_eq!(stage.output("new", "c").await["outputs"]["a"], "a1");
    assert_eq!(of_key(&view, "a").unwrap()["attempts"], json!([]));
    stage.history("new").await;
    assert_eq!(stage.view("old").await["status"], "completed", "the old one is as it was");
}
