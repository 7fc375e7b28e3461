//! Children: what a worker adds to its own subtask, and how it comes back to them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use downbeat_proto::v1::{
    PlannedSubtask, Result as AttemptResult, Spawn, SpawnAck, Suspended, result::Outcome,
    result_ack::Verdict, session_request::Message as Said, session_response::Message as Heard,
};
use downbeat_sdk::{Agent, Context, Error, HandlerError, Output, Subtask};
use downbeat_tests::harness::{
    ControlPlane, Database, Ledger, RawWorker, Runs, SdkWorker, Stage, raw_worker::lease_of, served,
    stage::of_key,
};
use serde_json::{Value, json};

/// Adds two children, of which the second needs the first, gives the subtask back, and delivers what they did.
async fn delegate(context: Context, ledger: Ledger) -> Result<Output, HandlerError> {
    ledger.begin(context.brief());
    if context.children().is_empty() {
        let one = Subtask::new("one").agent("maker").input(&json!({"say": 1}));
        let two = Subtask::new("two").agent("maker").depends_on(["one"]);
        let ids = context.spawn(vec![one, two]).await?;
        assert_eq!(ids.len(), 2);
        return Ok(Output::suspend());
    }
    let (one, two): (Value, Value) = (context.child("one").await?, context.child("two").await?);
    Output::json(&json!({"one": one, "two": two["outputs"]["one"], "attempt": context.attempt()}))
}

async fn make(context: Context, ledger: Ledger) -> Result<Output, HandlerError> {
    ledger.begin(context.brief());
    let input: Value = context.input()?;
    if let Some(said) = input.get("say") {
        return Output::json(said);
    }
    let one: Value = context.dependency("one").await?;
    Output::json(&json!({"outputs": {"one": one}}))
}

async fn spawn_ack(worker: &mut RawWorker) -> SpawnAck {
    loop {
        if let Heard::SpawnAck(ack) = worker.hear().await.expect("an open stream") {
            return ack;
        }
    }
}

