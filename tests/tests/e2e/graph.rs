//! What a plan can say of its subtasks: conditions, what becomes of failures, retries, stand-ins, undoing; and what
//! lint says of a plan.

use downbeat_sdk::{
    Agent, Context, HandlerError, Output, Plan, Subtask,
    proto::{SubtaskState, TaskStatus},
};
use downbeat_tests::harness::{
    ControlPlane, Database, Ledger, Runs, SdkWorker, Stage, served, stage::of_key, until,
};
use serde_json::{Value, json};

async fn staged(agents: &[&str]) -> (Stage, SdkWorker, Ledger) {
    let (stage, ledger) = (Stage::new().await, Ledger::default());
    let worker = SdkWorker::obedient(&stage.plane.grpc, agents, 4, &ledger);
    for agent in agents {
        served(&stage.client, agent).await;
    }
    (stage, worker, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_join_and_what_handles_a_failure_lets_the_task_complete() {
    let (stage, _worker, _) = staged(&["maker"]).await;
    let plan = json!([
        {"key": "check", "agent": "maker", "input": {"say": {"risk": 7}}},
        {"key": "deep", "agent": "maker", "depends_on": ["check"], "when": "outputs.check.risk > 5"},
        {"key": "quick", "agent": "maker", "depends_on": ["check"], "when": "outputs.check.risk <= 5"},
        {"key": "behind", "agent": "maker", "depends_on": ["quick"]},
        {"key": "join", "agent": "maker", "depends_on": ["deep", "quick"], "run_if": "any_succeeded"},
        {"key": "breaks", "agent": "maker", "input": {"fail": "BROKEN"}, "on_failure": "fail"},
        {"key": "after", "agent": "maker", "depends_on": ["breaks"]},
        {"key": "mend", "agent": "maker", "depends_on": ["breaks", "join"], "run_if": "any_failed"},
        {"key": "calm", "agent": "maker", "depends_on": ["join"], "run_if": "any_failed"},
    ]);
    stage.run("branches", plan).await;
    let task = stage.client.wait("branches").await.unwrap();
    assert_eq!(task.status(), TaskStatus::Completed, "{}", task.reason);
    let expected = [
        ("check", "completed", ""),
        ("deep", "completed", ""),
        ("quick", "skipped", "CONDITION_FALSE"),
        ("behind", "skipped", "DEPENDENCIES"),
        ("join", "completed", ""),
        ("breaks", "failed", ""),
        ("after", "skipped", "DEPENDENCIES"),
        ("mend", "completed", ""),
        ("calm", "skipped", "DEPENDENCIES"),
    ];
    let view = stage.view("branches").await;
    for ((key, state, code), sub) in expected.into_iter().zip(&task.subtasks) {
        let shown = of_key(&view, key).unwrap();
        assert_eq!(shown["state"], state, "{shown}");
        assert_eq!(
            (&sub.key[..], SubtaskState::as_str_name(&sub.state())),
            (key, proto_name(state).as_str())
        );
        assert_eq!((shown["code"].as_str().unwrap(), &sub.code[..]), (code, code), "{shown}");
    }
    let join = stage.output("branches", "join").await;
    assert_eq!(join["outputs"]["deep"]["outputs"]["check"]["risk"], 7);
    assert_eq!(join["outputs"]["quick"], Value::Null);
}

fn proto_name(state: &str) -> String {
    format!("SUBTASK_STATE_{}", state.to_ascii_uppercase())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_nobody_tries_again_stand_ins_and_undoing_in_reverse() {
    let (stage, _worker, ledger) = staged(&["maker", "spare", "eraser"]).await;
    let plan = json!([
        {"key": "one", "agent": "maker", "input": {"say": 1}, "compensate": {"agent": "eraser"}},
        {"key": "two", "agent": "maker", "depends_on": ["one"], "input": {"say": 2},
         "compensate": {"agent": "eraser", "input": {"undo": "two"}}},
        // Nobody serves `absent`: the next agent does it.
        {"key": "moved", "agent": "absent", "fallback": ["spare"], "depends_on": ["two"],
         "compensate": {"agent": "eraser", "input": null}},
        {"key": "hopeless", "agent": "maker", "depends_on": ["moved"], "max_attempts": 5, "on_failure": "fail",
         "input": {"fail": "NO_SUCH_FILE", "retryable": true}, "retry": {"non_retryable": ["NO_SUCH_FILE"]}},
        {"key": "tries", "agent": "maker", "depends_on": ["moved"], "max_attempts": 2, "on_failure": "fail",
         "fallback": ["spare"], "input": {"fail": "BUSY", "retryable": true}, "retry": {"backoff_seconds": 0}},
    ]);
    stage.run("undone", plan).await;
    let view = stage.is("undone", "failed").await;
    let sub = |key: &str| of_key(&view, key).unwrap_or_else(|| panic!("no `{key}` in {view}"));
    let attempts = |key: &str| sub(key)["attempts"].as_array().unwrap().len();
    assert_eq!(sub("moved")["state"], "completed");
    assert_eq!(stage.output("undone", "moved").await["agent"], "spare");
    assert_eq!((&sub("hopeless")["state"], attempts("hopeless")), (&json!("failed"), 1));
    // Two by the first agent, then two by the other.
    assert_eq!((&sub("tries")["state"], attempts("tries")), (&json!("failed"), 4));
    let undone: Vec<String> = stage
        .history("undone")
        .await
        .iter()
        .filter(|event| event["kind"] == "subtask.completed")
        .filter_map(|event| event["key"].as_str()?.strip_suffix(".compensation").map(str::to_owned))
        .collect();
    assert_eq!(undone, ["moved", "two", "one"]);
    let told = sub("two.compensation");
    assert_eq!(
        (&told["outputs"]["input"]["undo"], &told["outputs"]["outputs"]["two"]),
        (&json!("two"), &json!(2))
    );
    assert_eq!(ledger.runs().iter().filter(|run| run.subtask.starts_with("eraser")).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lint_tells_everything_at_once() {
    let stage = Stage::new().await;
    let _worker = SdkWorker::obedient(&stage.plane.grpc, &["writer"], 1, &Ledger::default());
    served(&stage.client, "writer").await;
    let lint = async |subtasks: Value| {
        let body = json!({"plan": {"subtasks": subtasks}});
        let answer = stage.post("/plans/lint", body).await.expect(200);
        let list = |name: &str| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let found = answer[name].as_array().expect("a list");
            found.iter().map(|problem| (text(&problem["field"]), text(&problem["issue"]))).collect()
        };
        (list("errors"), list("warnings"))
    };
    let (errors, _) = lint(json!([
        {"key": "a", "agent": "writer", "depends_on": ["c"]},
        {"key": "b", "agent": "writer", "depends_on": ["a"]},
        {"key": "c", "agent": "writer", "depends_on": ["b"]},
        {"key": "review", "agent": "writer"},
        {"key": "last", "agent": "writer", "depends_on": ["reveiw"], "when": "outputs.x >"},
        {"key": "each", "map": {"over": "[1]", "subtasks": [{"key": "in side", "agent": "writer"}]}},
    ]))
    .await;
    let says = |field: &str, issue: &str| {
        assert!(
            errors.iter().any(|(at, told)| at.starts_with(field) && told.contains(issue)),
            "expected {field}: {issue}, got {errors:?}"
        );
    };
    says("plan.subtasks[4].depends_on[0]", "did you mean `review`?");
    says("plan.subtasks[0].depends_on", "a -> c -> b -> a");
    says("plan.subtasks[4].when", "");
    says("plan.subtasks[5].map.subtasks[0].key", "");

    let (errors, warnings) = lint(json!([
        {"key": "a", "agent": "writter"},
        {"key": "b", "agent": "writer", "depends_on": ["a"]},
    ]))
    .await;
    assert_eq!(errors, []);
    let near =
        |(field, issue): &(String, String)| field == "plan.subtasks[0].agent" && issue.contains("`writer`");
    assert!(warnings.iter().any(near), "{warnings:?}");
}

/// One whose agent `judge` declares what it takes and delivers.
fn declaring(stage: &Stage, output: &Value) -> SdkWorker {
    let input =
        json!({"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": false});
    let judge = Agent::new("judge").input_schema(&input).output_schema(output);
    SdkWorker::custom(&stage.plane.grpc, 1, |builder| {
        builder.agent(judge, |_: Context| async { Ok::<_, HandlerError>(Output::from(json!({"score": 3}))) })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_judged_by_what_agents_declare() {
    let stage = Stage::new().await;
    let output = |member: &str| json!({"type": "object", "properties": {member: {"type": "integer"}}, "additionalProperties": false});
    let first = declaring(&stage, &output("score"));
    served(&stage.client, "judge").await;
    let shown = stage.http.get("/agents/judge").await.expect(200);
    assert_eq!(shown["output_schema"], output("score"));
    assert_eq!(shown["input_schema"]["additionalProperties"], false);

    let plan = |when: &str, input: Value| {
        json!([
            {"key": "a", "agent": "judge", "input": input},
            {"key": "b", "agent": "judge", "depends_on": ["a"], "when": when},
        ])
    };
    let wrong = plan("outputs.a.scroe > 2", json!({"text": 3}));
    let found = stage.post("/plans/lint", json!({"plan": {"subtasks": wrong}})).await.expect(200);
    let fields = ["plan.subtasks[0].input.text", "plan.subtasks[1].when"];
    for (error, field) in found["errors"].as_array().expect("a list").iter().zip(fields) {
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!("TYPE")), "{found}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("output_schema")), "{found}");
    }
    assert_eq!(found["errors"].as_array().map(Vec::len), Some(2), "{found}");
    let request =
        |id: &str, subtasks: Value| json!({"task_id": id, "title": id, "plan": {"subtasks": subtasks}});
    let refused = stage.post("/orchestrate", request("wrong", wrong)).await.expect(400);
    assert!(refused.to_string().contains("did you mean `score`?"), "{refused}");

    let right = plan("outputs.a.score > 2", json!({"text": "x"}));
    stage.run("judged", right.clone()).await;
    stage.is("judged", "completed").await;
    let again = || request("kept", right.clone());
    stage.post("/orchestrate", again()).await.expect(201);
    drop(first);
    // What was accepted stays so, whatever the agent declares since; what is new does not.
    let _second = declaring(&stage, &output("points"));
    until("the agent declares something else", || async {
        let shown = stage.http.get("/agents/judge").await.expect(200);
        (shown["output_schema"] == output("points")).then_some(())
    })
    .await;
    stage.post("/orchestrate", again()).await.expect(200);
    stage.post("/orchestrate", request("new", right.clone())).await.expect(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goals_that_nothing_serves_are_told() {
    let stage = Stage::new().await;
    let plan = Plan::new()
        .goal("tested", "Every path was run.")
        .goal("documented", "")
        .subtask(Subtask::new("test").agent("tester").serves("tested"));
    let found = stage.client.lint(plan).await.expect("linted");
    let told: Vec<(&str, &str)> =
        found.warnings.iter().map(|issue| (issue.field.as_str(), issue.code.as_str())).collect();
    assert_eq!(told, [("plan.goals[1]", "GOAL_UNSERVED"), ("plan.subtasks[0].agent", "AGENT_UNKNOWN")]);
    assert!(found.warnings.iter().all(|issue| issue.hint.ends_with('.')), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_grow_on_one_replica_while_the_other_shows_them_and_takes_reviews() {
    let (database, ledger) = (Database::postgres(), Ledger::default());
    let one = Stage::on(ControlPlane::start(&database).await);
    let two = Stage::on(ControlPlane::start(&database).await);
    let _worker = SdkWorker::obedient(&one.plane.grpc, &["maker"], 4, &ledger);
    served(&two.client, "maker").await;
    let plan = json!([
        {"key": "rounds", "loop": {"until": "iteration >= 4", "max_iterations": 9, "subtasks": [
            {"key": "draft", "agent": "maker"},
            {"key": "ok", "depends_on": ["draft"], "approval": {"message": "good?"}},
        ]}},
        {"key": "each", "depends_on": ["rounds"], "map": {"over": "[1, 2, 3]", "max_parallel": 1, "subtasks": [
            {"key": "it", "agent": "maker"},
        ]}},
        {"key": "last", "agent": "maker", "depends_on": ["each"]},
    ]);
    one.run("grows", plan).await;
    for round in 1..=4 {
        // Nodes that this replica did not add, decided here.
        let (key, other) = (format!("rounds.{round}.ok"), if round % 2 == 0 { &one } else { &two });
        let gate = other.reaches("grows", &key, "waiting").await["gate"].clone();
        let choice = json!({"option": "approve", "digest": gate["digest"], "by": "ann"});
        let path = format!("/tasks/grows/subtasks/{key}/decision");
        assert_eq!(other.post(&path, choice).await.expect(200)["state"], "completed");
    }
    two.is("grows", "completed").await;
    assert_eq!(one.view("grows").await, two.view("grows").await);
    assert_eq!(one.history("grows").await, two.history("grows").await);
    assert_eq!(two.output("grows", "each").await.as_array().map(Vec::len), Some(3));
    // The other way round: this one adds what the first one has not seen.
    two.post("/tasks/grows/rerun", json!({"subtasks": ["each"], "by": "bob"})).await.expect(200);
    one.is("grows", "completed").await;
    assert_eq!(one.view("grows").await, two.view("grows").await);
    assert_eq!(ledger.runs().len(), 4 + 2 * (3 + 1));
}
