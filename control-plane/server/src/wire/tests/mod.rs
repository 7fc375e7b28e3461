//! What is accepted and what is refused, as tables: a request on the left, what becomes of it on the right.
//! What both faces can say is asked of both.

use downbeat_core::{draft::Draft, id::TenantNo, limits, task::Priority, time::Time};
use downbeat_proto::v1::{self as pb, planned_subtask::Does};
use serde_json::{Value, json};

use super::{body, json as documents, problems::refused, request};
use crate::{engine::Submission, failure::Failure};

mod graph;
mod schedule;
mod view;
mod workflow;

const TENANT: TenantNo = TenantNo::DEFAULT;

fn rest(body: &str) -> Result<Submission, Failure> {
    let raw = documents::parse(body.as_bytes()).expect("the test's body is JSON");
    body::submission(TENANT, raw)
}

/// The same request as a proto message.
fn grpc(body: &Value) -> Result<Submission, Failure> {
    let goal = |goal: &Value| pb::Goal { name: text(&goal["name"]), description: text(&goal["description"]) };
    let plan =
        body.get("plan").map(|plan| pb::Plan { subtasks: subtasks(plan), goals: list(&plan["goals"], goal) });
    request::submission(
        TENANT,
        pb::SubmitTaskRequest {
            task_id: text(&body["task_id"]),
            title: text(&body["title"]),
            description: text(&body["description"]),
            priority: priority(&body["priority"]),
            metadata: document(&body["metadata"]),
            execute: false,
            plan,
            deadline_ms: super::times::parse(&text(&body["deadline"])).map_or(0, |at| at.0),
        },
    )
}

fn subtasks(of: &Value) -> Vec<pb::PlannedSubtask> {
    of["subtasks"].as_array().into_iter().flatten().map(subtask).collect()
}

fn subtask(sub: &Value) -> pb::PlannedSubtask {
    pb::PlannedSubtask {
        key: text(&sub["key"]),
        agent: text(&sub["agent"]),
        capabilities: texts(&sub["capabilities"]),
        input: document(&sub["input"]),
        depends_on: texts(&sub["depends_on"]),
        sla_seconds: number(&sub["sla_seconds"]),
        max_attempts: number(&sub["max_attempts"]),
        priority: priority(&sub["priority"]),
        run_if: enumerated("RUN_IF", &sub["run_if"], pb::RunIf::from_str_name),
        when: text(&sub["when"]),
        on_failure: enumerated("ON_FAILURE", &sub["on_failure"], pb::OnFailure::from_str_name),
        retry: sub.get("retry").map(|retry| pb::Retry {
            backoff_seconds: retry.get("backoff_seconds").map(number),
            max_backoff_seconds: retry.get("max_backoff_seconds").map(number),
            non_retryable: texts(&retry["non_retryable"]),
        }),
        fallback: texts(&sub["fallback"]),
        compensate: sub.get("compensate").map(|undo| pb::Compensation {
            agent: text(&undo["agent"]),
            capabilities: texts(&undo["capabilities"]),
            input: document(&undo["input"]),
        }),
        output_schema: sub.get("output_schema").map(Value::to_string).unwrap_or_default(),
        serves: texts(&sub["serves"]),
        context: match &sub["context"] {
            Value::Bool(true) => Some(pb::ContextKeys { all: true, keys: Vec::new() }),
            keys @ Value::Array(_) => Some(pb::ContextKeys { all: false, keys: texts(keys) }),
            _ => None,
        },
        does: does(sub),
    }
}

