//! Stored workflows: versions, runs, and who stays on what.

use downbeat_sdk::proto::TaskStatus;
use downbeat_tests::harness::{Ledger, SdkWorker, Stage, http::Answer, served, stage::of_key};
use serde_json::{Value, json};

async fn staged() -> (Stage, SdkWorker) {
    let (stage, ledger) = (Stage::new().await, Ledger::default());
    let worker = SdkWorker::obedient(&stage.plane.grpc, &["maker"], 4, &ledger);
    served(&stage.client, "maker").await;
    (stage, worker)
}

fn greeting(word: &str) -> Value {
    json!({
        "description": format!("Says {word}"),
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "loud": {"type": "boolean", "default": false}},
            "required": ["to"],
        },
        "secrets": ["TOKEN"],
        "plan": {"subtasks": [
            {"key": "ok", "approval": {"message": {"$param": "to"}}},
            {"key": "say", "agent": "maker", "depends_on": ["ok"],
             "input": {"say": {"word": word, "to": {"$param": "to"}, "token": {"$secret": "TOKEN"}}}},
            {"key": "shout", "agent": "maker", "depends_on": ["say"], "when": "context.params.loud"},
        ]},
    })
}

fn with(mut body: Value, more: Value) -> Value {
    let (Value::Object(body), Value::Object(more)) = (&mut body, more) else { panic!("objects") };
    body.extend(more);
    Value::Object(body.clone())
}

impl Flow<'_> {
    async fn create(&self, word: &str) -> Answer {
        self.0.post("/v1/workflows", with(greeting(word), json!({"name": "greet", "by": "ann"}))).await
    }

    async fn update(&self, word: &str, expected: u32) -> Answer {
        let body = with(greeting(word), json!({"expected_version": expected, "by": "bob"}));
        self.0.post("/v1/workflows/greet/versions", body).await
    }

    async fn run(&self, task: &str, more: Value) -> Answer {
        let body = json!({"task_id": task, "parameters": {"to": "eve"}, "execute": true});
        self.0.post("/v1/workflows/greet/run", with(body, more)).await
    }

    async fn approve(&self, task: &str) {
        let gate = self.0.reaches(task, "ok", "waiting").await["gate"].clone();
        let body = json!({"option": "approve", "digest": gate["digest"], "by": "ann"});
        self.0.post(&format!("/tasks/{task}/subtasks/ok/decision"), body).await.expect(200);
    }
}

struct Flow<'s>(&'s Stage);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_stays_on_the_version_it_began_with() {
    let (stage, _worker) = staged().await;
    let flow = Flow(&stage);
    let first = flow.create("hello").await.expect(201);
    assert_eq!((&first["version"], &first["by"]), (&json!(1), &json!("ann")));
    assert_eq!(first["plan"]["subtasks"][0]["approval"]["message"], json!({"$param": "to"}));
    assert_eq!(flow.create("hello").await.expect(200)["version"], 1, "the same again");

    let task = flow.run("old", json!({})).await.expect(201);
    assert_eq!(task["workflow"], json!({"name": "greet", "version": 1}));
    assert_eq!(task["metadata"]["context"]["params"], json!({"to": "eve", "loud": false}));
    assert_eq!(stage.reaches("old", "ok", "waiting").await["gate"]["message"], "eve");

