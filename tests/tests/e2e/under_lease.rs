//! Rerun, restore, fork and cancel of a task while workers have subtasks of it in hand.

use downbeat_proto::v1::{Brief, result_ack::Verdict};
use downbeat_sdk::proto::TaskStatus;
use downbeat_tests::harness::{
    ControlPlane, Database, Ledger, RawWorker, SdkWorker, Stage, raw_worker::lease_of, served, stage::of_key,
};
use serde_json::{Value, json};

fn chain() -> Value {
    json!([
        {"key": "a", "agent": "maker"},
        {"key": "b", "agent": "maker", "depends_on": ["a"]},
        {"key": "c", "agent": "maker", "depends_on": ["b"]},
    ])
}

async fn does(worker: &mut RawWorker, task: &str, key: &str, output: &str) -> Brief {
    let brief = holds(worker, task, key).await;
    worker.complete(lease_of(&brief), output).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    brief
}

async fn holds(worker: &mut RawWorker, task: &str, key: &str) -> Brief {
    let brief = worker.begin().await;
    assert_eq!((brief.task_id.as_str(), brief.key.as_str()), (task, key));
    brief
}

/// It is told to stop, and what it delivers all the same changes nothing.
async fn is_taken(worker: &mut RawWorker, brief: &Brief) {
    assert_eq!(worker.cancelled().await, [lease_of(brief)]);
    worker.complete(lease_of(brief), "\"late\"").await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Stale]);
}

fn said(brief: &Brief, key: &str) -> Value {
    let dependency =
        brief.dependencies.iter().find(|dependency| dependency.key == key).expect("it is handed over");
    serde_json::from_slice(&dependency.output).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_again_goes_back_and_forks_while_it_runs() {
    let stage = Stage::on(ControlPlane::start_patient(&Database::postgres()).await);
    let mut worker = RawWorker::start(&stage.plane.grpc, &["maker"], 9).await;
    served(&stage.client, "maker").await;
    stage.run("t", chain()).await;
    does(&mut worker, "t", "a", "1").await;
    let first = holds(&mut worker, "t", "b").await;
    stage.reaches("t", "b", "running").await;
    stage.post("/tasks/t/snapshots", json!({"name": "mark", "by": "ann"})).await.expect(201);

    let body = json!({"subtasks": ["a"], "by": "ann", "reason": "it was wrong"});
    let answer = stage.post("/tasks/t/rerun", body).await.expect(200);
    assert_eq!(
        (&answer["status"], answer["subtasks"].as_array().map(Vec::len)),
        (&json!("running"), Some(3))
    );
    is_taken(&mut worker, &first).await;
    does(&mut worker, "t", "a", "2").await;
    let second = holds(&mut worker, "t", "b").await;
    assert_eq!(said(&second, "a"), json!(2));

    let answer = stage.post("/tasks/t/restore", json!({"snapshot": "mark", "by": "bob"})).await.expect(200);
    assert_eq!(answer["status"], "running");
    is_taken(&mut worker, &second).await;
    let third = holds(&mut worker, "t", "b").await;
    assert_eq!(said(&third, "a"), json!(1), "what it was then");

    // Another task goes on from here; this one does not know.
    stage.post("/tasks/t/fork", json!({"task_id": "u", "execute": true})).await.expect(201);
    let forked = holds(&mut worker, "u", "b").await;
    assert_eq!(said(&forked, "a"), json!(1));
    for (brief, task, output) in [(forked, "u", "3"), (third, "t", "4")] {
        worker.complete(lease_of(&brief), output).await;
        assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
        assert_eq!(said(&does(&mut worker, task, "c", "5").await, "b").to_string(), output);
        stage.is(task, "completed").await;
    }

    let all = stage.http.get("/tasks/t?replaced=true").await.expect(200);
    let of_b: Vec<(Value, Value)> = all["subtasks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|sub| sub["key"] == "b")
        .map(|sub| (sub["state"].clone(), sub["attempts"][0]["outcome"].clone()))
        .collect();
    let cancelled = (json!("cancelled"), json!("cancelled"));
    assert_eq!(of_b, [cancelled.clone(), cancelled, (json!("completed"), json!("completed"))]);
    let events = stage.history("t").await;
    let grown: Vec<(&Value, &Value)> = events
        .iter()
        .filter(|event| event["kind"] == "task.grown")
        .map(|event| (&event["by"], &event["message"]))
        .collect();
    assert_eq!(
        grown,
        [(&json!("ann"), &json!("it was wrong")), (&json!("bob"), &json!("restored to `mark`"))]
    );
    let snapshot = events.iter().find(|event| event["kind"] == "task.snapshot").expect("it was taken");
    assert_eq!(snapshot["by"], "ann");
    let events = stage.history("u").await;
    assert!(events.iter().any(|event| event["message"] == "taken over from task `t`"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_cancelled_so_is_undone_first() {
    let stage = Stage::on(ControlPlane::start_patient(&Database::postgres()).await);
    let ledger = Ledger::default();
    let mut holder = RawWorker::start(&stage.plane.grpc, &["holder"], 1).await;
    let _worker = SdkWorker::obedient(&stage.plane.grpc, &["maker", "eraser"], 4, &ledger);
    served(&stage.client, "holder").await;
    served(&stage.client, "eraser").await;
    let plan = json!([
        {"key": "one", "agent": "maker", "input": {"say": 1}, "compensate": {"agent": "eraser"}},
        {"key": "two", "agent": "maker", "depends_on": ["one"], "input": {"say": 2},
         "compensate": {"agent": "eraser", "input": {"undo": "two"}}},
        {"key": "last", "agent": "holder", "depends_on": ["two"], "compensate": {"agent": "eraser"}},
    ]);
    stage.run("booked", plan).await;
    let brief = holder.begin().await;
    let body = json!({"reason": "sold out", "compensate": true});
    assert_eq!(stage.post("/tasks/booked/cancel", body).await.expect(200)["status"], "running");
    assert_eq!(holder.cancelled().await, [lease_of(&brief)]);
    holder.free(&[lease_of(&brief)]).await;
    let view = stage.is("booked", "cancelled").await;
    assert_eq!(view["reason"], "sold out");
    assert_eq!(of_key(&view, "last").map(|sub| sub["state"].clone()), Some(json!("cancelled")));
    let events = stage.history("booked").await;
    let undone: Vec<&str> = events
        .iter()
        .filter(|event| event["kind"] == "subtask.completed")
        .filter_map(|event| event["key"].as_str()?.strip_suffix(".compensation"))
        .collect();
    assert_eq!(undone, ["two", "one"]);
    assert_eq!(events.last().map(|event| &event["kind"]), Some(&json!("task.cancelled")));
    // Again, over the other face, changes nothing.
    let again = stage.client.cancel_compensating("booked", "again").await.expect("it is");
    assert_eq!(again, TaskStatus::Cancelled);
    assert_eq!(stage.history("booked").await.len(), events.len());

    // What was undone is not done for a fork.
    stage.post("/tasks/booked/fork", json!({"task_id": "rebooked", "execute": true})).await.expect(201);
    let brief = holder.begin().await;
    assert_eq!(brief.task_id, "rebooked");
    let view = stage.view("rebooked").await;
    let keys: Vec<&str> =
        view["subtasks"].as_array().expect("a list").iter().filter_map(|sub| sub["key"].as_str()).collect();
    assert_eq!(keys, ["one", "two", "last"]);
    assert_eq!(of_key(&view, "one").map(|sub| sub["attempts"].as_array().map(Vec::len)), Some(Some(1)));
}
