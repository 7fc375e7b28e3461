//! Documents: what is read, and what is told where they do not fit.

use serde_json::json;

use super::*;

fn subtask(document: Value) -> Result<PlannedSubtask, Vec<String>> {
    let listed = Subtask::list_from_document("s", &json!([document]));
    match listed {
        Ok(subtasks) => Ok(subtasks.into_iter().next().unwrap().into_message().unwrap()),
        Err(Error::InvalidDocument { fields }) => {
            Err(fields.into_iter().map(|bad| format!("{}: {}", bad.field, bad.issue)).collect())
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_whole_task_is_read() {
    let document = json!({
        "task_id": "t",
        "priority": "high",
        "metadata": {"a": 1},
        "deadline": "2026-01-31T12:00:00Z",
        "plan": {"subtasks": [
            {"key": "a", "agent": "x", "input": {"n": 1}},
            {"key": "b", "capabilities": ["c"], "depends_on": ["a"], "sla_seconds": 5, "max_attempts": 2},
        ]},
    });
    let request = SubmitTask::from_document(&document).unwrap().into_request().unwrap();
    assert_eq!((request.task_id.as_str(), request.priority()), ("t", Priority::High));
    assert_eq!(request.metadata, r#"{"a":1}"#.as_bytes());
    assert_eq!(request.deadline_ms, 1_769_860_800_000);
    let subtasks = request.plan.unwrap().subtasks;
    assert_eq!(subtasks[0].input, r#"{"n":1}"#.as_bytes());
    assert_eq!(
        (subtasks[1].depends_on.as_slice(), subtasks[1].sla_seconds),
        (["a".to_owned()].as_slice(), 5)
    );
}

#[test]
fn goals_and_what_serves_them_are_read() {
    let document = json!({
        "goals": [{"name": "printed", "description": "It is in the shops."}, {"name": "read"}],
        "subtasks": [{"key": "a", "agent": "x", "serves": ["printed"], "output_schema": {"type": "string"}}],
    });
    let plan = Plan::from_document(&document).unwrap().into_message().unwrap();
    let names: Vec<(&str, &str)> = plan.goals.iter().map(|goal| (&*goal.name, &*goal.description)).collect();
    assert_eq!(names, [("printed", "It is in the shops."), ("read", "")]);
    assert_eq!(plan.subtasks[0].serves, ["printed"]);
    assert_eq!(plan.subtasks[0].output_schema, r#"{"type":"string"}"#);
    let wrong = subtask(json!({"key": "a", "agent": "x", "output_schema": "string"}));
    assert_eq!(wrong.unwrap_err(), ["s[0].output_schema: expected a JSON Schema, got the text \"string\""]);
}

#[test]
fn conditions_are_read() {
    let read = subtask(json!({
        "key": "a", "agent": "x", "run_if": "any_failed", "when": "input.n > 1", "on_failure": "fail",
        "retry": {"backoff_seconds": 0, "non_retryable": ["NO_ACCESS"]}, "fallback": ["y", "z"],
        "compensate": {"agent": "undo", "input": {"n": 1}},
    }))
    .unwrap();
    let non_retryable = vec!["NO_ACCESS".to_owned()];
    let retry = proto::Retry { backoff_seconds: Some(0), max_backoff_seconds: None, non_retryable };
    assert_eq!((read.retry.as_ref(), read.fallback.len()), (Some(&retry), 2));
    let undo = proto::Compensation { agent: "undo".into(), input: r#"{"n":1}"#.into(), ..Default::default() };
    assert_eq!(read.compensate, Some(undo));
    assert_eq!((read.run_if(), read.when.as_str()), (RunIf::AnyFailed, "input.n > 1"));
    assert_eq!((read.on_failure(), read.does), (OnFailure::Fail, None));
}

#[test]
fn keys_of_the_context_are_read() {
    let keys = |all, keys: &[&str]| {
        Some(proto::ContextKeys { all, keys: keys.iter().map(|key| (*key).to_owned()).collect() })
    };
    for (context, read) in [
        (json!(null), None),
        (json!(false), None),
        (json!(true), keys(true, &[])),
        (json!([]), keys(false, &[])),
        (json!(["a", "b"]), keys(false, &["a", "b"])),
    ] {
        let subtask = subtask(json!({"key": "a", "agent": "x", "context": context})).unwrap();
        assert_eq!(subtask.context, read, "{context}");
    }
    let problems = subtask(json!({"key": "a", "agent": "x", "context": "all"})).unwrap_err();
    assert!(problems[0].contains("context: expected true, or a list of keys"), "{problems:?}");
}

#[test]
fn an_approval_is_read() {
    let read = subtask(json!({"key": "a", "approval": {
        "message": "Go?",
        "approvers": [{"names": ["ada"], "roles": ["boss"]}, {"roles": ["director"]}],
        "quorum": 2,
        "options": ["yes", {"name": "no", "then": "fail"}, {"name": "later", "then": "skip"}],
        "timeout_seconds": 60,
        "on_timeout": "reject",
    }}))
    .unwrap();
    let Some(Does::Approval(approval)) = read.does else { panic!("{read:?}") };
    assert_eq!((approval.message.as_str(), approval.quorum, approval.timeout_seconds), ("Go?", 2, 60));
    assert_eq!((approval.approvers.len(), approval.approvers[0].names[0].as_str()), (2, "ada"));
    assert_eq!(approval.on_timeout(), OnTimeout::Reject);
    let options: Vec<_> =
        approval.options.iter().map(|option| (option.name.as_str(), option.then())).collect();
    let expected =
        [("yes", OptionOutcome::Complete), ("no", OptionOutcome::Fail), ("later", OptionOutcome::Skip)];
    assert_eq!(options, expected);
    let read = subtask(json!({"key": "a", "approval": {}})).unwrap();
    assert_eq!(read.does, Some(Does::Approval(proto::Approval::default())));
}

#[test]
fn signals_and_timers_are_read() {
    let signal = json!({"name": "paid", "matches": "signal.amount > 1", "timeout_seconds": 9});
    let read = subtask(json!({"key": "a", "signal": signal})).unwrap();
    let expected =
        proto::SignalGate { name: "paid".into(), matches: "signal.amount > 1".into(), timeout_seconds: 9 };
    assert_eq!(read.does, Some(Does::Signal(expected)));
    for (timer, expected) in [
        (json!({"seconds": 3}), At::Seconds(3)),
        (json!({"until": "2026-01-31T12:00:00Z"}), At::UntilMs(1_769_860_800_000)),
    ] {
        let read = subtask(json!({"key": "a", "timer": timer})).unwrap();
        assert_eq!(read.does, Some(Does::Timer(proto::Timer { at: Some(expected) })));
    }
}

#[test]
fn workflows_are_read() {
    let call = json!({"name": "release", "version": 3, "parameters_from": "{'ref': outputs.a.ref}"});
    let read = subtask(json!({"key": "b", "workflow": call, "input": {"env": "prod"}})).unwrap();
    let parameters_from = "{'ref': outputs.a.ref}".to_owned();
    let expected = proto::WorkflowCall { name: "release".into(), version: 3, parameters_from };
    assert_eq!(read.does, Some(Does::Workflow(expected)));
    let read = subtask(json!({"key": "b", "workflow": {"name": "release"}})).unwrap();
    let expected = proto::WorkflowCall { name: "release".into(), ..Default::default() };
    assert_eq!(read.does, Some(Does::Workflow(expected)));
}

#[test]
fn bodies_are_read_within_bodies() {
    let read = subtask(json!({"key": "a", "map": {
        "over": "outputs.list",
        "max_parallel": 4,
        "failures": {"tolerate": 2},
        "subtasks": [{"key": "b", "loop": {
            "until": "iteration == 2",
            "max_iterations": 3,
            "on_limit": "complete",
            "subtasks": [{"key": "c", "group": {"subtasks": [{"key": "d", "agent": "x"}]}}],
        }}],
    }}))
    .unwrap();
    let Some(Does::Map(map)) = read.does else { panic!("{read:?}") };
    assert_eq!((map.over.as_str(), map.max_parallel), ("outputs.list", 4));
    assert_eq!(map.failures, Some(Failures::Tolerate(2)));
    let Some(Does::Loop(of)) = &map.subtasks[0].does else { panic!("{map:?}") };
    assert_eq!(
        (of.until.as_str(), of.max_iterations, of.on_limit()),
        ("iteration == 2", 3, OnLimit::Complete)
    );
    let Some(Does::Group(group)) = &of.subtasks[0].does else { panic!("{of:?}") };
    assert_eq!(group.subtasks[0].agent, "x");
    for (failures, expected) in [("fail_fast", None), ("continue", Some(Failures::Continue(true)))] {
        let map = json!({"over": "item", "failures": failures, "subtasks": []});
        let Some(Does::Map(map)) = subtask(json!({"key": "a", "map": map})).unwrap().does else { panic!() };
        assert_eq!(map.failures, expected);
    }
}

#[test]
fn everything_that_does_not_fit_is_told_at_once() {
    let document = json!({
        "titel": "x",
        "priority": "urgent",
        "metadata": [],
        "deadline": "tomorrow",
        "plan": {"subtasks": [{"key": 1, "agnt": "x", "depends_on": ["a", 2], "sla_seconds": 0}, 3]},
    });
    let Err(Error::InvalidDocument { fields }) = SubmitTask::from_document(&document) else { panic!() };
    let paths: Vec<&str> = fields.iter().map(|bad| bad.field.as_str()).collect();
    assert_eq!(
        paths,
        [
            "titel",
            "task_id",
            "priority",
            "metadata",
            "plan.subtasks[0].agnt",
            "plan.subtasks[0].key",
            "plan.subtasks[0].depends_on[1]",
            "plan.subtasks[0].sla_seconds",
            "plan.subtasks[1]",
            "deadline",
        ],
        "{fields:#?}"
    );
}

#[test]
fn what_does_not_fit_is_told_with_its_path() {
    let table = [
        (
            json!({"key": "a", "approval": {}, "timer": {"seconds": 1}}),
            "s[0]: expected at most one of approval, signal, timer, workflow, group, map, loop, got approval and timer",
        ),
        (json!({"key": "a", "timer": {}}), "s[0].timer: expected either seconds or until"),
        (
            json!({"key": "a", "run_if": "always"}),
            "s[0].run_if: expected one of all_succeeded, all_done, any_succeeded, any_failed, got \"always\"",
        ),
        (json!({"key": "a", "when": true}), "s[0].when: expected a text, got true"),
        (
            json!({"key": "a", "approval": {"options": [{"nam": "x"}]}}),
            "s[0].approval.options[0].nam: unknown field; there are name, then",
        ),
        (
            json!({"key": "a", "map": {"over": "x", "failures": "some", "subtasks": []}}),
            "s[0].map.failures: expected fail_fast, continue or {tolerate: NUMBER}, got the text \"some\"",
        ),
        (json!({"key": "a", "group": {}}), "s[0].group.subtasks: is missing: a list of subtasks"),
        (
            json!({"key": "a", "loop": {"subtasks": [{"key": "b", "map": 3}]}}),
            "s[0].loop.subtasks[0].map: expected an object, got 3",
        ),
    ];
    for (document, expected) in table {
        assert_eq!(subtask(document).unwrap_err(), [expected]);
    }
}
