//! The contract over HTTP: the issue's own request to its end with stock workers, every route, statuses,
//! errors, the OpenAPI document.

use downbeat_tests::{
    harness::{
        ControlPlane, Database, Http, Notes, RawWorker, Watcher, WorkerProcess, http::Answer,
        raw_worker::lease_of, served, until,
    },
    on_both_databases,
};
use serde_json::{Value, json};

on_both_databases! {
    issues_own_request_runs_with_stock_workers
    every_action_has_its_route
}

/// As it stands in the contract, byte for byte.
const FEATURE: &str = r#"{"task_id":"feature-1087","title":"Implement invoice PDF export","description":"Add PDF export support to the billing dashboard including automated regression tests.","priority":"high","metadata":{"repository":"git@github.com:appsmithery/dev-tools.git","requester":"product-management","due_date":"2025-11-22"}}"#;

/// Every route of the contract.
const ROUTES: &[(&str, &str)] = &[
    ("post", "/orchestrate"),
    ("post", "/execute/{task_id}"),
    ("get", "/tasks"),
    ("get", "/tasks/{task_id}"),
    ("get", "/tasks/{task_id}/events"),
    ("post", "/tasks/{task_id}/cancel"),
    ("post", "/tasks/{task_id}/pause"),
    ("get", "/tasks/{task_id}/subtasks/{subtask_id}/output"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/retry"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/skip"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/fail"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/complete"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/release"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/route"),
    ("post", "/tasks/{task_id}/subtasks/{subtask_id}/decision"),
    ("post", "/tasks/{task_id}/signals/{name}"),
    ("post", "/tasks/{task_id}/rerun"),
    ("post", "/tasks/{task_id}/snapshots"),
    ("get", "/tasks/{task_id}/snapshots"),
    ("get", "/tasks/{task_id}/snapshots/{name}/diff"),
    ("get", "/tasks/{task_id}/context"),
    ("get", "/tasks/{task_id}/context/{key}"),
    ("put", "/tasks/{task_id}/context/{key}"),
    ("delete", "/tasks/{task_id}/context/{key}"),
    ("post", "/tasks/{task_id}/restore"),
    ("post", "/tasks/{task_id}/fork"),
    ("post", "/plans/lint"),
    ("get", "/schemas/plan.json"),
    ("post", "/v1/workflows"),
    ("get", "/v1/workflows"),
    ("get", "/v1/workflows/{name}"),
    ("delete", "/v1/workflows/{name}"),
    ("get", "/v1/workflows/{name}/versions"),
    ("post", "/v1/workflows/{name}/versions"),
    ("get", "/v1/workflows/{name}/diff"),
    ("post", "/v1/workflows/{name}/rollback"),
    ("post", "/v1/workflows/{name}/run"),
    ("get", "/agents"),
    ("get", "/agents/{name}"),
    ("get", "/workers"),
    ("post", "/workers/{session_id}/drain"),
    ("post", "/v1/schedules"),
    ("get", "/v1/schedules"),
    ("get", "/v1/schedules/{name}"),
    ("put", "/v1/schedules/{name}"),
    ("delete", "/v1/schedules/{name}"),
    ("post", "/v1/schedules/{name}/pause"),
    ("post", "/v1/schedules/{name}/resume"),
    ("post", "/v1/schedules/{name}/trigger"),
    ("post", "/v1/schedules/{name}/backfill"),
    ("get", "/v1/schedules/{name}/preview"),
    ("post", "/v1/schedule-preview"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/openapi.json"),
];

async fn issues_own_request_runs_with_stock_workers(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (http, client, notes) = (plane.http(), plane.client(), Notes::new());
    let agents = ["feature-development", "code-review", "testing"];
    let more = ["--agent", "code-review", "--agent", "testing", "--slots", "2", "--domain", "software"];
    let script = "cat > /dev/null; printf '%s %s %s %s\\n' \"$DOWNBEAT_TASK_ID\" \"$DOWNBEAT_SUBTASK_ID\" \
                  \"$DOWNBEAT_LEASE_ID\" \"$DOWNBEAT_ATTEMPT\" >> \"$LEDGER\"; \
                  echo reading >&2; printf '{\"lease\":%s}' \"$DOWNBEAT_LEASE_ID\"";
    let _worker = WorkerProcess::start_script(&plane.grpc, agents[0], &more, &notes, script);
    for agent in agents {
        served(&client, agent).await;
    }
    let planned = http.post_text("/orchestrate", FEATURE).await.expect(201);
    assert_eq!((&planned["task_id"], &planned["status"]), (&json!("feature-1087"), &json!("planned")));
    let ids: Vec<&str> = list(&planned["subtasks"]).iter().map(|sub| text(&sub["subtask_id"])).collect();
    assert!(ids.contains(&"code-review::feature-1087::1"), "{ids:?}");
    for sub in list(&planned["subtasks"]) {
        assert!(agents.contains(&text(&sub["agent"])), "only agents that there are: {sub}");
    }
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("feature-1087");
    let executed = http.post("/execute/feature-1087", &json!({"execution_mode": "auto"})).await.expect(200);
    assert_eq!(executed, json!({"task_id": "feature-1087", "status": "running"}));
    watcher.verify(&notes).await;
    let done = http.get("/tasks/feature-1087").await.expect(200);
    assert_eq!((&done["status"], &done["metrics"]["on_time"]), (&json!("completed"), &json!(false)));
    assert!(done["metrics"]["elapsed_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    let statuses: Vec<&str> =
        list(&done["status_history"]).iter().map(|entry| text(&entry["status"])).collect();
    assert_eq!(statuses, ["planned", "running", "completed"]);
    assert!(done["artifacts"].is_array());
    for sub in list(&done["subtasks"]) {
        assert_eq!(sub["state"], "completed");
        assert!(sub["key"].is_string() && sub["capabilities"].is_array() && sub["depends_on"].is_array());
        let attempt = &sub["attempts"][0];
        assert_eq!((&attempt["attempt"], &attempt["outcome"]), (&json!(1), &json!("completed")));
        assert_eq!(attempt["lease_id"], sub["outputs"]["lease"]);
        for field in ["worker", "started_at", "ended_at"] {
            assert!(attempt[field].is_string(), "{attempt}");
        }
        assert!(attempt["error"].is_null());
    }
    let again = http.post_text("/orchestrate", FEATURE).await.expect(200);
    assert_eq!(again["status"], "completed", "its present status");
    let spaced = FEATURE.replace(":", " : ").replace("git@github.com : ", "git@github.com:");
    http.post_text("/orchestrate", spaced).await.expect(200);
    let other = http.post_text("/orchestrate", FEATURE.replace("high", "low")).await;
    assert_eq!(other.expect(409)["error"]["code"], "TASK_CONFLICT");
}

async fn every_action_has_its_route(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let http = plane.http();
    // Nobody there: 503, with what is blocked.
    let plan = |task: &str| {
        json!({"task_id": task, "title": "by hand", "priority": "critical", "plan": {"subtasks": [
            {"key": "a", "agent": "maker", "capabilities": [], "input": {"x": 1}, "sla_seconds": 60, "max_attempts": 1},
            {"key": "b", "agent": "maker", "depends_on": ["a"], "priority": "low"},
        ]}})
    };
    http.post("/orchestrate", &plan("t-1")).await.expect(201);
    let blocked = http.post("/execute/t-1", &json!({})).await;
    assert!(blocked.header("retry-after").is_some());
    let body = blocked.expect(503);
    assert_eq!((&body["error"]["code"], &body["status"]), (&json!("NO_CAPABLE_AGENT"), &json!("running")));
    assert_eq!(body["blocked"][0]["subtask_id"], "maker::t-1::1");
    assert_eq!(list(&body["blocked"]).len(), 1);
    let events = http.get("/tasks/t-1/events").await.expect(200);
    assert!(list(&events["events"]).iter().any(|event| event["kind"] == "subtask.blocked"), "{events}");

    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 4).await;
    let brief = worker.begin().await;
    worker.fail(lease_of(&brief), "BROKEN", true).await;
    worker.acks(1).await;
    assert_eq!(state(&http, "t-1", 0).await, "needs_review");
    let sub = |action: &str| format!("/tasks/t-1/subtasks/maker%3A%3At-1%3A%3A1/{action}");
    let retried = http.post(&sub("retry"), &json!({})).await.expect(200);
    assert_eq!(retried, json!({"task_id": "t-1", "state": retried["state"].clone()}));
    let brief = worker.begin().await;
    worker.fail(lease_of(&brief), "BROKEN", false).await;
    worker.acks(1).await;
    let done = http.post(&sub("complete"), &json!({"output": {"by": "hand"}})).await.expect(200);
    assert_eq!(done["state"], "completed");
    assert_eq!(http.get(&sub("output")).await.expect(200)["output"], json!({"by": "hand"}));
    worker.begin().await;
    assert_eq!(http.post("/tasks/t-1/pause", &json!({})).await.expect(200)["status"], "paused");
    let cancelled = http.post("/tasks/t-1/cancel", &json!({"reason": "enough"})).await.expect(200);
    assert_eq!(cancelled, json!({"task_id": "t-1", "status": "cancelled"}));
    assert_eq!(http.post("/execute/t-1", &json!({})).await.expect(409)["error"]["code"], "TASK_FINISHED");
    assert_eq!(http.get("/tasks/t-1").await.expect(200)["reason"], "enough");

    http.post("/orchestrate", &plan("t-2")).await.expect(201);
    http.post("/execute/t-2", &json!({"execution_mode": "manual"})).await.expect(200);
    assert_eq!(state(&http, "t-2", 0).await, "waiting");
    let sub = |key: &str, action: &str| format!("/tasks/t-2/subtasks/{key}/{action}");
    assert_eq!(http.post(&sub("a", "release"), &json!({})).await.expect(200)["task_id"], "t-2");
    let brief = worker.begin().await;
    assert_eq!(http.post(&sub("a", "skip"), &json!({})).await.expect(409)["error"]["code"], "SUBTASK_STATE");
    worker.fail(lease_of(&brief), "BROKEN", false).await;
    worker.acks(1).await;
    assert_eq!(http.post(&sub("a", "skip"), &json!({"reason": "no"})).await.expect(200)["state"], "skipped");
    let routed = http.post(&sub("b", "route"), &json!({"agent": "other"})).await.expect(200);
    assert_eq!(routed, json!({"task_id": "t-2", "subtask_id": "maker::t-2::2", "agent": "other"}));
    assert_eq!(http.post(&sub("b", "fail"), &json!({"reason": "no"})).await.expect(200)["state"], "failed");
    assert_eq!(http.get("/tasks/t-2").await.expect(200)["status"], "failed");

    let page = http.get("/tasks?page_size=1&status=failed,cancelled").await.expect(200);
    assert_eq!(page["tasks"][0]["task_id"], "t-2");
    let next =
        format!("/tasks?page_size=1&status=failed,cancelled&page_token={}", text(&page["next_page_token"]));
    let page = http.get(&next).await.expect(200);
    assert_eq!((&page["tasks"][0]["task_id"], &page["next_page_token"]), (&json!("t-1"), &Value::Null));
    assert_eq!(list(&http.get("/tasks?prefix=t-2").await.expect(200)["tasks"]).len(), 1);
    let first = http.get("/tasks/t-2/events?page_size=2").await.expect(200);
    assert_eq!((list(&first["events"]).len(), &first["next_after"]), (2, &json!(2)));
    let rest = http.get("/tasks/t-2/events?after=2").await.expect(200);
    assert_eq!((&rest["events"][0]["number"], &rest["next_after"]), (&json!(3), &Value::Null));

    let agents = http.get("/agents?health=healthy").await.expect(200);
    assert_eq!((&agents["agents"][0]["name"], list(&agents["agents"]).len()), (&json!("maker"), 1));
    for field in ["skills", "domain", "health", "load", "sla_seconds", "capabilities"] {
        assert!(agents["agents"][0].get(field).is_some(), "agents show {field}");
    }
    assert_eq!(http.get("/agents/maker").await.expect(200)["slots"], 4);
    assert_eq!(http.get("/agents/nobody").await.expect(404)["error"]["code"], "NOT_FOUND");
    let workers = http.get("/workers?agent=maker").await.expect(200);
    let session = &workers["workers"][0]["session_id"];
    let drained = http.post(&format!("/workers/{session}/drain"), &json!({})).await.expect(200);
    assert_eq!(drained["state"], "draining");
}

#[tokio::test]
async fn openapi_describes_every_route_and_nothing_else() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let http = plane.http();
    let document = http.get("/openapi.json").await.expect(200);
    assert!(text(&document["openapi"]).starts_with("3."));
    let paths = document["paths"].as_object().expect("paths");
    let described: usize =
        paths.values().map(|path| path.as_object().map_or(0, |methods| methods.len())).sum();
    assert_eq!(described, ROUTES.len(), "{:?}", paths.keys());
    for (method, path) in ROUTES {
        let operation = &document["paths"][path][method];
        assert!(operation["responses"].is_object(), "{method} {path} is not described");
        // What is described is there: never "no such route", and never another method.
        let concrete = path.replace("{session_id}", "1").replace(['{', '}'], "");
        let answer = http.send(&method.to_uppercase(), &concrete, &[], b"").await;
        assert_ne!(code(&answer), "ROUTE_UNKNOWN", "{method} {path}");
        assert_ne!(answer.status, 405, "{method} {path}");
        let wrong = if *method == "get" { "POST" } else { "GET" };
        let described_too = document["paths"][path].get(wrong.to_lowercase()).is_some();
        let answer = http.send(wrong, &concrete, &[], b"").await;
        assert!(described_too || answer.status == 405, "{wrong} {path}: {answer}");
    }
    // References lead somewhere.
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        assert!(schemas.contains_key(name), "no schema {name}");
    }
}

