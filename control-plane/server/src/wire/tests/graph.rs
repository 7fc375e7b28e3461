//! Plans of every kind, and what is asked of them while they run: read the same on both faces.

use downbeat_core::draft::Goal;

use super::*;

/// A plan with one of everything, nested.
fn of_every_kind() -> Value {
    let risk = json!({"type": "object", "properties": {"risk": {"type": "number"}}});
    let printed = json!({"name": "printed", "description": "It is in the shops."});
    json!({"task_id": "t", "plan": {"goals": [printed], "subtasks": [
        {"key": "draft", "agent": "writer", "fallback": ["editor"], "serves": ["printed"], "output_schema": risk,
         "context": ["style", "tone"],
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
        {"key": "release", "depends_on": ["draft"], "input": {"env": "prod"}, "max_attempts": 2, "sla_seconds": 60,
         "workflow": {"name": "release", "version": 3, "parameters_from": "{'of': outputs.draft.id}"}},
    ]}})
}

#[test]
fn everything_a_plan_can_hold_is_read_the_same_on_both_faces() {
    let body = of_every_kind();
    let (rest, grpc) = (rest(&body.to_string()).expect("accepted"), grpc(&body).expect("accepted"));
    assert_eq!(rest.digest, grpc.digest);
    assert_eq!(format!("{:?}", rest.plan), format!("{:?}", grpc.plan));
    let printed = Goal { name: "printed".into(), description: "It is in the shops.".into() };
    assert_eq!((&rest.goals, &grpc.goals), (&vec![printed.clone()], &vec![printed]));
    let plan = rest.plan.expect("a plan");
    let told = |drafts: &[Draft]| format!("{drafts:?}");
    for part in [
        r#"fallback: ["editor"]"#,
        r#"output_schema: Some(RawValue({"properties":{"risk":{"type":"number"}},"type":"object"}))"#,
        r#"serves: ["printed"]"#,
        r#"context: Only(["style", "tone"])"#,
        r#"Retry { backoff_seconds: Some(5), max_backoff_seconds: Some(60), non_retryable: ["NO_FILE"] }"#,
        r#"Compensate { agent: "eraser", capabilities: ["rm"], input: Some(RawValue({"all":true})) }"#,
        r#"run_if: AllDone, when: Some("outputs.draft.risk > 3"), on_failure: Some(Fail)"#,
        r#"approvers: [Approvers { names: ["ann"], roles: ["lead"] }, Approvers { names: ["bo"], roles: [] }]"#,
        r#"options: [Choice { name: "ship", then: Complete }, Choice { name: "stop", then: Fail }]"#,
        r#"timeout_seconds: Some(3600), on_timeout: Reject"#,
        r#"SignalGate { name: "deployed", matches: Some("signal.env == 'prod'"), timeout_seconds: Some(60) }"#,
        r#"Call { name: "release", version: Some(3), parameters_from: Some("{'of': outputs.draft.id}") }"#,
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
            json!({"key": "a", "agent": "x", "run_if": "all_succeeded", "when": "", "retry": {}, "fallback": [],
                   "context": false}),
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
        ("/plan/subtasks/0/serves".to_owned(), json!([])),
        ("/plan/subtasks/0/output_schema".to_owned(), json!({})),
        ("/plan/goals/0/description".to_owned(), json!("")),
        ("/plan/goals/1".to_owned(), json!({"name": "read"})),
        ("/plan/subtasks/0/context".to_owned(), json!(null)),
        ("/plan/subtasks/0/context".to_owned(), json!(true)),
        ("/plan/subtasks/0/context".to_owned(), json!([])),
        ("/plan/subtasks/0/context".to_owned(), json!(["style"])),
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
        ("/plan/subtasks/6/workflow/name".to_owned(), json!("other")),
        ("/plan/subtasks/6/workflow/version".to_owned(), json!(null)),
        ("/plan/subtasks/6/workflow/parameters_from".to_owned(), json!("outputs.draft")),
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
            Value::Array(list) => {
                let place = name.parse::<usize>().expect("a place");
                list.resize(list.len().max(place + 1), Value::Null);
                list[place] = value.clone();
            }
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
    let looped = json!({"key": "a", "loop": {"until": "input", "max_iterations": 1, "subtasks": [b]}});
    let mapped = json!({"key": "a", "map": {"over": "input", "max_parallel": 1, "subtasks": [b]}});
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
fn keys_of_the_context_are_names_for_a_worker() {
    let plan = |sub: Value| json!({"task_id": "t", "plan": {"subtasks": [sub]}});
    let many: Vec<String> = (0..=limits::CONTEXT_KEYS).map(|n| format!("k{n}")).collect();
    for (sub, field, issue) in [
        (
            json!({"key": "a", "agent": "x", "context": ["ok", "not ok"]}),
            "plan.subtasks[0].context[1]",
            "`not ok` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
        ),
        (
            json!({"key": "a", "timer": {"seconds": 1}, "context": true}),
            "plan.subtasks[0].context",
            "no worker does it, so nobody is handed any context",
        ),
        (
            json!({"key": "a", "agent": "x", "context": many}),
            "plan.subtasks[0].context",
            "at most 500 keys (CONTEXT_KEYS), got 501",
        ),
    ] {
        let body = plan(sub);
        refused(rest(&body.to_string()), &[(field, issue)], "rest");
        refused(grpc(&body), &[(field, issue)], "grpc");
    }
    let bad = plan(json!({"key": "a", "agent": "x", "context": "all"}));
    let issue = "must be true, or a list of keys";
    refused(rest(&bad.to_string()), &[("plan.subtasks[0].context", issue)], "json");
}

#[test]
fn what_only_the_json_of_a_plan_can_get_wrong() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        (
            r#"{"key":"a","timer":{"seconds":5},"signal":{"name":"s"},"approval":null,"group":{"subtasks":[]}}"#,
            &[
                (
                    "plan.subtasks[0].timer",
                    "stands beside `signal`; a subtask does one of approval, signal, timer, workflow, group, map, loop",
                ),
                (
                    "plan.subtasks[0].group",
                    "stands beside `signal`; a subtask does one of approval, signal, timer, workflow, group, map, loop",
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
    let plan = Some(pb::Plan { subtasks, goals: Vec::new() });
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
    assert!(found.len() <= crate::wire::problems::LISTED_MAX + 1);
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