    assert_eq!(flow.update("bye", 1).await.expect(201)["version"], 2);
    assert_eq!(flow.update("bye", 1).await.expect(200)["version"], 2, "the same again");
    // The same request is the same task, whatever is the newest; another one is not.
    assert_eq!(flow.run("old", json!({})).await.expect(200)["workflow"]["version"], 1);
    let other = flow.run("old", json!({"version": 2})).await;
    assert_eq!(other.expect(409)["error"]["code"], "TASK_CONFLICT");
    let new = flow.run("new", json!({"parameters": {"to": "eve", "loud": true}})).await.expect(201);
    assert_eq!(new["workflow"]["version"], 2);
    flow.run("pinned", json!({"version": 1})).await.expect(201);
    for (task, word, shouts) in
        [("old", "hello", "skipped"), ("new", "bye", "completed"), ("pinned", "hello", "skipped")]
    {
        flow.approve(task).await;
        let view = stage.is(task, "completed").await;
        let said = of_key(&view, "say").unwrap()["outputs"].clone();
        // A secret is named, and nobody here knows it.
        assert_eq!(said, json!({"word": word, "to": "eve", "token": {"$secret": "TOKEN"}}), "{task}");
        assert_eq!(of_key(&view, "shout").unwrap()["state"], shouts, "{task}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_only_grow() {
    let (stage, _worker) = staged().await;
    let flow = Flow(&stage);
    flow.create("hello").await.expect(201);
    let taken = flow.create("other").await;
    assert_eq!(taken.expect(409)["error"]["code"], "WORKFLOW_EXISTS");
    flow.update("bye", 1).await.expect(201);
    let stale = flow.update("late", 1).await.expect(409);
    assert_eq!(stale["error"]["code"], "WORKFLOW_VERSION_CONFLICT");
    let message = stale["error"]["message"].as_str().unwrap();
    assert!(message.contains("version 1") && message.contains("2 is"), "{message}");

    let get = async |path: &str| stage.http.get(&format!("/v1/workflows/greet{path}")).await;
    let diff = get("/diff").await.expect(200);
    assert_eq!((&diff["from"], &diff["to"]), (&json!(1), &json!(2)));
    let text = diff["diff"].as_str().unwrap();
    for part in ["--- greet@1\n+++ greet@2\n", "\n-description: \"Says hello\"\n"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let says = |line: &str| line.starts_with('+') && line.ends_with("\"word\": \"bye\"");
    assert!(text.lines().any(says), "{text}");

    let back = json!({"version": 1, "expected_version": 2, "by": "eve"});
    let back = stage.post("/v1/workflows/greet/rollback", back).await.expect(201);
    assert_eq!((&back["version"], &back["restores"], &back["by"]), (&json!(3), &json!(1), &json!("eve")));
    assert_eq!(back["plan"], get("?version=1").await.expect(200)["plan"]);
    assert_eq!(get("/diff?from=1&to=3").await.expect(200)["diff"], "");
    let again = stage.post("/v1/workflows/greet/rollback", json!({"version": 1})).await;
    assert_eq!(again.expect(200)["version"], 3, "it says that already");

    let page = get("/versions?page_size=2").await.expect(200);
    let numbers = |page: &Value| -> Vec<u64> {
        page["versions"].as_array().unwrap().iter().map(|line| line["version"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&page), [3, 2]);
    let token = page["next_page_token"].as_str().unwrap();
    let rest = get(&format!("/versions?page_size=2&page_token={token}")).await.expect(200);
    assert_eq!((numbers(&rest), &rest["next_page_token"]), (vec![1], &Value::Null));

    // Deleted, it is gone for what is new, and for nothing else.
    flow.run("kept", json!({})).await.expect(201);
    let deleted = stage.http.send("DELETE", "/v1/workflows/greet", &[], b"").await.expect(200);
    assert_eq!(deleted, json!({"name": "greet", "version": 3}));
    for answer in
        [get("").await, get("/versions").await, flow.run("late", json!({})).await, flow.update("x", 3).await]
    {
        assert_eq!(answer.expect(404)["error"]["code"], "WORKFLOW_UNKNOWN");
    }
    assert_eq!(stage.http.get("/v1/workflows").await.expect(200)["workflows"], json!([]));
    assert_eq!(flow.run("kept", json!({})).await.expect(200)["workflow"]["version"], 3);
    flow.approve("kept").await;
    stage.is("kept", "completed").await;
    assert_eq!(flow.create("hello").await.expect(201)["version"], 4, "no version means two things");
    let lines = stage.http.get("/v1/workflows").await.expect(200);
    assert_eq!(lines["workflows"][0]["version"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_at_once() {
    let (stage, _worker) = staged().await;
    let flow = Flow(&stage);
    let bad = json!({
        "name": "bad",
        "parameters": {"properties": {"n": {"type": "integer", "pattern": "x"}}},
        "plan": {"subtasks": [{"key": "a", "agent": "maker", "when": {"$param": "n"}, "input": {"$param": "m"}}]},
    });
    let (code, problems) = stage.post("/v1/workflows", bad).await.problems();
    let fields: Vec<&str> = problems.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(code, "INVALID_REQUEST");
    assert_eq!(
        fields,
        ["parameters.properties.n.pattern", "plan.subtasks[0].input", "plan.subtasks[0].when"],
        "{problems:?}"
    );
    flow.create("hello").await.expect(201);
    let wrong = flow.run("t", json!({"parameters": {"loud": "yes", "lod": true}})).await;
    assert_eq!(wrong.status, 400);
    let expected = [
        ("parameters.to", "is required"),
        ("parameters.loud", "must be of type boolean, got \"yes\""),
        ("parameters.lod", "is unknown; there are: loud, to"),
    ];
    let (_, problems) = wrong.problems();
    let mut found: Vec<(&str, &str)> =
        problems.iter().map(|(field, issue)| (&field[..], &issue[..])).collect();
    found.sort_by_key(|(field, _)| expected.iter().position(|(known, _)| known == field));
    assert_eq!(found, expected);
    assert_eq!(
        flow.run("t", json!({"version": 7})).await.expect(404)["error"]["message"],
        "no workflow `greet@7`"
    );
    assert_eq!(stage.client.list(Default::default()).await.unwrap().tasks, [], "nothing was submitted");
    assert_eq!(flow.run("t", json!({})).await.expect(201)["status"], "running");
    assert_eq!(stage.client.get("t").await.unwrap().status(), TaskStatus::Running);
}
