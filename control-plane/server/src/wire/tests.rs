//! What is accepted and what is refused, as tables: a request on the left, what becomes of it on the right.
//! What both faces can say is asked of both.

use downbeat_core::{draft::Draft, id::TenantNo, limits, task::Priority, time::Time};
use downbeat_proto::v1::{self as pb, planned_subtask::Does};
use serde_json::{Value, json};

use super::{body, json as documents, problems::refused, request};
use crate::{engine::Submission, failure::Failure};

const TENANT: TenantNo = TenantNo::DEFAULT;

fn rest(body: &str) -> Result<Submission, Failure> {
    let raw = documents::parse(body.as_bytes()).expect("the test's body is JSON");
    body::submission(TENANT, raw)
}

/// The same request as a proto message.
fn grpc(body: &Value) -> Result<Submission, Failure> {
    let plan = body.get("plan").map(|plan| pb::Plan { subtasks: subtasks(plan) });
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
        does: does(sub),
    }
}

fn does(sub: &Value) -> Option<Does> {
    let kinds = ["approval", "signal", "timer", "group", "map", "loop"];
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
                ("plan.subtask", "unknown field; known are: subtasks"),
                (
                    "plan.subtasks[0].foo",
                    "unknown field; known are: key, agent, capabilities, input, depends_on, sla_seconds, max_attempts, \
                     retry, fallback, priority, run_if, when, on_failure, compensate, approval, signal, timer, group, map, \
                     loop",
                ),
                (
                    "plan.subtasks[0].bar",
                    "unknown field; known are: key, agent, capabilities, input, depends_on, sla_seconds, max_attempts, \
                     retry, fallback, priority, run_if, when, on_failure, compensate, approval, signal, timer, group, map, \
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
    let plan = Some(pb::Plan { subtasks: vec![sub, bad_input] });
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

/// A plan with one of everything, nested.
fn of_every_kind() -> Value {
    json!({"task_id": "t", "plan": {"subtasks": [
        {"key": "draft", "agent": "writer", "fallback": ["editor"],
         "retry": {"backoff_seconds": 5, "max_backoff_seconds": 60, "non_retryable": ["NO_FILE"]},
         "compensate": {"agent": "eraser", "capabilities": ["rm"], "input": {"all": true}}},
        {"key": "ok", "depends_on": ["draft"], "run_if": "all_done", "when": "outputs.draft.risk > 3",
         "on_failure": "fail",
         "approval": {"message": "Ship?", "approvers": [{"names": ["ann"], "roles": ["lead"]}, {"names": ["bo"]}],
                      "quorum": 2, "options": [{"name": "ship", "then": "complete"}, {"name": "stop", "then": "fail"}],
                      "timeout_seconds": 3600, "on_timeout": "reject"}},
        {"key": "deployed", "signal": {"name": "deployed", "matches": "signal.env == 'prod'", "timeout_seconds": 60}},
        {"key": "rest", "timer": {"seconds": 30}},
        {"key": "year", "timer": {"until": "2027-01-01T00:00:00Z"}},
        {"key": "both", "depends_on": ["draft"], "group": {"subtasks": [
            {"key": "left", "agent": "a", "depends_on": ["draft"]},
            {"key": "each", "depends_on": ["left"],
             "map": {"over": "outputs.left.items", "max_parallel": 10, "failures": {"tolerate": 3}, "subtasks": [
                {"key": "polish", "loop": {
                    "until": "outputs.review.ok", "max_iterations": 5, "on_limit": "complete",
                    "subtasks": [{"key": "review", "agent": "b", "input": {"b": 1, "a": 2}}],
                }},
             ]}},
        ]}},
    ]}})
}

#[test]
fn everything_a_plan_can_hold_is_read_the_same_on_both_faces() {
    let body = of_every_kind();
    let (rest, grpc) = (rest(&body.to_string()).expect("accepted"), grpc(&body).expect("accepted"));
    assert_eq!(rest.digest, grpc.digest);
    assert_eq!(format!("{:?}", rest.plan), format!("{:?}", grpc.plan));
    let plan = rest.plan.expect("a plan");
    let told = |drafts: &[Draft]| format!("{drafts:?}");
    for part in [
        r#"fallback: ["editor"]"#,
        r#"Retry { backoff_seconds: Some(5), max_backoff_seconds: Some(60), non_retryable: ["NO_FILE"] }"#,
        r#"Compensate { agent: "eraser", capabilities: ["rm"], input: Some(RawValue({"all":true})) }"#,
        r#"run_if: AllDone, when: Some("outputs.draft.risk > 3"), on_failure: Some(Fail)"#,
        r#"approvers: [Approvers { names: ["ann"], roles: ["lead"] }, Approvers { names: ["bo"], roles: [] }]"#,
        r#"options: [Choice { name: "ship", then: Complete }, Choice { name: "stop", then: Fail }]"#,
        r#"timeout_seconds: Some(3600), on_timeout: Reject"#,
        r#"SignalGate { name: "deployed", matches: Some("signal.env == 'prod'"), timeout_seconds: Some(60) }"#,
        "Timer(Seconds(30))",
        "Timer(Until(Time(1798761600000)))",
        r#"Map { over: "outputs.left.items", max_parallel: Some(10), failures: Tolerate(3)"#,
        r#"Loop { until: "outputs.review.ok", max_iterations: 5, on_limit: Complete"#,
        r#"input: Some(RawValue({"a":2,"b":1}))"#,
    ] {
        assert!(told(&plan).contains(part), "{part} is not in {}", told(&plan));
    }
}

#[test]
fn what_a_plan_leaves_out_is_the_same_as_saying_it() {
    let digest = |body: &Value| rest(&body.to_string()).expect("accepted").digest;
    let plan = |sub: Value| json!({"task_id": "t", "plan": {"subtasks": [sub]}});
    let two = json!([{"name": "approve", "then": "complete"}, {"name": "reject", "then": "fail"}]);
    let full = json!({"message": "", "approvers": [], "quorum": 1, "options": two, "on_timeout": "fail"});
    let body = json!([{"key": "b", "agent": "x"}]);
    for (short, long) in [
        (json!({"key": "a", "approval": {}}), json!({"key": "a", "approval": full, "signal": null})),
        (
            json!({"key": "a", "approval": {"options": ["go", {"name": "no", "then": "skip"}]}}),
            json!({"key": "a", "approval": {"options": [{"name": "go", "then": "complete"}, {"name": "no", "then": "skip"}]}}),
        ),
        (
            json!({"key": "a", "map": {"over": "input", "subtasks": body}}),
            json!({"key": "a", "map": {"over": "input", "failures": "fail_fast", "max_parallel": null, "subtasks": body}}),
        ),
        (
            json!({"key": "a", "agent": "x"}),
            json!({"key": "a", "agent": "x", "run_if": "all_succeeded", "when": "", "retry": {}, "fallback": []}),
        ),
    ] {
        assert_eq!(digest(&plan(short.clone())), digest(&plan(long.clone())), "{short} and {long}");
        assert_eq!(digest(&plan(long.clone())), grpc(&plan(long)).expect("accepted").digest, "{short}");
    }
}

#[test]
fn every_part_of_a_plan_matters_to_its_digest() {
    let body = of_every_kind();
    let digest = |body: &Value| rest(&body.to_string()).expect("accepted").digest;
    let first = digest(&body);
    let mut seen = vec![first];
    let inner = "/plan/subtasks/5/group/subtasks";
    let review = format!("{inner}/1/map/subtasks/0/loop/subtasks/0");
    for (pointer, value) in [
        ("/plan/subtasks/0/retry/backoff_seconds".to_owned(), json!(6)),
        ("/plan/subtasks/0/retry/max_backoff_seconds".to_owned(), json!(61)),
        ("/plan/subtasks/0/retry/non_retryable".to_owned(), json!([])),
        ("/plan/subtasks/0/fallback".to_owned(), json!(["other"])),
        ("/plan/subtasks/0/compensate/agent".to_owned(), json!("other")),
        ("/plan/subtasks/0/compensate/capabilities".to_owned(), json!([])),
        ("/plan/subtasks/0/compensate/input".to_owned(), json!({"all": false})),
        ("/plan/subtasks/1/run_if".to_owned(), json!("any_failed")),
        ("/plan/subtasks/1/when".to_owned(), json!("outputs.draft.risk > 4")),
        ("/plan/subtasks/1/on_failure".to_owned(), json!("review")),
        ("/plan/subtasks/1/approval/message".to_owned(), json!("Now?")),
        ("/plan/subtasks/1/approval/approvers/0".to_owned(), json!({"names": ["ann", "lead"], "roles": []})),
        ("/plan/subtasks/1/approval/quorum".to_owned(), json!(3)),
        ("/plan/subtasks/1/approval/options/0/name".to_owned(), json!("go")),
        ("/plan/subtasks/1/approval/options/0/then".to_owned(), json!("skip")),
        ("/plan/subtasks/1/approval/timeout_seconds".to_owned(), json!(60)),
        ("/plan/subtasks/1/approval/on_timeout".to_owned(), json!("fail")),
        ("/plan/subtasks/2/signal/name".to_owned(), json!("other")),
        ("/plan/subtasks/2/signal/matches".to_owned(), json!("")),
        ("/plan/subtasks/2/signal/timeout_seconds".to_owned(), json!(null)),
        ("/plan/subtasks/3/timer".to_owned(), json!({"seconds": 31})),
        ("/plan/subtasks/4/timer/until".to_owned(), json!("2027-01-01T00:00:01Z")),
        (format!("{inner}/0/depends_on"), json!([])),
        (format!("{inner}/1/map/over"), json!("outputs.left")),
        (format!("{inner}/1/map/max_parallel"), json!(null)),
        (format!("{inner}/1/map/failures"), json!("continue")),
        (format!("{inner}/1/map/failures"), json!("fail_fast")),
        (format!("{inner}/1/map/failures/tolerate"), json!(4)),
        (format!("{inner}/1/map/subtasks/0/loop/until"), json!("outputs.review.done")),
        (format!("{inner}/1/map/subtasks/0/loop/max_iterations"), json!(6)),
        (format!("{inner}/1/map/subtasks/0/loop/on_limit"), json!("fail")),
        (format!("{review}/agent"), json!("c")),
        (format!("{review}/input"), json!({"a": 2, "b": 2})),
        (format!("{review}/priority"), json!("high")),
    ] {
        let mut other = body.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        match other.pointer_mut(parent).expect("a parent") {
            Value::Array(list) => list[name.parse::<usize>().expect("a place")] = value.clone(),
            parent => parent[name] = value.clone(),
        }
        let digest = digest(&other);
        assert!(!seen.contains(&digest), "{pointer} = {value} matters");
        assert_eq!(digest, grpc(&other).expect("accepted").digest, "{pointer} = {value} on both faces");
        seen.push(digest);
    }
}

#[test]
fn where_a_part_stands_matters_to_the_digest() {
    let digest = |subtasks: Value| {
        let body = json!({"task_id": "t", "plan": {"subtasks": subtasks}});
        rest(&body.to_string()).expect("accepted").digest
    };
    let (b, c) = (json!({"key": "b", "agent": "x"}), json!({"key": "c", "agent": "x"}));
    let inside = json!([{"key": "a", "group": {"subtasks": [b, c]}}]);
    let beside = json!([{"key": "a", "group": {"subtasks": [b]}}, c]);
    let looped = json!({"key": "a", "loop": {"until": "true", "max_iterations": 1, "subtasks": [b]}});
    let mapped = json!({"key": "a", "map": {"over": "true", "max_parallel": 1, "subtasks": [b]}});
    let of_group = json!([{"key": "a", "when": "true", "group": {"subtasks": [b]}}]);
    let of_part = json!([{"key": "a", "group": {"subtasks": [{"key": "b", "agent": "x", "when": "true"}]}}]);
    let all = [inside, beside, json!([looped]), json!([mapped]), of_group, of_part].map(digest);
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "plan {i} has a digest of its own");
    }
}

