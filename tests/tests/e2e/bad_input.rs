//! Bad requests, in tables: each is refused over REST and over gRPC with the field it is about, all problems
//! at once, and leaves nothing behind.

use downbeat_sdk::{
    ListTasks,
    proto::{
        Plan, PlannedSubtask, SubmitTaskRequest, SubmitTaskResponse, task_service_client::TaskServiceClient,
    },
};
use downbeat_tests::harness::{ControlPlane, Database, Http, soon};
use serde_json::{Value, json};
use tonic::{Code, Status, codegen::http::uri::PathAndQuery};
use tonic_types::StatusExt;

/// A field's path in a refusal, and a part of what is said about it.
type Issue = (&'static str, &'static str);

struct Bad {
    name: &'static str,
    /// What is changed of a good request, as a JSON merge patch; `null` deletes.
    change: Value,
    /// Over REST.
    rest: &'static [Issue],
    /// Over gRPC, where the request can be made at all.
    grpc: &'static [Issue],
}

/// The same on both faces.
fn bad(name: &'static str, change: Value, issues: &'static [Issue]) -> Bad {
    Bad { name, change, rest: issues, grpc: issues }
}

/// Of JSON only.
fn bad_json(name: &'static str, change: Value, rest: &'static [Issue]) -> Bad {
    Bad { name, change, rest, grpc: &[] }
}

fn subtasks(subtasks: Value) -> Value {
    json!({"plan": {"subtasks": subtasks}})
}

fn sub(change: Value) -> Value {
    let mut sub = json!({"key": "a", "agent": "x"});
    merge(&mut sub, &change);
    subtasks(json!([sub]))
}

