//! The shared context: workers and clients that read and write it, conditions that look at it, and going back.

use std::sync::Arc;

use downbeat_proto::v1::{
    ContextRead, ContextWrite, LeaseRef, context_answer::Verdict, session_request::Message as Said,
};
use downbeat_sdk::{Agent, Context, Error, ForkTask, HandlerError, Output, Plan, SubmitTask, Subtask};
use downbeat_tests::harness::{
    ControlPlane, Database, Gate, RawWorker, SdkWorker, Stage,
    http::Answer,
    raw_worker::{hello, lease_of},
    served,
};
use serde_json::{Value, json};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

async fn put(stage: &Stage, task: &str, key: &str, body: Value) -> Answer {
    let path = format!("/tasks/{task}/context/{key}");
    stage.http.send("PUT", &path, JSON, body.to_string().as_bytes()).await
}

async fn context(stage: &Stage, task: &str) -> Value {
    let mut all = serde_json::Map::new();
    let found = stage.http.get(&format!("/tasks/{task}/context")).await.expect(200);
    for entry in found["entries"].as_array().unwrap() {
        all.insert(entry["key"].as_str().unwrap().to_owned(), json!([entry["value"], entry["version"]]));
    }
    Value::Object(all)
}

async fn submit(stage: &Stage, task: &str, given: Value, subtasks: Value) {
    let metadata = json!({"context": given});
    let body = json!({"task_id": task, "title": task, "metadata": metadata, "plan": {"subtasks": subtasks}});
    stage.post("/orchestrate", body).await.expect(201);
    stage.client.execute(task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_write_compare_and_delete() {
    let stage = Stage::new().await;
    let gate = json!([{"key": "go", "approval": {}}]);
    submit(&stage, "t", json!({"given": {"n": 1}, "not a name": 0}), gate).await;
    assert_eq!(context(&stage, "t").await, json!({"given": [{"n": 1}, 1], "not a name": [0, 1]}));
    let body = json!({"value": {"n": 2}, "expected_version": 1, "by": "ann"});
    let written = put(&stage, "t", "given", body.clone()).await.expect(200);
    assert_eq!(written, json!({"key": "given", "version": 2}));
    let late = put(&stage, "t", "given", body).await.expect(409);
    assert_eq!(late["error"]["code"], "VERSION_CONFLICT");
    assert!(late["error"]["message"].as_str().unwrap().contains("has version 2, expected 1"), "{late}");
    let entry = stage.http.get("/tasks/t/context/given").await.expect(200);
    assert_eq!(entry, json!({"key": "given", "value": {"n": 2}, "version": 2}));
    // The same over gRPC.
    let client = stage.client.by("bob");
    assert_eq!(client.put_context("t", "mine", &[1, 2], Some(0)).await.unwrap(), 1);
    let Err(Error::Rejected { reason, .. }) = client.put_context("t", "mine", &3, Some(0)).await else {
        panic!("it is there");
    };
    assert_eq!(reason, "VERSION_CONFLICT");
    assert_eq!(client.put_context("t", "mine", &(), None).await.unwrap(), 2);
    let mine = client.context_key("t", "mine").await.unwrap();
    assert_eq!((&mine.value[..], mine.version), (&b"null"[..], 2));
    assert_eq!(client.context("t").await.unwrap().len(), 3);
    let deletes = "/tasks/t/context/mine?expected_version=2&by=ann";
    assert_eq!(stage.http.send("DELETE", deletes, &[], b"").await.expect(200)["version"], 3);
    assert_eq!(stage.http.get("/tasks/t/context/mine").await.expect(404)["error"]["code"], "NOT_FOUND");
    assert_eq!(client.delete_context("t", "given", None).await.unwrap(), 3);
    // What is wrong is told with its field.
    let large = json!({"value": "x".repeat(64 * 1024)});
    for (key, body, field) in [
        ("a%20b", json!({"value": 1}), "key"),
        ("k", json!({}), "value"),
        ("k", large, "value"),
        ("k", json!({"value": 1, "expected_version": -1}), "expected_version"),
        ("k", json!({"value": 1, "vale": 1}), "vale"),
    ] {
        let refused = put(&stage, "t", key, body).await;
        assert_eq!((refused.status, refused.problems().1[0].0.as_str()), (400, field), "{refused}");
    }
    assert_eq!(put(&stage, "nobody", "k", json!({"value": 1})).await.status, 404);
    // The history says who wrote what, without the values.
    let events = stage.history("t").await;
    let told: Vec<Value> = events
        .iter()
        .filter(|event| event["kind"].as_str().unwrap().starts_with("context."))
        .map(|event| {
            json!([event["kind"], event["context"]["key"], event["context"]["version"], event["by"]])
        })
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["context.put", "given", 2, "ann"],
            ["context.put", "mine", 1, "bob"],
            ["context.put", "mine", 2, "bob"],
            ["context.deleted", "mine", 3, "ann"],
            ["context.deleted", "given", 3, "bob"],
        ])
    );
    stage.client.cancel("t", "enough").await.unwrap();
    let ended = put(&stage, "t", "k", json!({"value": 1})).await.expect(409);
    assert_eq!(ended["error"]["code"], "TASK_FINISHED");
}