fn does(sub: &Value) -> Option<Does> {
    let kinds = ["approval", "signal", "timer", "workflow", "group", "map", "loop"];
    let (kind, of) =
        kinds.into_iter().find_map(|kind| Some((kind, sub.get(kind).filter(|of| !of.is_null())?)))?;
    let timeout_seconds = number(&of["timeout_seconds"]);
    Some(match kind {
        "approval" => Does::Approval(pb::Approval {
            message: text(&of["message"]),
            approvers: list(&of["approvers"], |level| pb::Approvers {
                names: texts(&level["names"]),
                roles: texts(&level["roles"]),
            }),
            quorum: number(&of["quorum"]),
            options: list(&of["options"], |option| pb::ApprovalOption {
                name: if option.is_string() { text(option) } else { text(&option["name"]) },
                then: enumerated("OPTION_OUTCOME", &option["then"], pb::OptionOutcome::from_str_name),
            }),
            timeout_seconds,
            on_timeout: enumerated("ON_TIMEOUT", &of["on_timeout"], pb::OnTimeout::from_str_name),
        }),
        "signal" => Does::Signal(pb::SignalGate {
            name: text(&of["name"]),
            matches: text(&of["matches"]),
            timeout_seconds,
        }),
        "timer" => {
            let until = super::times::parse(&text(&of["until"])).map(|at| pb::timer::At::UntilMs(at.0));
            let after = of.get("seconds").map(|seconds| pb::timer::At::Seconds(number(seconds)));
            Does::Timer(pb::Timer { at: after.or(until) })
        }
        "workflow" => Does::Workflow(pb::WorkflowCall {
            name: text(&of["name"]),
            version: number(&of["version"]),
            parameters_from: text(&of["parameters_from"]),
        }),
        "group" => Does::Group(pb::Group { subtasks: subtasks(of) }),
        "map" => Does::Map(pb::Map {
            over: text(&of["over"]),
            max_parallel: number(&of["max_parallel"]),
            failures: match &of["failures"] {
                Value::Object(tolerate) => Some(pb::map::Failures::Tolerate(number(&tolerate["tolerate"]))),
                word if word == "continue" => Some(pb::map::Failures::Continue(true)),
                _ => None,
            },
            subtasks: subtasks(of),
        }),
        _ => Does::Loop(pb::Loop {
            until: text(&of["until"]),
            max_iterations: number(&of["max_iterations"]),
            on_limit: enumerated("ON_LIMIT", &of["on_limit"], pb::OnLimit::from_str_name),
            subtasks: subtasks(of),
        }),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    list(value, text)
}

fn list<T>(value: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(of).collect()
}

fn document(value: &Value) -> bytes::Bytes {
    if value.is_null() { String::new() } else { value.to_string() }.into()
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn priority(word: &Value) -> i32 {
    enumerated("PRIORITY", word, pb::Priority::from_str_name)
}

fn enumerated<T: Default + Into<i32>>(prefix: &str, word: &Value, named: impl Fn(&str) -> Option<T>) -> i32 {
    let name = format!("{prefix}_{}", word.as_str().unwrap_or("unspecified").to_uppercase());
    named(&name).unwrap_or_default().into()
}

#[test]
fn the_example_of_the_contract_is_accepted_as_it_is() {
    let submission = rest(
        r#"{"task_id":"feature-1087","title":"Implement invoice PDF export","description":"Add PDF export support to the billing dashboard including automated regression tests.","priority":"high","metadata":{"repository":"git@github.com:appsmithery/dev-tools.git","requester":"product-management","due_date":"2025-11-22"}}"#,
    )
    .expect("accepted");
    assert_eq!(submission.id, "feature-1087");
    assert_eq!(submission.title, "Implement invoice PDF export");
    assert_eq!(submission.priority, Priority::High);
    assert_eq!(submission.due_at, Some(Time(1_763_855_999_999)));
    assert_eq!(submission.deadline, None);
    assert!(submission.plan.is_none());
    let metadata = r#"{"repository":"git@github.com:appsmithery/dev-tools.git","requester":"product-management","due_date":"2025-11-22"}"#;
    assert_eq!(submission.metadata, metadata.as_bytes());
}

#[test]
fn a_whole_plan_is_read() {
    let body = json!({
        "task_id": "t", "deadline": "2027-01-31T18:00:00Z", "metadata": {"context": {"a": 1}},
        "plan": {"subtasks": [
            {"key": "a", "agent": "code-review", "input": {"n": 1}, "sla_seconds": 60, "max_attempts": 5},
            {"key": "b", "capabilities": ["rust", "test"], "depends_on": ["a"], "priority": "critical"},
        ]},
    });
    for submission in [rest(&body.to_string()), grpc(&body)] {
        let submission = submission.expect("accepted");
        assert_eq!(submission.deadline, Some(Time(1_801_418_400_000)));
        assert_eq!((submission.priority, submission.due_at), (Priority::Normal, None));
        let plan = submission.plan.expect("a plan");
        assert_eq!(
            (plan[0].agent.as_str(), plan[0].sla_seconds, plan[0].max_attempts),
            ("code-review", Some(60), Some(5))
        );
        assert_eq!(plan[0].input.as_ref().map(|input| input.get()), Some(r#"{"n":1}"#));
        assert_eq!(plan[1].capabilities, ["rust", "test"]);
        assert_eq!(
            (plan[1].depends_on.as_slice(), plan[1].priority),
            (&["a".to_owned()][..], Some(Priority::Critical))
        );
        assert!(plan[1].input.is_none());
    }
}

#[test]
fn what_is_wrong_is_told_on_both_faces() {
    let id = "x".repeat(limits::TASK_ID_BYTES + 1);
    let title = "x".repeat(limits::TITLE_BYTES + 1);
    let description = "x".repeat(limits::DESCRIPTION_BYTES + 1);
    let metadata = json!({"a": "x".repeat(limits::METADATA_BYTES - 7)});
    let input = "x".repeat(limits::INPUT_BYTES - 1);
    let deep = (0..limits::JSON_DEPTH).fold(json!(1), |inner, _| json!([inner]));
    let due = "must be an RFC 3339 time or a date, as in `2025-11-22T18:00:00Z` or `2025-11-22`";
    let rows: &[(Value, &[(&str, &str)])] = &[
        (json!({"title": "x"}), &[("task_id", "must not be empty")]),
        (json!({"task_id": id, "title": "x"}), &[("task_id", "at most 200 bytes (TASK_ID_BYTES), got 201")]),
        (
            json!({"task_id": "a\u{7}b", "title": "x"}),
            &[("task_id", "must not hold control characters, got U+0007 at byte 1")],
        ),
        (
            json!({"task_id": "a\u{0}", "title": "x"}),
            &[("task_id", "must not hold control characters, got U+0000 at byte 1")],
        ),
        (
            json!({"task_id": "a\u{85}", "title": "x"}),
            &[("task_id", "must not hold control characters, got U+0085 at byte 1")],
        ),
        (
            json!({"task_id": "t", "title": " ", "description": "\n"}),
            &[("title", "give a title, a description or a plan: there is nothing to plan")],
        ),
        (json!({"task_id": "t", "title": title}), &[("title", "at most 500 bytes (TITLE_BYTES), got 501")]),
        (json!({"task_id": "t", "title": "a\u{0}"}), &[("title", "must not hold \\u0000")]),
        (
            json!({"task_id": "t", "description": description}),
            &[("description", "at most 65536 bytes (DESCRIPTION_BYTES), got 65537")],
        ),
        (json!({"task_id": "t", "description": "\u{0}"}), &[("description", "must not hold \\u0000")]),
        (
            json!({"task_id": "t", "title": "x", "metadata": metadata}),
            &[("metadata", "at most 262144 bytes (METADATA_BYTES), got 262145")],
        ),
        (json!({"task_id": "t", "title": "x", "metadata": [1]}), &[("metadata", "must be an object")]),
        (
            json!({"task_id": "t", "title": "x", "metadata": {"context": 1, "due_date": "soon"}}),
            &[("metadata.context", "must be an object"), ("metadata.due_date", due)],
        ),
        (json!({"task_id": "t", "title": "x", "metadata": {"due_date": 5}}), &[("metadata.due_date", due)]),
        (
            json!({"task_id": "t", "title": "x", "metadata": {"due_date": "2025-02-30"}}),
            &[("metadata.due_date", due)],
        ),
        (
            json!({"task_id": "t", "title": "x", "metadata": {"a": {"b": ["ok", "\u{0}"]}}}),
            &[("metadata.a.b[1]", "must not hold \\u0000")],
        ),
        (
            json!({"task_id": "t", "title": "x", "metadata": {"a": deep}}),
            &[("metadata", "nested more than 100 levels deep (JSON_DEPTH)")],
        ),
        (json!({"task_id": "t", "plan": {}}), &[("plan.subtasks", "must hold at least one subtask")]),
        (
            json!({"task_id": "t", "plan": {"subtasks": [{"key": "a", "agent": "x", "input": {"b": "\u{0}"}}]}}),
            &[("plan.subtasks[0].input.b", "must not hold \\u0000")],
        ),
        (
            json!({"task_id": "t", "plan": {"subtasks": [{"key": "a", "agent": "x", "input": input}]}}),
            &[("plan.subtasks[0].input", "at most 262144 bytes (INPUT_BYTES), got 262145")],
        ),
        (
            json!({"task_id": "t", "plan": {"subtasks": [
                {"key": "a", "agent": "x", "sla_seconds": 4_000_000_000_u32, "max_attempts": 70_000},
            ]}}),
            &[
                (
                    "plan.subtasks[0].sla_seconds",
                    "must be a whole number from 1 to 2592000 (SLA_SECONDS), got 4000000000",
                ),
                (
                    "plan.subtasks[0].max_attempts",
                    "must be a whole number from 1 to 100 (ATTEMPTS), got 70000",
                ),
            ],
        ),
        (
            json!({"task_id": "", "plan": {"subtasks": [
                {"key": "a", "agent": "x", "depends_on": ["a", "b", "b", "c"]},
                {"key": "b", "agent": "x"},
                {"key": "b"},
            ]}}),
            &[
                ("task_id", "must not be empty"),
                ("plan.subtasks[2].agent", "name an agent, or at least one capability"),
                ("plan.subtasks[2].key", "`b` is already the key of plan.subtasks[1]"),
                ("plan.subtasks[0].depends_on[0]", "a subtask cannot depend on itself"),
                ("plan.subtasks[0].depends_on[2]", "`b` is named twice"),
                ("plan.subtasks[0].depends_on[3]", "no subtask of this plan has the key `c`"),
            ],
        ),
    ];
    for (body, expected) in rows {
        let name = super::problems::shown(&body.to_string());
        refused(rest(&body.to_string()), expected, &format!("REST: {name}"));
        refused(grpc(body), expected, &format!("gRPC: {name}"));
    }
}

#[test]
fn one_subtask_more_than_the_limit_is_refused_on_both_faces() {
    let subtask = |i: usize| json!({"key": format!("k{i}"), "agent": "x"});
    let plan =
        |n: usize| json!({"task_id": "t", "plan": {"subtasks": (0..n).map(subtask).collect::<Vec<_>>()}});
    let most = plan(limits::PLAN_SUBTASKS);
    assert!(rest(&most.to_string()).is_ok());
    assert!(grpc(&most).is_ok());
    let over = plan(limits::PLAN_SUBTASKS + 1);
    let expected = [("plan.subtasks", "at most 10000 subtasks (PLAN_SUBTASKS), got 10001")];
    refused(rest(&over.to_string()), &expected, "REST");
    refused(grpc(&over), &expected, "gRPC");
}

#[test]
fn what_only_json_can_get_wrong() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("[]", &[("body", "must be an object, got a list")]),
        ("\"t\"", &[("body", "must be an object, got a string")]),
        (
            r#"{"task_id":1,"title":["x"],"description":true,"priority":3,"metadata":"x"}"#,
            &[
                ("task_id", "must be a string, got a number"),
                ("title", "must be a string, got a list"),
                ("description", "must be a string, got a boolean"),
                ("priority", "must be a string, got a number"),
                ("metadata", "must be an object"),
            ],
        ),
        (
            r#"{"task_id":"t","title":"x","priority":"urgent","deadline":"soon"}"#,
            &[
                ("priority", "must be `low`, `normal`, `high` or `critical`, got `urgent`"),
                ("deadline", "must be an RFC 3339 time, as in `2027-01-31T18:00:00Z`"),
            ],
        ),
        (
            r#"{"task_id":"t","titel":"x","plan":{"subtask":[],"subtasks":[{"key":"a","agent":"x","foo":1,"bar":2}]}}"#,
            &[
                (
                    "titel",
                    "unknown field; known are: task_id, title, description, priority, metadata, plan, deadline",
                ),
                ("plan.subtask", "unknown field; known are: goals, subtasks"),
                (
                    "plan.subtasks[0].foo",
                    "unknown field; known are: key, agent, capabilities, input, output_schema, serves, depends_on, \
                     sla_seconds, max_attempts, \
                     retry, fallback, priority, run_if, when, on_failure, compensate, context, approval, signal, timer, workflow, group, map, \
                     loop",
                ),
                (
                    "plan.subtasks[0].bar",
                    "unknown field; known are: key, agent, capabilities, input, output_schema, serves, depends_on, \
                     sla_seconds, max_attempts, \
                     retry, fallback, priority, run_if, when, on_failure, compensate, context, approval, signal, timer, workflow, group, map, \
                     loop",
                ),
            ],
        ),
        (r#"{"task_id":"t","plan":[]}"#, &[("plan", "must be an object, got a list")]),
        (r#"{"task_id":"t","plan":{"subtasks":{}}}"#, &[("plan.subtasks", "must be a list, got an object")]),
        (
            r#"{"task_id":"t","plan":{"subtasks":[7,{"key":"b","agent":"x","depends_on":["a",5],"capabilities":"x"}]}}"#,
            &[
                ("plan.subtasks[0]", "must be an object, got a number"),
                ("plan.subtasks[1].capabilities", "must be a list, got a string"),
                ("plan.subtasks[1].depends_on[1]", "must be a string, got a number"),
                ("plan.subtasks[1].depends_on[0]", "no subtask of this plan has the key `a`"),
            ],
        ),
        (
            r#"{"task_id":"t","plan":{"subtasks":[{"key":"a","agent":"x","sla_seconds":0,"max_attempts":-1}]}}"#,
            &[
                (
                    "plan.subtasks[0].sla_seconds",
                    "must be a whole number from 1 to 2592000 (SLA_SECONDS), got 0",
                ),
                ("plan.subtasks[0].max_attempts", "must be a whole number from 1 to 100 (ATTEMPTS), got -1"),
            ],
        ),
        (
            r#"{"task_id":"t","plan":{"subtasks":[{"key":"a","agent":"x","sla_seconds":1e99,"max_attempts":2.5}]}}"#,
            &[
                (
                    "plan.subtasks[0].sla_seconds",
                    "must be a whole number from 1 to 2592000 (SLA_SECONDS), got 1e99",
                ),
                ("plan.subtasks[0].max_attempts", "must be a whole number from 1 to 100 (ATTEMPTS), got 2.5"),
            ],
        ),
        (
            r#"{"task_id":"t\ud800","title":"x","metadata":{"a":"\udc00"}}"#,
            &[
                ("task_id", "holds an escaped surrogate without its other half"),
                ("metadata.a", "holds an escaped surrogate without its other half"),
            ],
        ),
        (
            r#"{"task_id":"t","title":"x","metadata":{"n":[1e999]}}"#,
            &[("metadata.n[0]", "holds a number out of range (64-bit floating point)")],
        ),
    ];
    for (body, expected) in rows {
        refused(rest(body), expected, body);
    }
}

#[test]
fn what_only_proto_can_get_wrong() {
    let good = pb::SubmitTaskRequest { task_id: "t".into(), title: "x".into(), ..Default::default() };
    let sub = pb::PlannedSubtask { key: "a".into(), agent: "x".into(), priority: 9, ..Default::default() };
    let bad_input = pb::PlannedSubtask { input: "{".into(), ..sub.clone() };
    let plan = Some(pb::Plan { subtasks: vec![sub, bad_input], goals: Vec::new() });
    let rows: Vec<(pb::SubmitTaskRequest, &[(&str, &str)])> = vec![
        (
            pb::SubmitTaskRequest { priority: 7, deadline_ms: -1, ..good.clone() },
            &[
                ("priority", "must be `low`, `normal`, `high` or `critical`, got the unknown number 7"),
                ("deadline_ms", "must be milliseconds since 1970 in UTC, got -1"),
            ],
        ),
        (
            pb::SubmitTaskRequest { deadline_ms: i64::MAX, ..good.clone() },
            &[("deadline_ms", "must be milliseconds since 1970 in UTC, got 9223372036854775807")],
        ),
        (
            pb::SubmitTaskRequest {
                metadata: bytes::Bytes::from_static(b"{\"a\":\"\xff\"}"),
                ..good.clone()
            },
            &[("metadata", "is not JSON: invalid UTF-8 at line 1 column 7")],
        ),
        (
            pb::SubmitTaskRequest { metadata: "{'a':1}".into(), ..good.clone() },
            &[("metadata", "is not JSON: key must be a string at line 1 column 2")],
        ),
        (
            pb::SubmitTaskRequest { plan, ..good },
            &[
                (
                    "plan.subtasks[0].priority",
                    "must be `low`, `normal`, `high` or `critical`, got the unknown number 9",
                ),
                (
                    "plan.subtasks[1].priority",
                    "must be `low`, `normal`, `high` or `critical`, got the unknown number 9",
                ),
                ("plan.subtasks[1].input", "is not JSON: EOF while parsing an object at line 1 column 1"),
                ("plan.subtasks[1].key", "`a` is already the key of plan.subtasks[0]"),
            ],
        ),
    ];
    for (message, expected) in rows {
        let name = format!("{message:?}");
        refused(request::submission(TENANT, message), expected, &name);
    }
}

#[test]
fn a_repeat_is_recognised_whatever_it_looks_like() {
    let body = json!({
        "task_id": "t", "title": "x", "metadata": {"b": 1, "a": [1, 2]},
        "plan": {"subtasks": [{"key": "k", "agent": "x", "input": {"q": 1, "p": "é"}}]},
    });
    let digest = |submission: Result<Submission, Failure>| submission.expect("accepted").digest;
    let same = [
        rest(&body.to_string()),
        grpc(&body),
        rest(
            r#" { "plan" : {"subtasks":[{"input":{"p":"\u00e9","q":1},"agent":"x","key":"k","depends_on":[]}]},
                "metadata":{"a":[1,2],"b":0,"b":1}, "priority":"normal","title":"x","description":null,"task_id":"t"}"#,
        ),
    ];
    let digests: Vec<[u8; 32]> = same.into_iter().map(digest).collect();
    assert_eq!(digests[0], digests[1], "the faces agree");
    assert_eq!(digests[0], digests[2], "writing does not matter");

    for (pointer, value) in [
        ("/task_id", json!("u")),
        ("/title", json!("y")),
        ("/description", json!("y")),
        ("/priority", json!("low")),
        ("/deadline", json!("2027-01-31T18:00:00Z")),
        ("/metadata", json!({})),
        ("/metadata/a", json!([2, 1])),
        ("/plan/subtasks/0/key", json!("l")),
        ("/plan/subtasks/0/agent", json!("y")),
        ("/plan/subtasks/0/capabilities", json!(["c"])),
        ("/plan/subtasks/0/input", json!({"p": "é", "q": 2})),
        ("/plan/subtasks/0/sla_seconds", json!(5)),
        ("/plan/subtasks/0/max_attempts", json!(3)),
        ("/plan/subtasks/0/priority", json!("normal")),
    ] {
        let mut other = body.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        other.pointer_mut(parent).expect("a parent")[name] = value;
        assert_ne!(digest(rest(&other.to_string())), digests[0], "{pointer} matters");
        assert_eq!(digest(rest(&other.to_string())), digest(grpc(&other)), "{pointer} on both faces");
    }
}

#[test]
fn absent_null_and_empty_are_the_same() {
    let digest = |body: &str| rest(body).expect("accepted").digest;
    let expected = digest(r#"{"task_id":"t","title":"x"}"#);
    for body in [
        r#"{"task_id":"t","title":"x","metadata":{}}"#,
        r#"{"task_id":"t","title":"x","metadata":null,"plan":null,"deadline":null,"priority":null}"#,
        r#"{"task_id":"t","title":"x","description":""}"#,
    ] {
        assert_eq!(digest(body), expected, "{body}");
    }
}
