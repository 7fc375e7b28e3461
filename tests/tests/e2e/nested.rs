//! Tasks within tasks: what begins, what is handed down, and what comes back.

use downbeat_sdk::{ForkTask, ListTasks, proto::TaskStatus};
use downbeat_tests::harness::{
    ControlPlane, Database, Gate, Ledger, Runs, SdkWorker, Stage, served, stage::of_key, until,
};
use serde_json::{Value, json};

async fn staged() -> (Stage, SdkWorker, Ledger) {
    let (stage, ledger) = (Stage::new().await, Ledger::default());
    let worker = SdkWorker::obedient(&stage.plane.grpc, &["maker"], 4, &ledger);
    served(&stage.client, "maker").await;
    (stage, worker, ledger)
}

async fn create(stage: &Stage, name: &str, parameters: Value, subtasks: Value) {
    let schema = json!({"type": "object", "properties": parameters, "required": keys(&parameters)});
    let body = json!({"name": name, "parameters": schema, "plan": {"subtasks": subtasks}});
    stage.post("/v1/workflows", body).await.expect(201);
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().expect("an object").keys().collect()
}

/// `leaf` says what it is given; `branch` has two leaves, of which the second says what the first one said.
async fn tree(stage: &Stage) {
    let say = json!([{"key": "say", "agent": "maker", "input": {"say": {"$param": "word"}}}]);
    create(stage, "leaf", json!({"word": {"type": "string"}}), say).await;
    let leaves = json!([
        {"key": "left", "workflow": {"name": "leaf"}, "input": {"word": {"$param": "word"}}},
        {"key": "right", "depends_on": ["left"],
         "workflow": {"name": "leaf", "parameters_from": "{'word': outputs.left.say + '!'}"}},
    ]);
    create(stage, "branch", json!({"word": {"type": "string"}}), leaves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_of_coordinators_put_results_together() {
    let (stage, _worker, ledger) = staged().await;
    tree(&stage).await;
    let plan = json!([
        {"key": "plan", "agent": "maker", "input": {"say": {"words": [{"word": "a"}, {"word": "b"}]}}},
        {"key": "each", "depends_on": ["plan"],
         "map": {"over": "outputs.plan.words", "subtasks": [{"key": "grow", "workflow": {"name": "branch"}}]}},
        {"key": "all", "agent": "maker", "depends_on": ["each"]},
    ]);
    let body = json!({"task_id": "top", "title": "top", "priority": "high",
        "metadata": {"context": {"team": "red"}, "why": "because"}, "plan": {"subtasks": plan}});
    stage.post("/orchestrate", body).await.expect(201);
    stage.client.execute("top").await.expect("it starts");
    let view = stage.is("top", "completed").await;
    let grown = |word: &str| json!({"left": {"say": word}, "right": {"say": format!("{word}!")}});
    assert_eq!(of_key(&view, "all").unwrap()["outputs"]["outputs"]["each"], json!([grown("a"), grown("b")]));

    let branch = of_key(&view, "each.1").unwrap();
    assert_eq!((&branch["kind"], &branch["state"]), (&json!("workflow"), &json!("completed")));
    let id = branch["inner_task_id"].as_str().expect("it began a task").to_owned();
    let inner = stage.view(&id).await;
    let inside = json!({"task_id": "top", "subtask_id": branch["subtask_id"], "attempt": 1, "depth": 1});
    assert_eq!(inner["inside"], inside);
    assert_eq!(
        (&inner["workflow"], &inner["priority"]),
        (&json!({"name": "branch", "version": 1}), &json!("high"))
    );
    let metadata = json!({"context": {"team": "red", "params": {"word": "b"}}, "why": "because"});
    assert_eq!(inner["metadata"], metadata);
    let right = of_key(&inner, "right").unwrap()["inner_task_id"].as_str().unwrap().to_owned();
    let told = stage.client.get(&right).await.expect("the task of a leaf");
    let inside = told.inside.expect("it is within");
    assert_eq!((inside.task_id, inside.depth, inside.attempt), (id, 2, 1));
    let told = stage.client.get("top").await.expect("the task");
    assert!(told.subtasks.iter().any(|sub| sub.inner_task_id == branch["inner_task_id"].as_str().unwrap()));

    let began: Vec<Value> = stage.history("top").await;
    let began = began.iter().filter(|event| event["code"] == "TASK_BEGUN").count();
    assert_eq!((began, ledger.runs().len()), (2, 1 + 4 + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_begin_says_everything_that_is_wrong_and_is_reviewed() {
    let (stage, _worker, _) = staged().await;
    let say = json!([{"key": "say", "agent": "maker", "input": {"say": {"$param": "word"}}}]);
    let parameters = json!({"word": {"type": "string"}, "count": {"type": "integer"}});
    create(&stage, "leaf", parameters, say).await;
    let call =
        |key: &str, name: &str, input: Value| json!({"key": key, "workflow": {"name": name}, "input": input});
    let plan = json!([
        call("unknown", "nothing", json!({})),
        call("wrong", "leaf", json!({"word": 7, "more": true})),
        {"key": "old", "workflow": {"name": "leaf", "version": 9}, "input": {}, "on_failure": "fail"},
        {"key": "else", "agent": "maker", "depends_on": ["old"], "run_if": "any_failed"},
    ]);
    stage.run("bad", plan).await;
    let unknown = stage.reaches("bad", "unknown", "needs_review").await;
    assert_eq!(
        (&unknown["code"], &unknown["reason"]),
        (&json!("WORKFLOW_UNKNOWN"), &json!("no workflow `nothing`"))
    );
    assert_eq!(unknown["inner_task_id"], Value::Null);
    let wrong = stage.reaches("bad", "wrong", "needs_review").await;
    let reason = wrong["reason"].as_str().unwrap().to_owned();
    assert_eq!(wrong["code"], "INVALID_PARAMETERS");
    for part in ["parameters.word", "parameters.more", "count"] {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    stage.reaches("bad", "else", "completed").await;
    // A retry finds what is there by now.
    let say = json!([{"key": "say", "agent": "maker", "input": {"say": "there"}}]);
    create(&stage, "nothing", json!({}), say).await;
    stage.post("/tasks/bad/subtasks/unknown/retry", json!({})).await.expect(200);
    stage.reaches("bad", "unknown", "completed").await;
    assert_eq!(stage.output("bad", "unknown").await, json!({"say": "there"}));
    let again = json!({"subtasks": ["wrong"], "inputs": {"wrong": {"word": "well", "count": 1}}});
    stage.post("/tasks/bad/rerun", again).await.expect(200);
    stage.reaches("bad", "wrong", "completed").await;
    stage.is("bad", "completed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_comes_up_after_its_attempts() {
    let (stage, _worker, ledger) = staged().await;
    let fails =
        json!([{"key": "break", "agent": "maker", "input": {"fail": "BROKEN"}, "on_failure": "fail"}]);
    create(&stage, "frail", json!({}), fails).await;
    let plan = json!([
        {"key": "it", "workflow": {"name": "frail"}, "max_attempts": 2, "retry": {"backoff_seconds": 0},
         "on_failure": "fail"},
        {"key": "mend", "agent": "maker", "depends_on": ["it"], "run_if": "any_failed"},
    ]);
    stage.run("t", plan).await;
    let view = stage.is("t", "completed").await;
    let it = of_key(&view, "it").unwrap();
    assert_eq!((&it["state"], &it["code"]), (&json!("failed"), &json!("TASK_FAILED")));
    let second = it["inner_task_id"].as_str().unwrap();
    assert!(second.ends_with("::2") && it["reason"].as_str().unwrap().contains(second), "{it}");
    assert_eq!(ledger.runs().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_going_on_and_cancelling_reach_the_workers_within() {
    let (stage, ledger, gate) = (Stage::new().await, Ledger::default(), Gate::closed());
    let worker = SdkWorker::start(&stage.plane.grpc, &["maker"], 1, &ledger, &gate);
    served(&stage.client, "maker").await;
    let two =
        json!([{"key": "one", "agent": "maker"}, {"key": "two", "agent": "maker", "depends_on": ["one"]}]);
    create(&stage, "pair", json!({}), two).await;
    let nest = json!([{"key": "in", "workflow": {"name": "pair"}}]);
    create(&stage, "nest", json!({}), nest).await;
    stage.run("t", json!([{"key": "it", "workflow": {"name": "nest"}}])).await;
    let middle = until("the middle has begun", || async {
        Some(stage.subtask("t", "it").await["inner_task_id"].as_str()?.to_owned())
    })
    .await;
    let inner = until("the inner task has begun", || async {
        Some(stage.subtask(&middle, "in").await["inner_task_id"].as_str()?.to_owned())
    })
    .await;
    stage.reaches(&inner, "one", "running").await;
    stage.post("/tasks/t/pause", json!({})).await.expect(200);
    stage.is(&inner, "paused").await;
    gate.let_through(1);
    stage.reaches(&inner, "two", "ready").await;
    stage.client.execute("t").await.expect("it goes on");
    stage.reaches(&inner, "two", "running").await;
    stage.post("/tasks/t/cancel", json!({"reason": "enough"})).await.expect(200);
    for task in [&middle, &inner] {
        assert_eq!(stage.is(task, "cancelled").await["reason"], "enough", "{task}");
    }
    assert_eq!(stage.subtask(&inner, "two").await["state"], "cancelled");
    assert_eq!(ledger.runs().len(), 2);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_contains_itself_ends_at_the_limit() {
    let (stage, _worker, _) = staged().await;
    let itself = json!([{"key": "again", "workflow": {"name": "endless"}, "on_failure": "fail"}]);
    create(&stage, "endless", json!({}), itself.clone()).await;
    stage.run("t", itself).await;
    stage.is("t", "failed").await;
    let tasks = stage.client.list(ListTasks::new()).await.expect("a list");
    assert_eq!(tasks.tasks.len(), 9);
    assert!(tasks.tasks.iter().all(|task| task.status() == TaskStatus::Failed));
    let last = tasks.tasks.iter().max_by_key(|task| task.task_id.len()).expect("there are tasks");
    let again = stage.subtask(&last.task_id, "again").await;
    assert_eq!(again["code"], "TOO_DEEP");
    assert_eq!(again["reason"], "at most 8 tasks within tasks (NESTING_DEPTH), got 9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_begins_tasks_of_its_own() {
    let (stage, ledger, gate) = (Stage::new().await, Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&stage.plane.grpc, &["maker"], 4, &ledger, &gate);
    served(&stage.client, "maker").await;
    create(&stage, "one", json!({}), json!([{"key": "one", "agent": "maker"}])).await;
    stage.run("t", json!([{"key": "it", "workflow": {"name": "one"}}])).await;
    let inner = until("it has begun", || async {
        Some(stage.subtask("t", "it").await["inner_task_id"].as_str()?.to_owned())
    })
    .await;
    let fork = ForkTask::new("t", "u").execute();
    assert!(!stage.client.fork(fork).await.expect("a fork").existed);
    let other = until("the fork has begun its own", || async {
        Some(stage.subtask("u", "it").await["inner_task_id"].as_str()?.to_owned())
    })
    .await;
    assert_ne!(inner, other);
    gate.open_for_all();
    for task in ["t", "u", &inner, &other] {
        stage.is(task, "completed").await;
    }
    assert_eq!(ledger.runs().len(), 2);
}

/// Each step of what passes between tasks and those within them is cut off somewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_within_tasks_outlive_the_replica() {
    const TASKS: usize = 6;
    let (plane, ledger) = (ControlPlane::start(&Database::postgres()).await, Ledger::default());
    let mut stage = Stage::on(plane);
    let _worker = SdkWorker::obedient(&stage.plane.grpc, &["maker"], 4, &ledger);
    served(&stage.client, "maker").await;
    tree(&stage).await;
    let plan = json!([
        {"key": "grow", "workflow": {"name": "branch"}, "input": {"word": "a"}},
        {"key": "end", "agent": "maker", "depends_on": ["grow"]},
    ]);
    for n in 0..TASKS {
        stage.run(&format!("t{n}"), plan.clone()).await;
        if n % 2 == 1 {
            stage.plane.restart().await;
        }
    }
    for n in 0..TASKS {
        let view = stage.is(&format!("t{n}"), "completed").await;
        let handed = of_key(&view, "end").unwrap()["outputs"]["outputs"]["grow"].clone();
        assert_eq!(handed, json!({"left": {"say": "a"}, "right": {"say": "a!"}}), "t{n}");
    }
    // No task within another one is lost, none is there twice, and each has ended.
    let tasks = stage.client.list(ListTasks::new().page_size(500)).await.expect("a list");
    assert_eq!(tasks.tasks.len(), TASKS * 4);
    assert!(tasks.tasks.iter().all(|task| task.status() == TaskStatus::Completed));
    for task in &tasks.tasks {
        let events = stage.history(&task.task_id).await;
        let ends = events.iter().filter(|event| event["kind"] == "task.completed").count();
        assert_eq!(ends, 1, "{}", task.task_id);
    }
}