/// Adds itself to a list until nobody was faster.
async fn sign(context: Context) -> Result<Output, HandlerError> {
    let (shared, name) = (context.shared(), context.brief().key.clone());
    loop {
        let (mut names, version) = match shared.get::<Vec<String>>("names").await? {
            Some(found) => (found.value, found.version),
            None => (Vec::new(), 0),
        };
        names.push(name.clone());
        match shared.compare_and_set("names", version, &names).await {
            Ok(version) => return Output::json(&version),
            Err(Error::VersionConflict { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_write_the_same_key_lose_nothing() {
    let stage = Stage::new().await;
    let _worker = SdkWorker::custom(&stage.plane.grpc, 8, |builder| {
        let last = async |context: Context| {
            let handed: Value = context.handed()?;
            let (shared, versions) = (context.shared(), context.brief().context_versions.clone());
            shared.put("done", &true).await?;
            let kept = shared.delete("given", Some(1)).await?;
            let all: Vec<String> = shared.all().await?.into_iter().map(|entry| entry.key).collect();
            Output::json(&json!({"handed": handed, "version": versions["names"], "kept": kept, "all": all}))
        };
        builder.agent(Agent::new("signer"), sign).agent(Agent::new("last"), last)
    });
    served(&stage.client, "signer").await;
    let signers: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let mut subtasks: Vec<Value> =
        signers.iter().map(|key| json!({"key": key, "agent": "signer", "max_attempts": 1})).collect();
    let when = "size(context.names) == 8 && context.given == 7";
    subtasks.push(
        json!({"key": "last", "agent": "last", "depends_on": signers, "context": ["names"], "when": when}),
    );
    subtasks
        .push(json!({"key": "never", "agent": "last", "depends_on": ["last"], "when": "has(context.given)"}));
    submit(&stage, "many", json!({"given": 7}), json!(subtasks)).await;
    let view = stage.is("many", "completed").await;
    let never = downbeat_tests::harness::stage::of_key(&view, "never").unwrap();
    assert_eq!((&never["state"], &never["code"]), (&json!("skipped"), &json!("CONDITION_FALSE")));
    let last = stage.output("many", "last").await;
    let mut names: Vec<&str> =
        last["handed"]["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]);
    assert_eq!(last["handed"].as_object().unwrap().len(), 1, "it asked for one key");
    assert_eq!(
        (&last["version"], &last["kept"], &last["all"]),
        (&json!(8), &json!(2), &json!(["done", "names"]))
    );
    let events = stage.history("many").await;
    let by_workers =
        events.iter().filter(|event| event["kind"] == "context.put" && event["lease_id"].is_i64());
    assert_eq!(by_workers.count(), 8 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_between_a_write_and_its_answer_has_written_once() {
    // Silence is no loss here, only a stream that breaks.
    let plane = ControlPlane::start_here(&Database::postgres(), |config| {
        config.liveness.lease_ms = 600_000;
        config.liveness.assign_ack_ms = 600_000;
    })
    .await;
    let stage = Stage::on(plane);
    let mut worker = RawWorker::start(&stage.plane.grpc, &["writer"], 1).await;
    served(&stage.client, "writer").await;
    submit(&stage, "t", json!({}), json!([{"key": "a", "agent": "writer"}])).await;
    let lease = lease_of(&worker.begin().await);
    let write = |lease: LeaseRef, request, value: &str, expected| {
        let (key, value) = ("k".to_owned(), Some(value.to_owned().into()));
        Said::ContextWrite(ContextWrite {
            lease: Some(lease),
            request,
            key,
            value,
            expected_version: expected,
        })
    };
    let read =
        |lease: LeaseRef| Said::ContextRead(ContextRead { lease: Some(lease), request: 9, key: "k".into() });
    worker.say(write(lease, 1, "1", Some(0))).await;
    // The write is durable, and nobody hears the answer.
    downbeat_tests::harness::until("the write is there", || async {
        (context(&stage, "t").await == json!({"k": [1, 1]})).then_some(())
    })
    .await;
    let welcome = worker.welcome.clone();
    drop(worker);
    let mut worker = RawWorker::resume(&stage.plane.grpc, hello(&["writer"], 1), &welcome, &[lease]).await;
    assert!(worker.welcome.resumed);
    worker.say(write(lease, 1, "1", Some(0))).await;
    let again = worker.answered().await;
    assert_eq!((again.verdict(), again.version, again.request), (Verdict::Done, 1, 1), "{}", again.message);
    worker.say(write(lease, 2, "2", Some(7))).await;
    let late = worker.answered().await;
    assert_eq!((late.verdict(), late.version), (Verdict::Conflict, 1), "{}", late.message);
    worker.say(write(lease, 3, "[", None)).await;
    let bad = worker.answered().await;
    assert_eq!(bad.verdict(), Verdict::Refused);
    assert!(bad.message.contains("value: is not JSON"), "{}", bad.message);
    worker.say(read(lease)).await;
    let found = worker.answered().await;
    assert_eq!((&found.entries[0].value[..], found.entries[0].version), (&b"1"[..], 1));
    // Somebody else has the subtask: the old lease writes and reads nothing.
    drop(worker);
    let mut heir = RawWorker::start(&stage.plane.grpc, &["writer"], 1).await;
    let newer = lease_of(&heir.begin().await);
    heir.say(write(lease, 4, "4", None)).await;
    assert_eq!(heir.answered().await.verdict(), Verdict::Stale);
    heir.say(read(lease)).await;
    let stale = heir.answered().await;
    assert_eq!((stale.verdict(), stale.entries.len()), (Verdict::Stale, 0));
    heir.say(write(newer, 1, "5", Some(1))).await;
    assert_eq!(heir.answered().await.version, 2);
    heir.complete(newer, "1").await;
    stage.is("t", "completed").await;
    assert_eq!(context(&stage, "t").await, json!({"k": [5, 2]}));
    let events = stage.history("t").await;
    let leases: Vec<&Value> = events
        .iter()
        .filter(|event| event["kind"] == "context.put")
        .map(|event| &event["lease_id"])
        .collect();
    assert_eq!(leases, [&json!(lease.lease_id), &json!(newer.lease_id)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_restored_forked_and_told_apart() {
    let stage = Stage::new().await;
    let gate = Arc::new(Gate::closed());
    let _worker = SdkWorker::custom(&stage.plane.grpc, 2, |builder| {
        let gate = Arc::clone(&gate);
        builder.agent(Agent::new("writer"), move |context: Context| {
            let gate = Arc::clone(&gate);
            async move {
                let version = context.shared().put("step", &context.brief().key).await?;
                gate.pass().await;
                Output::json(&version)
            }
        })
    });
    served(&stage.client, "writer").await;
    let plan = Plan::new()
        .subtask(Subtask::new("a").agent("writer").whole_context())
        .subtask(Subtask::new("b").agent("writer").depends_on(["a"]));
    let task =
        SubmitTask::new("t").metadata(&json!({"context": {"given": 1, "lost": 2}})).plan(plan).execute();
    stage.client.submit(task).await.unwrap();
    let writes = async |key: &str| {
        downbeat_tests::harness::until(&format!("{key} writes"), || async {
            (context(&stage, "t").await["step"][0] == key).then_some(())
        })
        .await;
    };
    writes("a").await;
    stage.client.delete_context("t", "lost", Some(1)).await.unwrap();
    stage.client.snapshot("t", "here").await.unwrap();
    stage.client.put_context("t", "more", &"3", Some(0)).await.unwrap();
    gate.let_through(1);
    writes("b").await;
    stage.client.snapshot("t", "there").await.unwrap();
    stage.client.put_context("t", "given", &9, None).await.unwrap();
    gate.open_for_all();
    stage.is("t", "completed").await;

    let diff = stage.http.get("/tasks/t/snapshots/here/diff?to=there").await.expect(200);
    assert_eq!(diff["context"], json!([{"key": "more", "to": "3"}, {"key": "step", "from": "a", "to": "b"}]));
    let states: Vec<Value> = diff["subtasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sub| json!([sub["key"], sub["from"], sub["to"]]))
        .collect();
    assert_eq!(states[0], json!(["a", states[0][1], "completed"]));
    assert_eq!((states.len(), &states[1][1]), (2, &json!("pending")));
    let since = stage.client.diff_snapshots("t", "there", None).await.unwrap();
    assert_eq!((since.context.len(), since.context[0].key.as_str()), (1, "given"));
    let unknown = stage.http.get("/tasks/t/snapshots/nowhere/diff").await;
    assert_eq!(unknown.expect(404)["error"]["code"], "NOT_FOUND");

    // A fork goes on with what was then; `b` writes again there.
    stage.client.fork(ForkTask::new("t", "u").at_snapshot("here").execute()).await.unwrap();
    stage.is("u", "completed").await;
    assert_eq!(context(&stage, "u").await, json!({"given": [1, 1], "step": ["b", 3]}));
    let restored = stage.client.by("ann").restore("t", "here").await.unwrap();
    assert_eq!(restored.subtask_ids.len(), 2);
    stage.is("t", "completed").await;
    let now = context(&stage, "t").await;
    assert_eq!((&now["given"], &now["lost"], &now["more"]), (&json!([1, 3]), &Value::Null, &Value::Null));
    let events = stage.history("t").await;
    let restored =
        events.iter().filter(|event| event["message"] == "restored to `here`" && event["by"] == "ann");
    assert!(restored.count() >= 3);
}