fn table() -> Vec<Bad> {
    let x = |key: &str, depends_on: &[&str]| json!({"key": key, "agent": "x", "depends_on": depends_on});
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    vec![
        bad(
            "cycle",
            subtasks(json!([x("a", &["c"]), x("b", &["a"]), x("c", &["b"])])),
            &[("plan.subtasks[0].depends_on", "cycle")],
        ),
        bad(
            "cycle behind others",
            subtasks(json!([x("a", &[]), x("b", &["a", "c"]), x("c", &["b"]), x("d", &["c"])])),
            &[("plan.subtasks[1].depends_on", "b")],
        ),
        bad("dangling", subtasks(json!([x("a", &["b"])])), &[("plan.subtasks[0].depends_on[0]", "`b`")]),
        bad(
            "duplicate dependency",
            subtasks(json!([x("a", &[]), x("b", &["a", "a"])])),
            &[("plan.subtasks[1].depends_on[1]", "twice")],
        ),
        bad("self", subtasks(json!([x("a", &["a"])])), &[("plan.subtasks[0].depends_on[0]", "itself")]),
        bad(
            "doubled key",
            subtasks(json!([x("a", &[]), x("a", &[])])),
            &[("plan.subtasks[1].key", "already")],
        ),
        bad(
            "cycle beside another problem",
            subtasks(json!([x("a", &["b"]), x("b", &["a"]), x("c", &["nobody"])])),
            &[("plan.subtasks[2].depends_on[0]", "nobody"), ("plan.subtasks[0].depends_on", "cycle")],
        ),
        bad("empty plan", subtasks(json!([])), &[("plan.subtasks", "at least one")]),
        bad("empty id", json!({"task_id": ""}), &[("task_id", "empty")]),
        bad("over-long id", json!({"task_id": "i".repeat(201)}), &[("task_id", "200")]),
        bad("over-long id in bytes", json!({"task_id": "ü".repeat(101)}), &[("task_id", "200")]),
        bad("bell in id", json!({"task_id": "a\u{7}b"}), &[("task_id", "control")]),
        bad("newline in id", json!({"task_id": "a\nb"}), &[("task_id", "control")]),
        bad("delete in id", json!({"task_id": "a\u{7f}"}), &[("task_id", "control")]),
        bad("NUL in id", json!({"task_id": "a\0b"}), &[("task_id", "")]),
        bad("NUL in title", json!({"title": "a\0b"}), &[("title", "u0000")]),
        bad("NUL in description", json!({"description": "\0"}), &[("description", "u0000")]),
        bad(
            "NUL deep in metadata",
            json!({"metadata": {"a": [{"b": "\0"}]}}),
            &[("metadata.a[0].b", "u0000")],
        ),
        bad("NUL in a key of metadata", json!({"metadata": {"\0": 1}}), &[("metadata", "u0000")]),
        bad("NUL in input", sub(json!({"input": ["\0"]})), &[("plan.subtasks[0].input[0]", "u0000")]),
        bad("NUL in a subtask's key", sub(json!({"key": "\0"})), &[("plan.subtasks[0].key", "")]),
        bad("over-long title", json!({"title": "t".repeat(501)}), &[("title", "TITLE_BYTES")]),
        bad("over-long key", sub(json!({"key": "k".repeat(101)})), &[("plan.subtasks[0].key", "NAME_BYTES")]),
        bad("a key of spaces", sub(json!({"key": "a b"})), &[("plan.subtasks[0].key", "")]),
        bad("a key of umlauts", sub(json!({"key": "ä"})), &[("plan.subtasks[0].key", "")]),
        bad("an agent with a slash", sub(json!({"agent": "a/b"})), &[("plan.subtasks[0].agent", "")]),
        bad("nobody to do it", sub(json!({"agent": null})), &[("plan.subtasks[0].agent", "")]),
        bad(
            "a tag that is none",
            sub(json!({"capabilities": ["ok", "not ok"]})),
            &[("plan.subtasks[0].capabilities[1]", "")],
        ),
        bad(
            "too many tags",
            sub(json!({"capabilities": (0..65).map(|i| format!("t{i}")).collect::<Vec<_>>()})),
            &[("plan.subtasks[0].capabilities", "64")],
        ),
        bad(
            "SLA of 31 days",
            sub(json!({"sla_seconds": 31 * 24 * 3600})),
            &[("plan.subtasks[0].sla_seconds", "SLA_SECONDS")],
        ),
        bad("101 attempts", sub(json!({"max_attempts": 101})), &[("plan.subtasks[0].max_attempts", "100")]),
        bad_json("SLA of zero", sub(json!({"sla_seconds": 0})), &[("plan.subtasks[0].sla_seconds", "")]),
        bad_json("SLA below zero", sub(json!({"sla_seconds": -1})), &[("plan.subtasks[0].sla_seconds", "")]),
        bad_json("half an SLA", sub(json!({"sla_seconds": 1.5})), &[("plan.subtasks[0].sla_seconds", "")]),
        bad_json(
            "SLA beyond 64 bits",
            sub(json!({"sla_seconds": 1e30})),
            &[("plan.subtasks[0].sla_seconds", "")],
        ),
        bad_json("no attempts", sub(json!({"max_attempts": 0})), &[("plan.subtasks[0].max_attempts", "")]),
        bad("deep metadata", json!({"metadata": {"a": nested(100)}}), &[("metadata", "JSON_DEPTH")]),
        bad("deep input", sub(json!({"input": nested(101)})), &[("plan.subtasks[0].input", "JSON_DEPTH")]),
        bad("metadata that is a list", json!({"metadata": []}), &[("metadata", "object")]),
        bad(
            "context that is a text",
            json!({"metadata": {"context": "x"}}),
            &[("metadata.context", "object")],
        ),
        bad("due on no day", json!({"metadata": {"due_date": "2025-02-30"}}), &[("metadata.due_date", "")]),
        bad("due on a number", json!({"metadata": {"due_date": 5}}), &[("metadata.due_date", "")]),
        bad_json("a deadline in words", json!({"deadline": "tomorrow"}), &[("deadline", "RFC 3339")]),
        bad_json("a deadline in numbers", json!({"deadline": 5}), &[("deadline", "string")]),
        bad_json("priority urgent", json!({"priority": "urgent"}), &[("priority", "`critical`")]),
        bad_json("priority 3", json!({"priority": 3}), &[("priority", "string")]),
        bad_json("a title of numbers", json!({"title": 5}), &[("title", "string")]),
        bad_json("a plan of lists", json!({"plan": []}), &[("plan", "object")]),
        bad_json("subtasks of numbers", subtasks(json!([1])), &[("plan.subtasks[0]", "object")]),
        bad_json("unknown field", json!({"surprise": 1}), &[("surprise", "unknown")]),
        bad_json(
            "unknown field of a plan",
            json!({"plan": {"surprise": 1}}),
            &[("plan.surprise", "unknown")],
        ),
        bad_json(
            "unknown field of a subtask",
            sub(json!({"needs": []})),
            &[("plan.subtasks[0].needs", "unknown")],
        ),
        bad(
            "everything at once",
            json!({"task_id": "", "title": "\0", "metadata": {"due_date": "never"}, "plan": {"subtasks": [
                {"key": "a b", "agent": "x"}, {"key": "b", "agent": "x", "depends_on": ["b", "q"], "max_attempts": 999},
            ]}}),
            &[
                ("task_id", ""),
                ("title", ""),
                ("metadata.due_date", ""),
                ("plan.subtasks[0].key", ""),
                ("plan.subtasks[1].depends_on[0]", ""),
                ("plan.subtasks[1].depends_on[1]", ""),
                ("plan.subtasks[1].max_attempts", ""),
            ],
        ),
    ]
}