/// One slot for all of it.
fn single_handed(stage: &Stage, ledger: &Ledger) -> SdkWorker {
    SdkWorker::custom(&stage.plane.grpc, 1, |builder| {
        let (boss, maker) = (ledger.clone(), ledger.clone());
        builder
            .agent(Agent::new("boss"), move |context| delegate(context, boss.clone()))
            .agent(Agent::new("maker"), move |context| make(context, maker.clone()))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_one_slot_runs_the_children_of_its_own_subtask() {
    let (stage, ledger) = (Stage::new().await, Ledger::default());
    let _worker = single_handed(&stage, &ledger);
    served(&stage.client, "boss").await;
    let plan = json!([
        {"key": "lead", "agent": "boss", "max_attempts": 1},
        {"key": "end", "agent": "maker", "depends_on": ["lead"], "input": {"say": "end"}},
    ]);
    stage.run("grown", plan).await;
    let view = stage.is("grown", "completed").await;
    // Giving it back used up no attempt: it had only one.
    assert_eq!(stage.output("grown", "lead").await, json!({"one": 1, "two": 1, "attempt": 2}));
    let lead = of_key(&view, "lead").unwrap();
    let outcomes: Vec<&Value> =
        lead["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["suspended", "completed"]);
    for key in ["lead.one", "lead.two"] {
        assert_eq!(of_key(&view, key).unwrap()["parent"], lead["subtask_id"]);
    }
    let events = stage.history("grown").await;
    let grown: Vec<&Value> = events.iter().filter(|event| event["kind"] == "task.grown").collect();
    assert_eq!(grown.len(), 1);
    assert_eq!((&grown[0]["key"], &grown[0]["added"]), (&json!("lead"), &json!(2)));
    assert_eq!(ledger.runs().len(), 2 + 2 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_outlive_the_worker_that_added_them_and_are_not_added_twice() {
    // Silence is no loss here, only a stream that breaks.
    let plane = ControlPlane::start_here(&Database::postgres(), |config| {
        config.liveness.lease_ms = 600_000;
        config.liveness.assign_ack_ms = 600_000;
    })
    .await;
    let (stage, ledger) = (Stage::on(plane), Ledger::default());
    // One that dies between adding them and giving its subtask back.
    let mut first = RawWorker::start(&stage.plane.grpc, &["boss"], 1).await;
    served(&stage.client, "boss").await;
    stage.run("orphans", json!([{"key": "lead", "agent": "boss"}])).await;
    let brief = first.begin().await;
    let child = |key: &str, input: Value, on: &[&str]| PlannedSubtask {
        key: key.into(),
        agent: "maker".into(),
        input: if input.is_null() { Default::default() } else { input.to_string().into() },
        depends_on: on.iter().map(|on| (*on).to_owned()).collect(),
        ..Default::default()
    };
    let children = vec![child("one", json!({"say": 1}), &[]), child("two", Value::Null, &["one"])];
    let spawn = |request| Spawn { lease: Some(lease_of(&brief)), request, children: children.clone() };
    let mut ids = Vec::new();
    for request in 1..=2 {
        first.say(Said::Spawn(spawn(request))).await;
        let ack = spawn_ack(&mut first).await;
        assert_eq!((ack.request, ack.verdict()), (request, Verdict::Accepted), "{}", ack.message);
        ids.push(ack.subtask_ids);
    }
    assert_eq!(ids[0], ids[1]);
    drop(first);
    // Its grace is over; another one takes it up, and asks for the same children where it finds none.
    let _worker = single_handed(&stage, &ledger);
    let view = stage.is("orphans", "completed").await;
    let keys: Vec<&str> =
        view["subtasks"].as_array().unwrap().iter().filter_map(|sub| sub["key"].as_str()).collect();
    assert_eq!(keys, ["lead", "lead.one", "lead.two"]);
    let output = stage.output("orphans", "lead").await;
    assert_eq!((&output["one"], &output["two"]), (&json!(1), &json!(1)));
    let of = |id: &str| ledger.runs().iter().filter(|run| run.subtask == id).count();
    assert_eq!((of(&ids[0][0]), of(&ids[0][1])), (1, 1), "each child ran once");
    let events = stage.history("orphans").await;
    assert_eq!(events.iter().filter(|event| event["kind"] == "task.grown").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_are_not_valid_are_refused_with_their_field() {
    let stage = Stage::new().await;
    let refusals = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&refusals);
    let _worker = SdkWorker::custom(&stage.plane.grpc, 1, |builder| {
        builder.agent(Agent::new("boss"), move |context: Context| {
            let seen = Arc::clone(&seen);
            async move {
                let bad = vec![
                    Subtask::new("a").agent("maker"),
                    Subtask::new("b").agent("maker").depends_on(["c"]),
                ];
                let Err(Error::SpawnRefused { message }) = context.spawn(bad).await else {
                    return Err(HandlerError::fatal("TAKEN", "they should have been refused"));
                };
                for part in ["children[1].depends_on[0]", "`c`"] {
                    if !message.contains(part) {
                        return Err(HandlerError::fatal("UNCLEAR", message));
                    }
                }
                seen.fetch_add(1, Ordering::Relaxed);
                // What was refused has added nothing, and the lease is still there.
                let asked = context.spawn(vec![Subtask::new("a").agent("maker").input(&1)]).await;
                let other = context.spawn(vec![Subtask::new("a").agent("maker").input(&2)]).await;
                match (asked, other) {
                    (Ok(_), Err(error @ Error::SpawnRefused { .. })) => Err(error.into()),
                    other => Err(HandlerError::fatal("UNEXPECTED", format!("{other:?}"))),
                }
            }
        })
    });
    served(&stage.client, "boss").await;
    stage.run("refused", json!([{"key": "lead", "agent": "boss"}])).await;
    let attempts = stage.reaches("refused", "lead", "needs_review").await["attempts"].clone();
    assert_eq!(attempts[0]["error"]["code"], "SPAWN_REFUSED", "{attempts}");
    assert_eq!(refusals.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subtask_that_was_given_back_holds_no_slot() {
    let stage = Stage::on(ControlPlane::start_patient(&Database::postgres()).await);
    let mut worker = RawWorker::start(&stage.plane.grpc, &["boss"], 1).await;
    served(&stage.client, "boss").await;
    let plan = json!([
        {"key": "lead", "agent": "boss", "priority": "high"},
        {"key": "other", "agent": "boss", "priority": "low"},
    ]);
    stage.run("slots", plan).await;
    let lead = worker.begin().await;
    assert_eq!(lead.key, "lead");
    let gate = PlannedSubtask {
        key: "ok".into(),
        does: Some(downbeat_proto::v1::planned_subtask::Does::Approval(Default::default())),
        ..Default::default()
    };
    worker.say(Said::Spawn(Spawn { lease: Some(lease_of(&lead)), request: 1, children: vec![gate] })).await;
    assert_eq!(spawn_ack(&mut worker).await.verdict(), Verdict::Accepted);
    let suspended = Outcome::Suspended(Suspended {});
    let result = AttemptResult { lease: Some(lease_of(&lead)), outcome: Some(suspended) };
    worker.results(vec![result]).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    // The only slot is free while a person is waited for.
    let other = worker.begin().await;
    assert_eq!(other.key, "other");
    assert_eq!(stage.subtask("slots", "lead").await["state"], "waiting");
    worker.complete(lease_of(&other), "2").await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    let digest = stage.reaches("slots", "lead.ok", "waiting").await["gate"]["digest"].clone();
    let yes = json!({"option": "approve", "digest": digest, "by": "ann"});
    stage.post("/tasks/slots/subtasks/lead.ok/decision", yes).await.expect(200);
    let again = worker.begin().await;
    assert_eq!((&again.key[..], again.attempt, &again.children[0].key[..]), ("lead", 2, "ok"));
    let output: Value = serde_json::from_slice(&again.children[0].output).unwrap();
    assert_eq!(output["option"], "approve");
    worker.complete(lease_of(&again), "1").await;
    stage.is("slots", "completed").await;
}
