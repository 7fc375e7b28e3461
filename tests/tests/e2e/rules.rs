//! Approval rules of the operator: nothing that they match runs without those they name, whatever people do.

use downbeat_tests::harness::{ControlPlane, Database, Dir, Ledger, SdkWorker, Stage, served};
use serde_json::{Value, json};

const RULES: &str = r#"
rules:
  - name: production deploys
    when: "agent == 'deployer' && input.to == 'production'"
    approval: {message: "Deploy?", approvers: [{roles: [release-manager]}], timeout_seconds: 3600}
  - name: whatever root does
    when: "agent == 'root'"
    approval: {message: "As root?", approvers: [{names: [ann]}], timeout_seconds: 1}
"#;

async fn staged() -> (Stage, SdkWorker, Dir) {
    let dir = Dir::new("rules");
    let path = dir.path().join("rules.yaml");
    std::fs::write(&path, RULES).expect("a file");
    let plane =
        ControlPlane::start_here(&Database::postgres(), |config| config.approval_rules = Some(path)).await;
    let stage = Stage::on(plane);
    let worker =
        SdkWorker::obedient(&stage.plane.grpc, &["maker", "deployer", "root"], 4, &Ledger::default());
    served(&stage.client, "root").await;
    (stage, worker, dir)
}

/// Waits for the approval, and approves it as somebody; gives the digest of what was shown, and the answer's code.
async fn approve(stage: &Stage, task: &str, gate: &str, mut body: Value) -> (Value, u16) {
    let digest = stage.reaches(task, gate, "waiting").await["gate"]["digest"].clone();
    (body["option"], body["digest"]) = (json!("approve"), digest.clone());
    let answer = stage.post(&format!("/tasks/{task}/subtasks/{gate}/decision"), body).await;
    (digest, answer.status)
}

fn manager() -> Value {
    json!({"by": "bob", "roles": ["release-manager"]})
}

async fn refused(stage: &Stage, path: &str, body: Value, code: &str) -> String {
    let error = stage.post(path, body).await.expect(409)["error"].clone();
    assert_eq!(error["code"], code, "{error}");
    error["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_input_or_another_agent_is_approved_anew() {
    let (stage, _worker, _dir) = staged().await;
    let to = |place: &str, say: u32| json!({"to": place, "say": say});
    stage.run("ship", json!([{"key": "deploy", "agent": "deployer", "input": to("production", 1)}])).await;
    assert_eq!(approve(&stage, "ship", "deploy-approval", json!({"by": "eve"})).await.1, 403);
    let (first, answer) = approve(&stage, "ship", "deploy-approval", manager()).await;
    assert_eq!(answer, 200);
    stage.is("ship", "completed").await;
    let again = |say: u32| json!({"inputs": {"deploy": to("production", say)}, "by": "eve"});
    stage.post("/tasks/ship/rerun", again(2)).await.expect(200);
    assert_eq!(stage.subtask("ship", "deploy").await["state"], "pending");
    let (second, answer) = approve(&stage, "ship", "deploy-approval", manager()).await;
    assert_eq!((answer, second == first), (200, false));
    stage.is("ship", "completed").await;
    assert_eq!(stage.output("ship", "deploy").await, 2);
    // The same again is what they approved.
    stage.post("/tasks/ship/rerun", json!({"subtasks": ["deploy"], "by": "eve"})).await.expect(200);
    stage.is("ship", "completed").await;

    stage.run("try", json!([{"key": "deploy", "agent": "deployer", "input": to("test", 1)}])).await;
    stage.is("try", "completed").await;
    let told = refused(&stage, "/tasks/try/rerun", again(3), "APPROVAL_REQUIRED").await;
    assert!(told.contains("production deploys"), "{told}");
    assert_eq!(stage.view("try").await["status"], "completed");

    let plan = json!([
        {"key": "later", "timer": {"seconds": 3600}},
        {"key": "deploy", "agent": "maker", "depends_on": ["later"], "input": to("production", 1)},
    ]);
    stage.run("moved", plan).await;
    let path = "/tasks/moved/subtasks/deploy/route";
    refused(&stage, path, json!({"agent": "deployer"}), "APPROVAL_REQUIRED").await;
    refused(&stage, path, json!({"agent": "root"}), "APPROVAL_REQUIRED").await;
    stage.post(path, json!({"agent": "other"})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_asked_decides_nothing_when_it_has_expired() {
    let (stage, _worker, _dir) = staged().await;
    // It would run as root only if nobody else could.
    stage.run("rooted", json!([{"key": "it", "agent": "maker", "fallback": ["root"]}])).await;
    stage.reaches("rooted", "it-approval", "needs_review").await;
    let path = "/tasks/rooted/subtasks/it-approval";
    let told = refused(&stage, &format!("{path}/complete"), json!({"output": {}}), "SUBTASK_STATE").await;
    assert!(told.contains("its approvers"), "{told}");
    refused(&stage, &format!("{path}/skip"), json!({"by": "eve"}), "SUBTASK_STATE").await;
    assert_eq!(stage.subtask("rooted", "it").await["state"], "pending");
    stage.post(&format!("{path}/fail"), json!({"by": "eve"})).await.expect(200);
    stage.is("rooted", "failed").await;
}