#[test]
fn a_plan_that_says_nothing_new_keeps_the_digest_it_had() {
    let submission = rest(r#"{"task_id":"t","plan":{"subtasks":[{"key":"k","agent":"x","depends_on":[]}]}}"#);
    let mut hasher = blake3::Hasher::new_derive_key("downbeat 2026 submission 1");
    let text = |text: &str, hasher: &mut blake3::Hasher| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    let number = |number: Option<i64>, hasher: &mut blake3::Hasher| {
        hasher.update(&[u8::from(number.is_some())]);
        hasher.update(&number.unwrap_or_default().to_le_bytes());
    };
    ["t", "", ""].iter().for_each(|part| text(part, &mut hasher));
    number(Some(pb::Priority::Normal as i64), &mut hasher);
    hasher.update(&[0; 33]);
    number(None, &mut hasher);
    number(Some(1), &mut hasher);
    ["k", "x"].iter().for_each(|part| text(part, &mut hasher));
    number(Some(0), &mut hasher);
    hasher.update(&[0; 33]);
    number(Some(0), &mut hasher);
    [None; 3].iter().for_each(|part| number(*part, &mut hasher));
    assert_eq!(submission.expect("accepted").digest, *hasher.finalize().as_bytes());
}

#[test]
fn what_is_wrong_within_groups_is_told_on_both_faces() {
    let plan = |subtasks: Value| json!({"task_id": "t", "plan": {"subtasks": subtasks}});
    let group = |body: Value| json!([{"key": "g", "group": {"subtasks": body}}]);
    let rows: &[(Value, &[(&str, &str)])] = &[
        (group(json!([])), &[("plan.subtasks[0].group.subtasks", "must hold at least one subtask")]),
        (
            group(json!([{"key": "a", "agent": "x", "depends_on": ["b"], "input": {"n": "\u{0}"}}])),
            &[
                ("plan.subtasks[0].group.subtasks[0].input.n", "must not hold \\u0000"),
                (
                    "plan.subtasks[0].group.subtasks[0].depends_on[0]",
                    "no subtask of this plan has the key `b`",
                ),
            ],
        ),
        (
            json!([{"key": "a", "timer": {"seconds": 0}}, {"key": "b", "timer": {"seconds": 2_592_001}}]),
            &[
                (
                    "plan.subtasks[0].timer.seconds",
                    "must be a whole number from 1 to 2592000 (SLA_SECONDS), got 0",
                ),
                (
                    "plan.subtasks[1].timer.seconds",
                    "must be a whole number from 1 to 2592000 (SLA_SECONDS), got 2592001",
                ),
            ],
        ),
        (
            json!([{"key": "a", "approval": {"message": "\u{0}", "approvers": [{"names": [""], "roles": ["a\nb"]}]}}]),
            &[
                ("plan.subtasks[0].approval.message", "must not hold \\u0000"),
                ("plan.subtasks[0].approval.approvers[0].names[0]", "must not be empty"),
                (
                    "plan.subtasks[0].approval.approvers[0].roles[0]",
                    "must not hold control characters, got U+000A at byte 1",
                ),
            ],
        ),
        (
            json!([{"key": "a", "agent": "x", "retry": {"backoff_seconds": 3_000_000}}]),
            &[(
                "plan.subtasks[0].retry.backoff_seconds",
                "must be a whole number from 0 to 2592000 (SLA_SECONDS), got 3000000",
            )],
        ),
    ];
    for (subtasks, expected) in rows {
        let body = plan(subtasks.clone());
        refused(rest(&body.to_string()), expected, &format!("REST: {body}"));
        refused(grpc(&body), expected, &format!("gRPC: {body}"));
    }
}

#[test]
fn what_only_the_json_of_a_plan_can_get_wrong() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        (
            r#"{"key":"a","timer":{"seconds":5},"signal":{"name":"s"},"approval":null,"group":{"subtasks":[]}}"#,
            &[
                (
                    "plan.subtasks[0].timer",
                    "stands beside `signal`; a subtask does one of approval, signal, timer, group, map, loop",
                ),
                (
                    "plan.subtasks[0].group",
                    "stands beside `signal`; a subtask does one of approval, signal, timer, group, map, loop",
                ),
            ],
        ),
        (
            r#"{"key":"a","timer":{"seconds":5,"until":"2027-01-01T00:00:00Z"}}"#,
            &[("plan.subtasks[0].timer.until", "stands beside `seconds`; a timer waits for one of them")],
        ),
        (r#"{"key":"a","timer":[]}"#, &[("plan.subtasks[0].timer", "must be an object, got a list")]),
        (r#"{"key":"a","timer":{}}"#, &[("plan.subtasks[0].timer", "must say `seconds` or `until`")]),
        (
            r#"{"key":"a","timer":{"until":"soon"}}"#,
            &[("plan.subtasks[0].timer.until", "must be an RFC 3339 time, as in `2027-01-31T18:00:00Z`")],
        ),
        (
            r#"{"key":"a","approval":{"quorum":0,"options":[5,{"name":"b","then":"go","x":1}],"approvers":[7]}}"#,
            &[
                ("plan.subtasks[0].approval.approvers[0]", "must be an object, got a number"),
                ("plan.subtasks[0].approval.options[0]", "must be an object, got a number"),
                ("plan.subtasks[0].approval.options[1].x", "unknown field; known are: name, then"),
                (
                    "plan.subtasks[0].approval.options[1].then",
                    "must be `complete`, `fail` or `skip`, got `go`",
                ),
                ("plan.subtasks[0].approval.quorum", "must be a whole number from 1 to 100 (QUORUM), got 0"),
            ],
        ),
        (
            r#"{"key":"a","map":{"over":"input","failures":"none","max_parallel":0,"subtasks":{}}}"#,
            &[
                ("plan.subtasks[0].map.max_parallel", "must be a whole number from 1 to 4294967295, got 0"),
                (
                    "plan.subtasks[0].map.failures",
                    "must be `fail_fast`, `continue` or `{\"tolerate\": 3}`, got `none`",
                ),
                ("plan.subtasks[0].map.subtasks", "must be a list, got an object"),
            ],
        ),
        (
            r#"{"key":"a","map":{"over":"input","failures":{},"subtasks":[{"key":"b","agent":"x"}]}}"#,
            &[("plan.subtasks[0].map.failures", "must say how many: `{\"tolerate\": 3}`")],
        ),
        (
            r#"{"key":"a","loop":{"until":"true","max_iterations":0,"on_limit":"stop","subtasks":[{"key":"b","agent":"x"}]}}"#,
            &[
                (
                    "plan.subtasks[0].loop.max_iterations",
                    "must be a whole number from 1 to 1000 (LOOP_ITERATIONS), got 0",
                ),
                ("plan.subtasks[0].loop.on_limit", "must be `fail` or `complete`, got `stop`"),
            ],
        ),
        (
            r#"{"key":"a","agent":"x","run_if":"some","on_failure":5,"when":[]}"#,
            &[
                (
                    "plan.subtasks[0].run_if",
                    "must be `all_succeeded`, `all_done`, `any_succeeded` or `any_failed`, got `some`",
                ),
                ("plan.subtasks[0].when", "must be a string, got a list"),
                ("plan.subtasks[0].on_failure", "must be a string, got a number"),
            ],
        ),
    ];
    for (subtask, expected) in rows {
        refused(rest(&format!(r#"{{"task_id":"t","plan":{{"subtasks":[{subtask}]}}}}"#)), expected, subtask);
    }
}

#[test]
fn what_only_the_proto_of_a_plan_can_get_wrong() {
    let timer = |at| Some(Does::Timer(pb::Timer { at }));
    let named = |key: &str, does| pb::PlannedSubtask { key: key.into(), does, ..Default::default() };
    let approval = pb::Approval { on_timeout: 9, ..Default::default() };
    let subtasks = vec![
        named("a", timer(None)),
        pb::PlannedSubtask { run_if: 7, ..named("b", timer(Some(pb::timer::At::UntilMs(i64::MAX)))) },
        named("c", Some(Does::Approval(approval))),
    ];
    let plan = Some(pb::Plan { subtasks });
    let request = pb::SubmitTaskRequest { task_id: "t".into(), plan, ..Default::default() };
    refused(
        request::submission(TENANT, request),
        &[
            ("plan.subtasks[0].timer", "must say `seconds` or `until_ms`"),
            (
                "plan.subtasks[1].run_if",
                "must be `all_succeeded`, `all_done`, `any_succeeded` or `any_failed`, got the unknown number 7",
            ),
            (
                "plan.subtasks[1].timer.until_ms",
                "must be milliseconds since 1970 in UTC, got 9223372036854775807",
            ),
            (
                "plan.subtasks[2].approval.on_timeout",
                "must be `fail`, `approve` or `reject`, got the unknown number 9",
            ),
        ],
        "proto",
    );
}

/// So many groups, each in the one before.
fn nested(levels: usize) -> Value {
    let innermost = json!({"key": "k", "agent": "x"});
    let sub = (0..levels).fold(innermost, |inner, _| json!({"key": "k", "group": {"subtasks": [inner]}}));
    json!({"task_id": "t", "plan": {"subtasks": [sub]}})
}

#[test]
fn groups_are_nested_as_deeply_as_is_allowed_and_no_deeper() {
    let most = nested(limits::GROUP_DEPTH);
    assert!(rest(&most.to_string()).is_ok());
    assert!(grpc(&most).is_ok());
    let expected = [("plan.subtasks", "at most 8 levels of groups (GROUP_DEPTH), got 9")];
    for levels in [limits::GROUP_DEPTH + 1, limits::GROUP_DEPTH + 20] {
        let over = nested(levels);
        refused(rest(&over.to_string()), &expected, "REST");
        refused(grpc(&over), &expected, "gRPC");
    }
    let deep = 200_000;
    let (open, close) = (r#"{"key":"k","group":{"subtasks":["#.repeat(deep), "]}}".repeat(deep));
    let hostile = format!(r#"{{"task_id":"t","plan":{{"subtasks":[{open}{close}]}}}}"#);
    refused(rest(&hostile), &expected, "hostile");
}

#[test]
fn subtasks_are_counted_over_all_groups() {
    let part = |i: usize| json!({"key": format!("k{i}"), "agent": "x"});
    let group = |g: usize, n: usize| json!({"key": format!("g{g}"), "group": {"subtasks": (0..n).map(part).collect::<Vec<_>>()}});
    let plan = |n: usize| json!({"task_id": "t", "plan": {"subtasks": [group(0, 4_999), group(1, n)]}});
    assert!(rest(&plan(4_999).to_string()).is_ok());
    assert!(grpc(&plan(4_999)).is_ok());
    let expected = [("plan.subtasks", "at most 10000 subtasks (PLAN_SUBTASKS), got 10001")];
    refused(rest(&plan(5_000).to_string()), &expected, "REST");
    refused(grpc(&plan(5_000)), &expected, "gRPC");
    // Many lists, each of which is allowed.
    let list = format!("[{}0]", "0,".repeat(9_000));
    let groups = format!(r#"{{"key":"g","group":{{"subtasks":{list}}}}},"#).repeat(300);
    let hostile = format!(r#"{{"task_id":"t","plan":{{"subtasks":[{groups}0]}}}}"#);
    let Err(Failure::Invalid(found)) = rest(&hostile) else { panic!("accepted") };
    assert!(found.len() <= super::problems::LISTED_MAX + 1);
}

#[test]
fn decisions_signals_and_reruns_mean_the_same_on_both_faces() {
    let raw = |value: &Value| documents::parse(value.to_string().as_bytes()).map(ToOwned::to_owned);
    let named = json!({"option": "ship", "digest": "d1", "by": "ann", "roles": ["lead"], "comment": "fine"});
    let proto = |body: &Value| pb::DecideSubtaskRequest {
        task_id: "t".into(),
        subtask_id: "ok".into(),
        option: text(&body["option"]),
        digest: text(&body["digest"]),
        by: text(&body["by"]),
        roles: texts(&body["roles"]),
        comment: text(&body["comment"]),
    };
    let read = |body: &Value| body::decision(&raw(body).expect("JSON"));
    assert_eq!(read(&named), request::decision(proto(&named)));
    assert_eq!(read(&named).map(|decision| decision.by), Ok("ann".into()));
    let digest = "must not be empty: it says what was looked at, and stands in the subtask's gate";
    let expected = [("option", "must not be empty"), ("digest", digest), ("by", "must not be empty")];
    refused(read(&json!({})), &expected, "REST");
    refused(request::decision(proto(&json!({}))), &expected, "gRPC");
    let long = json!({"option": "a b", "digest": "d", "by": "x".repeat(201), "roles": ["\u{7}"]});
    let expected = [
        ("option", "`a b` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit"),
        ("by", "at most 200 bytes (PERSON_BYTES), got 201"),
        ("roles[0]", "must not hold control characters, got U+0007 at byte 0"),
    ];
    refused(read(&long), &expected, "REST");
    refused(request::decision(proto(&long)), &expected, "gRPC");

    let sent = |payload: Value| {
        let body = json!({"payload": payload, "by": "ci", "signal_id": "7"});
        let request = pb::SignalTaskRequest {
            task_id: "t".into(),
            name: "deployed".into(),
            payload: document(&payload),
            by: "ci".into(),
            signal_id: "7".into(),
        };
        (body::signal("deployed", &raw(&body).expect("JSON")), request::signal(request))
    };
    let (rest, grpc) = sent(json!({"env": "prod"}));
    assert_eq!(rest, grpc);
    assert_eq!(rest.map(|sent| sent.payload), Ok(r#"{"env":"prod"}"#.into()));
    let (rest, grpc) = sent(json!("x".repeat(limits::SIGNAL_BYTES - 1)));
    let expected = [("payload", "at most 65536 bytes (SIGNAL_BYTES), got 65537")];
    refused(rest, &expected, "REST");
    refused(grpc, &expected, "gRPC");

    let again =
        body::rerun(&raw(&json!({"subtasks": ["a"], "inputs": {"b": {"n": 1}, "c": null}})).expect("JSON"));
    let again = again.expect("accepted");
    let inputs: Vec<(&str, &str)> =
        again.inputs.iter().map(|(name, input)| (name.as_str(), input.get())).collect();
    assert_eq!((again.subtasks, inputs), (vec!["a".to_owned()], vec![("b", r#"{"n":1}"#), ("c", "null")]));
    let nothing = "must name at least one subtask";
    refused(body::rerun(&raw(&json!({})).expect("JSON")), &[("subtasks", nothing)], "REST");
    let request = pb::RerunTaskRequest { task_id: "t".into(), ..Default::default() };
    refused(request::rerun(request), &[("subtask_ids", nothing)], "gRPC");
}

#[test]
fn children_are_read_as_plans_are() {
    let child = pb::PlannedSubtask { key: "a".into(), agent: "x".into(), ..Default::default() };
    let children = request::children(vec![child.clone()]).expect("accepted");
    assert_eq!((children[0].key.as_str(), children[0].agent.as_str()), ("a", "x"));
    let expected = [("children[1].key", "`a` is already the key of children[0]")];
    refused(request::children(vec![child.clone(), child]), &expected, "twice");
    refused(request::children(Vec::new()), &[("children", "must hold at least one subtask")], "none");
}
