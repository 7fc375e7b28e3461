//! Limits: what lies exactly on them is taken, one more is refused with the limit's name and value.

use downbeat_sdk::{
    Plan, SubmitTask, Subtask,
    proto::{GetTaskRequest, TaskStatus, task_service_client::TaskServiceClient},
};
use downbeat_tests::{
    harness::{ControlPlane, Database, Gate, Ledger, SdkWorker, Watcher, plans::fan, served, soon},
    on_both_databases,
};
use serde_json::{Value, json};

on_both_databases! {
    plan_of_ten_thousand_subtasks_runs_and_one_more_is_refused
    payloads_on_the_limit_are_taken_and_one_byte_more_refused
}

const SUBTASKS: usize = 10_000;

async fn plan_of_ten_thousand_subtasks_runs_and_one_more_is_refused(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, http) = (plane.impatient_client(), plane.http());
    let subs = |count: usize| -> Vec<Value> {
        (0..count).map(|i| json!({"key": format!("k{i}"), "agent": "nobody"})).collect()
    };
    let body = |count: usize| json!({"task_id": "wide", "title": "wide", "plan": {"subtasks": subs(count)}});
    let refused = http.post("/orchestrate", &body(SUBTASKS + 1)).await;
    let (code, fields) = refused.problems();
    assert_eq!((refused.status, code.as_str()), (400, "INVALID_REQUEST"));
    let named = |(field, issue): &(String, String)| {
        field == "plan.subtasks"
            && issue.contains("10000")
            && issue.contains("PLAN_SUBTASKS")
            && issue.contains("10001")
    };
    assert!(fields.iter().any(named), "{fields:?}");
    let refused = client.submit(fan("wide-2", "nobody", SUBTASKS + 1)).await.unwrap_err();
    assert_eq!(refused.reason(), Some("INVALID_REQUEST"));
    assert!(refused.to_string().contains("PLAN_SUBTASKS"), "{refused}");

    let planned = http.post("/orchestrate", &body(SUBTASKS)).await.expect(201);
    assert_eq!(planned["subtasks"].as_array().map(Vec::len), Some(SUBTASKS));
    assert_eq!(
        http.post("/execute/wide", &json!({})).await.expect(503)["blocked"].as_array().map(Vec::len),
        Some(SUBTASKS)
    );
    assert_eq!(http.post("/tasks/wide/cancel", &json!({})).await.expect(200)["status"], "cancelled");
    // One that is wide, and runs: the graph is joined at its end.
    let ledger = Ledger::default();
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 1_000, &ledger, &Gate::open());
    served(&client, "maker").await;
    let width = SUBTASKS - 1;
    let ends = Subtask::new("end").agent("maker").depends_on((0..width).map(|i| format!("s{i}")));
    let subtasks = (0..width).map(|i| Subtask::new(format!("s{i}")).agent("maker"));
    let plan = Plan::new().subtasks(subtasks).subtask(ends);
    client.submit(SubmitTask::new("joined").title("joined").plan(plan)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("joined");
    client.execute("joined").await.unwrap();
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let end: Value = serde_json::from_slice(&task.subtasks[width].output).unwrap();
    assert_eq!(end["value"], width);
}

async fn payloads_on_the_limit_are_taken_and_one_byte_more_refused(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, http) = (plane.impatient_client(), plane.http());
    let text = |bytes: usize| "x".repeat(bytes);
    // Of a JSON text with quotes around it.
    let quoted = |bytes: usize| json!(text(bytes - 2));
    let body = |id: &str, change: (&str, Value)| {
        let mut body =
            json!({"task_id": id, "title": "t", "plan": {"subtasks": [{"key": "a", "agent": "x"}]}});
        match change {
            ("input", value) => body["plan"]["subtasks"][0]["input"] = value,
            ("key", value) => body["plan"]["subtasks"][0]["key"] = value,
            (field, value) => body[field] = value,
        }
        body
    };
    let metadata = |bytes: usize| json!({"a": text(bytes - "{\"a\":\"\"}".len())});
    type Make<'a> = &'a dyn Fn(usize) -> Value;
    let plain = |bytes: usize| json!(text(bytes));
    let rows: [(&str, &str, usize, &str, Make<'_>); 5] = [
        ("title", "title", 500, "TITLE_BYTES", &plain),
        ("description", "description", 64 * 1024, "DESCRIPTION_BYTES", &plain),
        ("metadata", "metadata", 256 * 1024, "METADATA_BYTES", &metadata),
        ("input", "plan.subtasks[0].input", 256 * 1024, "INPUT_BYTES", &quoted),
        ("key", "plan.subtasks[0].key", 100, "NAME_BYTES", &plain),
    ];
    for (name, field, limit, limit_name, value) in rows {
        http.post("/orchestrate", &body(name, (name, value(limit)))).await.expect(201);
        let over = http.post("/orchestrate", &body("over", (name, value(limit + 1)))).await;
        let (_, fields) = over.problems();
        let told = |(found, issue): &(String, String)| {
            found == field && issue.contains(limit_name) && issue.contains(&limit.to_string())
        };
        assert!(over.status == 400 && fields.iter().any(told), "{name}: {over}");
    }
    http.post("/orchestrate", &body(&text(200), ("title", json!("t")))).await.expect(201);
    // A whole request: white space counts.
    let request_bytes_max = 16 * 1024 * 1024;
    let padded = |id: &str, bytes: usize| {
        let mut body = body(id, ("title", json!("t"))).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        body
    };
    http.post_text("/orchestrate", padded("padded", request_bytes_max)).await.expect(201);
    let over = http.post_text("/orchestrate", padded("over", request_bytes_max + 1)).await;
    assert_eq!((over.status, over.problems().0.as_str()), (413, "REQUEST_TOO_LARGE"));

    // Over gRPC: many inputs on their own limit, and then one request too many bytes.
    let inputs = |id: &str, count: usize| {
        let sub = |i: usize| Subtask::new(format!("s{i}")).agent("x").input(&quoted(256 * 1024));
        SubmitTask::new(id).title("large").plan(Plan::new().subtasks((0..count).map(sub)))
    };
    client.submit(inputs("large", 63)).await.unwrap();
    let mut raw = TaskServiceClient::new(plane.channel()).max_decoding_message_size(64 << 20);
    let status = raw.submit_task(inputs("over", 65).into_request().unwrap()).await.unwrap_err();
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert_eq!(
        details.error_info().map(|info| info.reason.as_str()),
        Some("REQUEST_TOO_LARGE"),
        "{status:?}"
    );
    let sdk = client.submit(inputs("over", 65)).await.unwrap_err();
    assert!(matches!(sdk, downbeat_sdk::Error::TooLarge { .. }), "refused before it is sent: {sdk}");
    let unknown = GetTaskRequest { task_id: "over".into(), ..Default::default() };
    assert_eq!(soon("an answer", raw.get_task(unknown)).await.unwrap_err().code(), tonic::Code::NotFound);
}
