//! Subtasks that wait for people, signals and times, over both faces, and on whichever replica lives.

use std::time::{Duration, Instant};

use downbeat_sdk::{
    Approval, DecideSubtask, ListTasks, Plan, SignalTask, SubmitTask, Subtask, Timer,
    proto::{SubtaskState, TaskStatus},
};
use downbeat_tests::harness::{ControlPlane, Database, Ledger, SdkWorker, Stage, served, until};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

async fn staged() -> (Stage, SdkWorker) {
    let stage = Stage::new().await;
    let worker = SdkWorker::obedient(&stage.plane.grpc, &["maker"], 4, &Ledger::default());
    served(&stage.client, "maker").await;
    (stage, worker)
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_approve_what_they_have_seen() {
    let (stage, _worker) = staged().await;
    let approval = json!({
        "message": "Ship it?", "quorum": 2,
        "approvers": [{"names": ["ann"], "roles": ["lead"]}],
        "options": [{"name": "ship", "then": "complete"}, {"name": "stop", "then": "fail"}],
    });
    let plan = json!([
        {"key": "draft", "agent": "maker", "input": {"say": {"text": "v42"}}},
        {"key": "ok", "depends_on": ["draft"], "approval": approval},
        {"key": "ship", "agent": "maker", "depends_on": ["ok"]},
    ]);
    stage.run("ships", plan).await;
    let sub = stage.reaches("ships", "ok", "waiting").await;
    let gate = &sub["gate"];
    assert_eq!(sub["kind"], "approval");
    assert_eq!(
        (&gate["message"], &gate["quorum"], &gate["votes"]),
        (&json!("Ship it?"), &json!(2), &json!([]))
    );
    assert_eq!(gate["approvers"], json!([{"names": ["ann"], "roles": ["lead"]}]));
    assert_eq!(gate["options"][0], json!({"name": "ship", "then": "complete"}));
    let digest = gate["digest"].as_str().unwrap();
    let seen = stage.client.get("ships").await.unwrap().subtasks[1].gate.clone().unwrap();
    assert_eq!((&seen.digest[..], seen.quorum), (digest, 2));

    let path = "/tasks/ships/subtasks/ok/decision";
    let choice = |by: &str, option: &str, digest: &str| json!({"option": option, "digest": digest, "by": by});
    let refused = async |body: Value, status: u16| {
        stage.post(path, body).await.expect(status)["error"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused(choice("ann", "ship", "0000"), 409).await, "DIGEST_MISMATCH");
    assert_eq!(refused(choice("eve", "ship", digest), 403).await, "NOT_AN_APPROVER");
    assert_eq!(refused(choice("ann", "shelve", digest), 400).await, "OPTION_UNKNOWN");
    let decide = |by: &str, option: &str| DecideSubtask::new("ships", "ok", option).digest(digest).by(by);
    for (decision, code) in [
        (DecideSubtask::new("ships", "ok", "ship").digest("0000").by("ann"), "DIGEST_MISMATCH"),
        (decide("eve", "ship"), "NOT_AN_APPROVER"),
        (decide("ann", "shelve"), "OPTION_UNKNOWN"),
    ] {
        assert_eq!(stage.client.decide(decision).await.unwrap_err().reason(), Some(code));
    }
    // One person is one vote, however often.
    assert_eq!(stage.post(path, choice("ann", "ship", digest)).await.expect(200)["state"], "waiting");
    assert_eq!(stage.client.decide(decide("ann", "ship")).await.unwrap(), SubtaskState::Waiting);
    let bob = decide("bob", "ship").role("lead").comment("fine");
    assert_eq!(stage.client.decide(bob).await.unwrap(), SubtaskState::Completed);
    stage.is("ships", "completed").await;
    let late = decide("cid", "stop").role("lead");
    assert_eq!(stage.client.decide(late).await.unwrap_err().reason(), Some("TASK_FINISHED"));
    let handed = stage.output("ships", "ship").await["outputs"]["ok"].clone();
    assert_eq!((&handed["option"], &handed["expired"]), (&json!("ship"), &json!(false)));
    assert_eq!(handed["votes"].as_array().map(Vec::len), Some(2));
    let events = stage.history("ships").await;
    let votes: Vec<(&Value, &Value)> =
        of_kind(&events, "subtask.voted").iter().map(|vote| (&vote["by"], &vote["option"])).collect();
    assert_eq!(votes, [(&json!("ann"), &json!("ship")), (&json!("bob"), &json!("ship"))]);
    let done = of_kind(&events, "subtask.completed").into_iter().find(|event| event["key"] == "ok").unwrap();
    assert_eq!((&done["by"], &done["code"]), (&json!("bob"), &json!("DECIDED")));
    let snapshots = stage.http.get("/tasks/ships/snapshots").await.expect(200);
    assert_eq!(snapshots["snapshots"][0]["name"], "before ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_in_time_is_told_from_a_refusal() {
    let stage = Stage::new().await;
    let levels = json!([{"names": ["ann"]}, {"names": ["boss"]}]);
    let gate =
        |on_timeout: &str| json!({"approvers": levels, "timeout_seconds": 1, "on_timeout": on_timeout});
    let plan = json!([
        {"key": "fails", "on_failure": "fail", "approval": gate("fail")},
        {"key": "counts-as-no", "on_failure": "fail", "approval": gate("reject")},
        {"key": "counts-as-yes", "approval": gate("approve")},
        {"key": "refused", "on_failure": "fail", "approval": {}},
        {"key": "asks", "approval": gate("fail")},
    ]);
    stage.run("times", plan).await;
    let digest = stage.reaches("times", "refused", "waiting").await["gate"]["digest"].clone();
    let no = json!({"option": "reject", "digest": digest, "by": "ann"});
    assert_eq!(stage.post("/tasks/times/subtasks/refused/decision", no).await.expect(200)["state"], "failed");
    for (key, state) in [("fails", "failed"), ("counts-as-no", "failed"), ("counts-as-yes", "completed")] {
        let sub = stage.reaches("times", key, state).await;
        assert_eq!((&sub["code"], &sub["by"]), (&json!("EXPIRED"), &json!("")), "{sub}");
        assert_eq!(sub["gate"]["votes"], json!([]));
    }
    let sub = stage.subtask("times", "refused").await;
    assert_eq!((&sub["code"], &sub["by"]), (&json!("REJECTED"), &json!("ann")));
    let yes = stage.output("times", "counts-as-yes").await;
    assert_eq!((&yes["option"], &yes["expired"]), (&json!("approve"), &json!(true)));
    // Without an `on_failure` of its own, a person decides what becomes of it.
    assert_eq!(stage.reaches("times", "asks", "needs_review").await["code"], "EXPIRED");
    let events = stage.history("times").await;
    let escalated = events.iter().filter(|event| event["code"] == "ESCALATED").count();
    assert_eq!(escalated, 4, "each asked its second level");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_early_and_late_count_once_and_timers_wait() {
    let (stage, _worker) = staged().await;
    let plan = json!([
        {"key": "hold", "approval": {}},
        {"key": "rest", "depends_on": ["hold"], "timer": {"seconds": 1}},
        {"key": "early", "depends_on": ["rest"], "signal": {"name": "paid", "matches": "signal.amount > 5"}},
        {"key": "late", "depends_on": ["early"], "signal": {"name": "paid"}},
        {"key": "never", "on_failure": "fail", "signal": {"name": "never", "timeout_seconds": 1}},
        {"key": "end", "agent": "maker", "depends_on": ["early", "late", "never"], "run_if": "all_done"},
        {"key": "sorry", "agent": "maker", "depends_on": ["never"], "run_if": "any_failed"},
    ]);
    stage.run("paid", plan).await;
    let paid = |amount: u32, id: &str| json!({"payload": {"amount": amount}, "by": "bank", "signal_id": id});
    let send =
        async |body: Value| stage.post("/tasks/paid/signals/paid", body).await.expect(200)["taken"].clone();
    // Before anybody waits for it, and twice; over the other face too.
    assert_eq!(send(paid(10, "p-1")).await, false);
    assert_eq!(send(paid(10, "p-1")).await, false);
    let again = SignalTask::new("paid", "paid").payload(&json!({"amount": 10})).by("bank").id("p-1");
    assert!(!stage.client.signal(again).await.unwrap());
    let digest = stage.reaches("paid", "hold", "waiting").await["gate"]["digest"].clone();
    let (yes, began) = (json!({"option": "approve", "digest": digest, "by": "ann"}), Instant::now());
    stage.post("/tasks/paid/subtasks/hold/decision", yes).await.expect(200);
    stage.reaches("paid", "early", "completed").await;
    assert!(began.elapsed() >= Duration::from_secs(1), "the timer came first");
    let late = stage.reaches("paid", "late", "waiting").await;
    assert_eq!(late["kind"], "signal");
    let late = SignalTask::new("paid", "paid").payload(&json!({"amount": 1})).by("bank").id("p-2");
    assert!(stage.client.signal(late).await.unwrap());
    stage.is("paid", "completed").await;
    assert_eq!(stage.subtask("paid", "never").await["code"], "EXPIRED");
    let end = stage.output("paid", "end").await["outputs"].clone();
    assert_eq!(end, json!({"early": {"amount": 10}, "late": {"amount": 1}, "never": null}));
    let events = stage.history("paid").await;
    let signals = of_kind(&events, "task.signalled");
    assert_eq!(signals.len(), 2, "the same id again is none");
    assert!(signals.iter().all(|signal| signal["by"] == "bank" && signal["signal"] == "paid"));
    let taken: Vec<&Value> = of_kind(&events, "subtask.completed").iter().map(|event| &event["by"]).collect();
    assert!(taken.contains(&&json!("bank")), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_parked_wakes_on_another() {
    let database = Database::postgres();
    let (mut one, two) =
        (Stage::on(ControlPlane::start(&database).await), Stage::on(ControlPlane::start(&database).await));
    let plan = json!([
        {"key": "rest", "timer": {"seconds": 2}},
        {"key": "asked", "on_failure": "fail", "approval": {"timeout_seconds": 2}},
        {"key": "ok", "approval": {}},
        {"key": "go", "signal": {"name": "go"}},
        {"key": "sorry", "timer": {"seconds": 1}, "depends_on": ["asked"], "run_if": "any_failed"},
    ]);
    one.run("parked", plan).await;
    let digest = one.reaches("parked", "ok", "waiting").await["gate"]["digest"].clone();
    one.plane.kill();
    two.reaches("parked", "rest", "completed").await;
    assert_eq!(two.reaches("parked", "asked", "failed").await["code"], "EXPIRED");
    let yes = json!({"option": "approve", "digest": digest, "by": "ann"});
    two.post("/tasks/parked/subtasks/ok/decision", yes).await.expect(200);
    two.post("/tasks/parked/signals/go", json!({})).await.expect(200);
    two.is("parked", "completed").await;
    two.history("parked").await;
}

/// Of each kind, tasks that wait.
const PARKED: usize = 1_000;
/// How long a control plane is listened to while they do.
const WINDOW: Duration = Duration::from_secs(5);
/// Calls of a client at the same time.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_parked_tasks_ask_nothing_of_the_database_and_each_wakes() {
    let Database::Postgres(url) = Database::postgres() else { unreachable!("asked for Postgres") };
    let (through_the_wire, wire) = Database::behind_wire(&url).await;
    let stage = Stage::on(ControlPlane::start(&through_the_wire).await);
    let park = async |kind: &str, gate: &(dyn Fn() -> Subtask + Sync)| {
        let submit = |i: usize| {
            let task = SubmitTask::new(format!("{kind}-{i}")).title(kind).plan(Plan::new().subtask(gate()));
            stage.client.submit(task.execute())
        };
        let submitted = stream::iter(0..PARKED).map(submit).buffer_unordered(AT_ONCE);
        submitted.try_for_each(async |_| Ok(())).await.unwrap();
    };
    let began = Instant::now();
    park("asks", &|| Subtask::approval("gate", Approval::new())).await;
    // Long enough for as many again and the window, however slow this is.
    let rest = began.elapsed() * 3 + WINDOW * 2;
    let began = Instant::now();
    park("rests", &|| Subtask::timer("gate", Timer::after(rest))).await;

    let (from, before) = (Instant::now(), wire.queries());
    tokio::time::sleep(WINDOW).await;
    let (asked, seconds) = (wire.queries() - before, from.elapsed().as_secs_f64());
    // Where the first of them woke within the window, there is nothing to be said of it.
    if began.elapsed() < rest {
        assert!(asked as f64 <= seconds + 1.0, "{asked} queries in {seconds} s");
    }

    let decide = |i: usize| {
        let (task, client) = (format!("asks-{i}"), &stage.client);
        async move {
            let gate = client.get(&task).await?.subtasks.remove(0).gate.unwrap_or_default();
            client.decide(DecideSubtask::new(task, "gate", "approve").digest(gate.digest).by("ann")).await
        }
    };
    let decided = stream::iter(0..PARKED).map(decide).buffer_unordered(AT_ONCE);
    decided.try_for_each(async |_| Ok(())).await.unwrap();
    until("all of them are completed", || async {
        let completed = ListTasks::new().status(TaskStatus::Completed).page_size(500);
        (stage.client.list_all(completed).count().await == 2 * PARKED).then_some(())
    })
    .await;
}