fn good() -> Value {
    json!({"task_id": "bad", "title": "A title", "plan": {"subtasks": [{"key": "a", "agent": "x"}]}})
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_fields_on_both_faces() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let (http, mut grpc) = (plane.http(), TaskServiceClient::new(plane.channel()));
    let mut wrong = Vec::new();
    for Bad { name, change, rest, grpc: over_grpc } in table() {
        let mut request = good();
        merge(&mut request, &change);
        let answer = http.post("/orchestrate", &request).await;
        let (code, fields) = answer.problems();
        if (answer.status, code.as_str()) != (400, "INVALID_REQUEST") {
            wrong.push(format!("REST, {name}: {answer}"));
        }
        wrong.extend(missing(rest, &fields).map(|issue| format!("REST, {name}: no {issue} in {fields:?}")));
        if over_grpc.is_empty() {
            continue;
        }
        let status = match grpc.submit_task(proto(&request)).await {
            Ok(answer) => {
                wrong.push(format!("gRPC, {name}: accepted {answer:?}"));
                continue;
            }
            Err(status) => status,
        };
        let (reason, fields) = problems(&status);
        if (status.code(), reason.as_str()) != (Code::InvalidArgument, "INVALID_REQUEST") {
            wrong.push(format!("gRPC, {name}: {status:?}"));
        }
        wrong.extend(
            missing(over_grpc, &fields).map(|issue| format!("gRPC, {name}: no {issue} in {fields:?}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_was_left_behind(&plane).await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let http = plane.http();
    let raw = |text: &str| text.as_bytes().to_vec();
    let million = 1_000_000;
    for (name, body) in [
        ("invalid UTF-8", b"{\"task_id\":\"a\xffb\",\"title\":\"t\"}".to_vec()),
        ("half a character", b"{\"task_id\":\"\xc3\",\"title\":\"t\"}".to_vec()),
        ("an encoded surrogate", b"{\"task_id\":\"\xed\xa0\x80\",\"title\":\"t\"}".to_vec()),
        ("a raw control character", raw("{\"task_id\":\"a\u{1}b\",\"title\":\"t\"}")),
        ("a raw NUL", raw("{\"task_id\":\"a\0b\",\"title\":\"t\"}")),
        ("a byte order mark", raw("\u{feff}{\"task_id\":\"a\",\"title\":\"t\"}")),
        ("single quotes", raw("{'task_id':'a'}")),
        ("a trailing comma", raw("{\"task_id\":\"a\",}")),
        ("NaN", raw("{\"task_id\":\"bad\",\"title\":\"t\",\"metadata\":{\"a\":NaN}}")),
        (
            "a number of 2 MB",
            raw(&format!("{{\"task_id\":\"bad\",\"metadata\":{}}}", "9".repeat(2 * million))),
        ),
        ("a million brackets", raw(&"[".repeat(million))),
        ("a million nested objects", raw(&"{\"a\":".repeat(million))),
        ("a number out of range", raw("{\"task_id\":\"bad\",\"title\":\"t\",\"metadata\":{\"a\":1e999}}")),
        ("half a surrogate", raw("{\"task_id\":\"bad\",\"title\":\"\\ud800\"}")),
        (
            "half a surrogate in metadata",
            raw("{\"task_id\":\"bad\",\"title\":\"t\",\"metadata\":{\"a\":\"\\udc00\"}}"),
        ),
        ("null", raw("null")),
        ("a list", raw("[]")),
        ("a text", raw("\"x\"")),
    ] {
        let answer = http.post_text("/orchestrate", body).await;
        assert_eq!(answer.status, 400, "{name}: {answer}");
        let (code, _) = answer.problems();
        assert!(["INVALID_JSON", "INVALID_REQUEST"].contains(&code.as_str()), "{name}: {answer}");
    }
    for (path, body) in [
        ("/execute/t", "{\"execution_mode\":\"fast\"}"),
        ("/execute/t", "{\"checkpoints\":\"a\"}"),
        ("/execute/t", "{\"surprise\":1}"),
        ("/tasks/t/cancel", "{\"reason\":5}"),
        ("/tasks/t/cancel", "{\"reason\":\"\\u0000\"}"),
        ("/tasks/t/pause", "{\"surprise\":1}"),
        ("/tasks/t/subtasks/s/complete", "{}"),
        ("/tasks/t/subtasks/s/complete", "{\"output\":\"\\u0000\"}"),
        ("/tasks/t/subtasks/s/route", "{\"agent\":\"\"}"),
        ("/tasks/t/subtasks/s/route", "[]"),
    ] {
        let answer = http.post_text(path, body).await;
        assert_eq!(
            (answer.status, answer.problems().0.as_str()),
            (400, "INVALID_REQUEST"),
            "{path} {body}: {answer}"
        );
    }
    nothing_was_left_behind(&plane).await;
}

/// A request whose texts may be any bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct RawSubmit {
    #[prost(bytes = "vec", tag = "1")]
    task_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    metadata: Vec<u8>,
}

#[tokio::test]
async fn grpc_refuses_what_proto_does_not_allow() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let send = |request: RawSubmit| {
        let channel = plane.channel();
        async move {
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.expect("a connection");
            let codec = tonic_prost::ProstCodec::<RawSubmit, SubmitTaskResponse>::default();
            let path = PathAndQuery::from_static("/downbeat.v1.TaskService/SubmitTask");
            soon("an answer", grpc.unary(tonic::Request::new(request), path, codec)).await.unwrap_err()
        }
    };
    let status = send(RawSubmit { task_id: b"a\xff".to_vec(), metadata: Vec::new() }).await;
    assert_eq!(
        (status.code(), problems(&status).0.as_str()),
        (Code::InvalidArgument, "INVALID_MESSAGE"),
        "{status:?}"
    );
    for metadata in [&b"{\"a\":\"\xff\"}"[..], b"{", b"\0", b"{} {}", b"5"] {
        let status = send(RawSubmit { task_id: b"bad".to_vec(), metadata: metadata.to_vec() }).await;
        let (reason, fields) = problems(&status);
        assert_eq!(
            (status.code(), reason.as_str()),
            (Code::InvalidArgument, "INVALID_REQUEST"),
            "{status:?}"
        );
        assert!(fields.iter().any(|(field, _)| field == "metadata"), "{fields:?}");
    }
    let mut grpc = TaskServiceClient::new(plane.channel());
    let mut request = proto(&good());
    (request.priority, request.deadline_ms) = (9, -1);
    let status = grpc.submit_task(request).await.unwrap_err();
    let fields: Vec<String> = problems(&status).1.into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["priority", "deadline_ms"]);
    nothing_was_left_behind(&plane).await;
}

async fn nothing_was_left_behind(plane: &ControlPlane) {
    let tasks = plane.client().list(ListTasks::new()).await.unwrap().tasks;
    assert!(tasks.is_empty(), "{tasks:?}");
    let http: Http = plane.http();
    http.post("/orchestrate", &good()).await.expect(201);
}

fn missing<'a>(expected: &'a [Issue], found: &'a [(String, String)]) -> impl Iterator<Item = String> + 'a {
    let is_there =
        |(field, part): &&Issue| !found.iter().any(|(f, issue)| f == field && issue.contains(part));
    expected.iter().filter(is_there).map(|(field, part)| format!("{field} with {part:?}"))
}

/// The stable reason of a refusal, and the fields it names.
fn problems(status: &Status) -> (String, Vec<(String, String)>) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    (reason, fields.into_iter().map(|violation| (violation.field, violation.description)).collect())
}

/// The request of REST as one of gRPC.
fn proto(request: &Value) -> SubmitTaskRequest {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let json = |value: &Value| if value.is_null() { Default::default() } else { value.to_string().into() };
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let subtask = |sub: &Value| PlannedSubtask {
        key: text(&sub["key"]),
        agent: text(&sub["agent"]),
        capabilities: texts(&sub["capabilities"]),
        input: json(&sub["input"]),
        depends_on: texts(&sub["depends_on"]),
        sla_seconds: number(&sub["sla_seconds"]),
        max_attempts: number(&sub["max_attempts"]),
        ..Default::default()
    };
    let subtasks = request["plan"]["subtasks"].as_array().map(|subs| subs.iter().map(subtask).collect());
    SubmitTaskRequest {
        task_id: text(&request["task_id"]),
        title: text(&request["title"]),
        description: text(&request["description"]),
        metadata: json(&request["metadata"]),
        plan: subtasks.map(|subtasks| Plan { subtasks, goals: Vec::new() }),
        ..Default::default()
    }
}

/// RFC 7396.
fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (name, value) in change {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, change) => *target = change.clone(),
    }
}
