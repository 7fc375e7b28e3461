//! Workers as processes that are killed with SIGKILL while they have children.

use std::process::Command;

use downbeat_tests::harness::{
    ControlPlane, Database, Notes, Process, Runs, Stage, served, stage::of_key, until,
};
use serde_json::{Value, json};

/// A worker with one slot, which halts at a moment.
fn worker(stage: &Stage, notes: &Notes, halt: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delegate"));
    command.env("DOWNBEAT_ADDR", &stage.plane.grpc).env("LEDGER", notes.path()).env("HALT", halt);
    Process::start("delegate", command)
}

async fn staged() -> (Stage, Notes) {
    // Silence is no loss here, only a stream that breaks.
    let plane = ControlPlane::start_here(&Database::postgres(), |config| {
        config.liveness.lease_ms = 600_000;
        config.liveness.assign_ack_ms = 600_000;
    })
    .await;
    (Stage::on(plane), Notes::new())
}

async fn busy(stage: &Stage) -> Vec<Value> {
    let workers = stage.http.get("/workers").await.expect(200);
    workers["workers"].as_array().expect("a list").iter().map(|worker| worker["busy"].clone()).collect()
}

fn outcomes(view: &Value, key: &str) -> Vec<String> {
    let sub = of_key(view, key).unwrap_or_else(|| panic!("no `{key}` in {view}"));
    let attempts = sub["attempts"].as_array().expect("a list").clone();
    attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap_or("none").to_owned()).collect()
}

/// Two children, added once, each done once, and nothing else.
async fn judge(stage: &Stage, notes: &Notes, task: &str) -> Value {
    let view = stage.is(task, "completed").await;
    let keys: Vec<&str> =
        view["subtasks"].as_array().expect("a list").iter().filter_map(|sub| sub["key"].as_str()).collect();
    assert_eq!(keys, ["lead", "lead.one", "lead.two"]);
    assert_eq!(stage.output(task, "lead").await, json!(["lead.one", "lead.two"]));
    let events = stage.history(task).await;
    let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((count("task.grown"), count("subtask.completed")), (1, 3), "{events:?}");
    let mut leases: Vec<i64> = notes.runs().iter().map(|run| run.lease).collect();
    let begun = leases.len();
    leases.sort_unstable();
    leases.dedup();
    assert_eq!(leases.len(), begun, "no lease was run twice");
    view
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed_between_adding_children_and_giving_its_subtask_back() {
    let (stage, notes) = staged().await;
    let mut first = worker(&stage, &notes, "added");
    served(&stage.client, "boss").await;
    stage.run("added", json!([{"key": "lead", "agent": "boss"}])).await;
    assert_eq!(first.line().await.as_deref(), Some("added"));
    first.kill();
    let _second = worker(&stage, &notes, "");
    let view = judge(&stage, &notes, "added").await;
    let lead = outcomes(&view, "lead");
    assert_eq!(
        (lead.first().map(String::as_str), lead.last().map(String::as_str)),
        (Some("lost"), Some("completed"))
    );
    assert_eq!(
        (outcomes(&view, "lead.one"), outcomes(&view, "lead.two")),
        (vec!["completed".into()], vec!["completed".into()])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed_while_children_of_its_own_run() {
    let (stage, notes) = staged().await;
    let mut first = worker(&stage, &notes, "working");
    served(&stage.client, "boss").await;
    stage.run("working", json!([{"key": "lead", "agent": "boss"}])).await;
    // It has one slot, and the child could not run if who added it held that.
    assert_eq!(first.line().await.as_deref(), Some("working"));
    assert_eq!(stage.subtask("working", "lead").await["state"], "waiting");
    until("its one slot is taken by the child", || async {
        (busy(&stage).await == [json!(1)]).then_some(())
    })
    .await;
    first.kill();
    until("nothing holds a slot", || async {
        busy(&stage).await.iter().all(|busy| *busy == json!(0)).then_some(())
    })
    .await;
    assert_eq!(stage.subtask("working", "lead").await["state"], "waiting");
    let _second = worker(&stage, &notes, "");
    let view = judge(&stage, &notes, "working").await;
    assert_eq!(outcomes(&view, "lead"), ["suspended", "completed"]);
    assert_eq!(outcomes(&view, "lead.one"), ["lost", "completed"]);
    assert_eq!(outcomes(&view, "lead.two"), ["completed"]);
}