#[tokio::test]
async fn errors_of_the_protocol_are_typed() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let http = plane.http();
    assert_eq!(http.get("/healthz").await.expect(200)["status"], "ok");
    http.get("/readyz").await.expect(200);
    assert_eq!(code(&http.get("/nothing/here").await), "ROUTE_UNKNOWN");
    assert_eq!(http.get("/nothing/here").await.status, 404);
    assert_eq!(http.get("/tasks/").await.status, 404);
    let wrong = http.send("DELETE", "/tasks/t", &[], b"").await;
    assert_eq!((wrong.status, code(&wrong).as_str()), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(http.get("/tasks/nobody").await.expect(404)["error"]["code"], "TASK_UNKNOWN");
    assert_eq!(http.post("/execute/nobody", &json!({})).await.expect(404)["error"]["code"], "TASK_UNKNOWN");
    let large = vec![b' '; 16 * 1024 * 1024 + 1];
    let answer = http.post_text("/orchestrate", &large).await;
    assert_eq!((answer.status, code(&answer).as_str()), (413, "REQUEST_TOO_LARGE"));
    let csv = http.send("POST", "/orchestrate", &[("content-type", "text/csv")], b"a,b").await;
    assert_eq!((csv.status, code(&csv).as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    for body in ["", "{", "[1,", "nonsense", "{}{}"] {
        let answer = http.post_text("/orchestrate", body).await;
        assert_eq!((answer.status, code(&answer).as_str()), (400, "INVALID_JSON"), "{body}");
    }
    for (path, field) in [
        ("/tasks?page_size=0", "page_size"),
        ("/tasks?page_size=501", "page_size"),
        ("/tasks?page_size=x", "page_size"),
        ("/tasks?status=done", "status"),
        ("/tasks?page_token=%00", "page_token"),
        ("/tasks?surprise=1", "surprise"),
        ("/tasks?page_size=1&page_size=2", "page_size"),
        ("/tasks/t/events?after=-1", "after"),
        ("/tasks/t/events?after=99999999999999999999", "after"),
        ("/tasks/t/events?page_size=1001", "page_size"),
        ("/tasks/t?outputs=maybe", "outputs"),
        ("/agents?health=fine", "health"),
        ("/tasks/a%00b", "task_id"),
        ("/tasks/a%0Ab", "task_id"),
        ("/tasks/a%FFb", "task_id"),
    ] {
        let answer = http.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {answer}");
        let (_, fields) = answer.problems();
        assert!(fields.iter().any(|(found, _)| found == field), "{path}: {answer}");
    }
    let long = format!("/tasks/{}", "x".repeat(201));
    assert_eq!(http.get(&long).await.status, 400);
    assert_eq!(http.get(&format!("/tasks/{}", "x".repeat(200))).await.status, 404);
    assert_eq!(http.post("/workers/abc/drain", &json!({})).await.status, 400);
    assert_eq!(http.post("/workers/0/drain", &json!({})).await.status, 400);
    assert_eq!(http.post("/workers/77/drain", &json!({})).await.status, 404);
}

async fn state(http: &Http, task: &str, index: usize) -> String {
    let found = until("the subtask is somewhere to stay", || async {
        let task = http.get(&format!("/tasks/{task}")).await.expect(200);
        let state = text(&task["subtasks"][index]["state"]).to_owned();
        ["needs_review", "waiting"].contains(&state.as_str()).then_some(state)
    });
    found.await
}

fn code(answer: &Answer) -> String {
    answer.problems().0
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("a list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}
