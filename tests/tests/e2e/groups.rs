//! Maps, loops and groups in groups, and what they deliver.

use downbeat_tests::harness::{Ledger, Runs, SdkWorker, Stage, served, stage::of_key};
use serde_json::{Value, json};

async fn staged(slots: usize) -> (Stage, SdkWorker, Ledger) {
    let (stage, ledger) = (Stage::new().await, Ledger::default());
    let worker = SdkWorker::obedient(&stage.plane.grpc, &["maker"], slots, &ledger);
    served(&stage.client, "maker").await;
    (stage, worker, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_over_a_thousand_elements_keeps_their_order_and_tolerates_a_failure() {
    let (stage, _worker, ledger) = staged(32).await;
    let element = |n: u32| match n {
        500 => json!({"fail": "BROKEN"}),
        _ => json!({"say": n}),
    };
    let list: Vec<Value> = (0..1_000).map(element).collect();
    let body = json!([{"key": "it", "agent": "maker", "max_attempts": 1}]);
    let map = |failures: Value| json!({"over": "outputs.list", "max_parallel": 20, "failures": failures, "subtasks": body});
    let plan = json!([
        {"key": "list", "agent": "maker", "input": {"say": list}},
        {"key": "each", "depends_on": ["list"], "map": map(json!({"tolerate": 1}))},
        {"key": "end", "agent": "maker", "depends_on": ["each"]},
    ]);
    stage.run("wide", plan).await;
    let view = stage.is("wide", "completed").await;
    let output = stage.output("wide", "each").await;
    let expected: Vec<Value> = (0..1_000).map(|n| if n == 500 { Value::Null } else { json!(n) }).collect();
    assert_eq!(output, json!(expected));
    assert_eq!(stage.output("wide", "end").await["outputs"]["each"], json!(expected));
    assert_eq!(ledger.runs().len(), 1 + 1_000 + 1);
    let failed = of_key(&view, "each.500").unwrap();
    assert_eq!(
        (&failed["state"], &failed["nth"], &failed["parent"]),
        (&json!("failed"), &json!(500), &of_key(&view, "each").unwrap()["subtask_id"],)
    );
    // Never more than so many at the same time, in the order of their elements.
    let (mut running, mut begun) = (0_i32, Vec::new());
    for event in stage.history("wide").await {
        if !event["key"].as_str().is_some_and(|key| key.starts_with("each.")) {
            continue;
        }
        match event["kind"].as_str() {
            Some("subtask.leased") => {
                running += 1;
                begun.push(event["key"].clone());
            }
            Some("subtask.completed" | "subtask.failed") => running -= 1,
            _ => {}
        }
        assert!(running <= 20, "{running} at the same time");
    }
    assert_eq!(begun.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_failure_of_a_map_ends_it_and_cancels_the_others() {
    let (stage, _worker, ledger) = staged(1).await;
    let plan = json!([
        {"key": "each", "on_failure": "fail", "map": {
            "over": "[{'say': 1}, {'fail': 'BROKEN'}, {'say': 3}, {'say': 4}]", "max_parallel": 1,
            "subtasks": [{"key": "it", "agent": "maker"}]}},
        {"key": "sorry", "agent": "maker", "depends_on": ["each"], "run_if": "any_failed"},
    ]);
    stage.run("fast", plan).await;
    let view = stage.is("fast", "completed").await;
    let states: Vec<String> = ["each", "each.0", "each.1", "each.2", "each.3", "sorry"]
        .map(|key| of_key(&view, key).unwrap()["state"].as_str().unwrap().to_owned())
        .into();
    assert_eq!(states, ["failed", "completed", "failed", "cancelled", "cancelled", "completed"]);
    assert_eq!(of_key(&view, "each").unwrap()["code"], "TOO_MANY_FAILURES");
    assert_eq!(ledger.runs().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loop_hands_on_what_the_round_before_delivered_and_stops_at_its_limit() {
    let (stage, _worker, _) = staged(4).await;
    let body = json!([
        {"key": "draft", "agent": "maker"},
        {"key": "judge", "agent": "maker", "depends_on": ["draft"]},
    ]);
    let rounds = |until: &str, on_limit: &str| json!({"until": until, "max_iterations": 3, "on_limit": on_limit, "subtasks": body});
    let plan = json!([
        {"key": "brief", "agent": "maker", "input": {"say": "be brief"}},
        {"key": "good", "depends_on": ["brief"], "loop": rounds("outputs.judge.nth >= 2", "fail")},
        {"key": "limit", "loop": rounds("false", "complete")},
        {"key": "breaks", "on_failure": "fail", "loop": rounds("false", "fail")},
        {"key": "sorry", "agent": "maker", "depends_on": ["breaks"], "run_if": "any_failed"},
    ]);
    stage.run("rounds", plan).await;
    let view = stage.is("rounds", "completed").await;
    let sub = |key: &str| of_key(&view, key).unwrap_or_else(|| panic!("no `{key}` in {view}"));
    assert!(of_key(&view, "good.3").is_none(), "two rounds were enough");
    let first = stage.output("rounds", "good.1").await;
    let second = stage.output("rounds", "good.2.draft").await;
    assert_eq!(second["outputs"]["previous"], first);
    assert_eq!((&second["nth"], &first["draft"]["nth"]), (&json!(2), &json!(1)));
    assert_eq!(stage.output("rounds", "good").await, stage.output("rounds", "good.2").await);
    assert_eq!((&sub("limit")["state"], &sub("limit")["code"]), (&json!("completed"), &json!("LOOP_LIMIT")));
    assert_eq!((&sub("breaks")["state"], &sub("breaks")["code"]), (&json!("failed"), &json!("LOOP_LIMIT")));
    stage.history("rounds").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_in_groups_deliver_by_key() {
    let (stage, _worker, _) = staged(4).await;
    let plan = json!([
        {"key": "start", "agent": "maker", "input": {"say": [10, 20]}},
        {"key": "outer", "depends_on": ["start"], "group": {"subtasks": [
            {"key": "each", "depends_on": ["start"], "map": {"over": "outputs.start", "subtasks": [
                {"key": "a", "agent": "maker"},
                {"key": "b", "agent": "maker", "depends_on": ["a"], "when": "item > 10"},
            ]}},
            {"key": "inner", "depends_on": ["each"], "group": {"subtasks": [
                {"key": "c", "agent": "maker", "depends_on": ["each"]},
                {"key": "d", "agent": "maker", "input": {"say": "d"}},
            ]}},
        ]}},
        {"key": "end", "agent": "maker", "depends_on": ["outer"], "when": "outputs.outer.inner.d == 'd'"},
    ]);
    stage.run("nested", plan).await;
    let view = stage.is("nested", "completed").await;
    let outer = stage.output("nested", "outer").await;
    let each = &outer["each"];
    assert_eq!(
        (&each[0]["a"]["item"], &each[0]["a"]["input"], &each[0]["b"]),
        (&json!(10), &json!(10), &Value::Null)
    );
    assert_eq!((&each[1]["b"]["outputs"]["a"]["item"], &each[1]["b"]["nth"]), (&json!(20), &json!(1)));
    assert_eq!(outer["inner"]["d"], "d");
    assert_eq!(&outer["inner"]["c"]["outputs"]["each"], each);
    assert_eq!(stage.output("nested", "end").await["outputs"]["outer"], outer);
    let skipped = of_key(&view, "outer.each.0.b").unwrap();
    assert_eq!((&skipped["state"], &skipped["code"]), (&json!("skipped"), &json!("CONDITION_FALSE")));
    stage.history("nested").await;
}
