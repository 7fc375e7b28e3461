//! What types, goals and certainties say of a plan: each kind of problem with its code, its place and what to do.

use std::collections::BTreeSet;

use downbeat_core::{
    check::{Code, Schemas, Violation, check, check_at, check_goals, check_types, warnings},
    draft::{Approval, Choice, Does, Draft, Goal, Loop, Map, OnTimeout, RunIf, SignalGate, Then, Timer},
    limits,
    session::AgentDeclaration,
};
use serde_json::{Value, json, value::RawValue};

fn raw(json: &Value) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_string()).ok()
}

fn work(key: &str, on: &[&str]) -> Draft {
    let depends_on = on.iter().map(|key| (*key).to_owned()).collect();
    Draft { key: key.into(), agent: key.into(), depends_on, ..Draft::default() }
}

fn gate(key: &str, on: &[&str], does: Does<Vec<Draft>>) -> Draft {
    Draft { agent: String::new(), does, ..work(key, on) }
}

fn when(draft: Draft, when: &str) -> Draft {
    Draft { when: Some(when.into()), ..draft }
}

fn delivers(draft: Draft, schema: &Value) -> Draft {
    Draft { output_schema: raw(schema), ..draft }
}

fn map(key: &str, on: &[&str], over: &str, body: Vec<Draft>) -> Draft {
    let map = Map { over: over.into(), max_parallel: None, failures: Default::default(), body };
    gate(key, on, Does::Map(map))
}

fn repeat(key: &str, until: &str, body: Vec<Draft>) -> Draft {
    let of = Loop { until: until.into(), max_iterations: 3, on_limit: Default::default(), body };
    gate(key, &[], Does::Loop(of))
}

fn approval(key: &str) -> Draft {
    let option = |name: &str, then| Choice { name: name.into(), then };
    let approval = Approval {
        message: String::new(),
        approvers: Vec::new(),
        quorum: 1,
        options: vec![
            option("ship", Then::Complete),
            option("hold", Then::Complete),
            option("stop", Then::Fail),
        ],
        timeout_seconds: None,
        on_timeout: OnTimeout::Fail,
    };
    gate(key, &[], Does::Approval(approval))
}

/// Delivers `{"ok": boolean, "items": [{"path": string}]}`.
fn review(key: &str) -> Draft {
    let item =
        json!({"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": false});
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"ok": {"type": "boolean"}, "items": {"type": "array", "items": item}},
    });
    delivers(work(key, &[]), &schema)
}

fn told(found: &[Violation]) -> Vec<(Code, &str, &str)> {
    found.iter().map(|found| (found.code, found.field.as_str(), found.issue.as_str())).collect()
}

#[track_caller]
fn judged(drafts: &[Draft], expected: &[(&str, &str)]) {
    let found = check(drafts).err().unwrap_or_default();
    let expected: Vec<_> = expected.iter().map(|(field, issue)| (Code::Type, *field, *issue)).collect();
    assert_eq!(told(&found), expected);
}

#[test]
fn each_construct_has_a_type_of_its_own() {
    let group = |key: &str| gate(key, &[], Does::Group(vec![review("check"), work("other", &[])]));
    let signal = |matches: &str| SignalGate {
        name: "paid".into(),
        matches: Some(matches.into()),
        timeout_seconds: None,
    };
    let paid = |matches: &str| {
        let schema = json!({"type": "object", "properties": {"amount": {"type": "number"}}});
        delivers(gate("paid", &[], Does::Signal(signal(matches))), &schema)
    };
    // What may be meant.
    judged(
        &[
            review("a"),
            when(work("b", &["a"]), "outputs.a.ok && outputs.a.items.all(i, i.path != '')"),
            group("g"),
            when(work("c", &["g"]), "outputs.g.check.ok && outputs.g.other.anything > 3"),
            map("m", &["a"], "outputs.a.items", vec![when(review("x"), "item.path != 'b'")]),
            when(work("d", &["m"]), "outputs.m.exists(x, x != null && x.ok)"),
            repeat(
                "l",
                "outputs.x.ok || iteration > 2",
                vec![review("x"), when(work("y", &[]), "outputs.previous.x.ok")],
            ),
            when(work("e", &["l"]), "outputs.l.x.ok && states.l == 'completed'"),
            approval("p"),
            when(
                work("f", &["p"]),
                "outputs.p.option == 'ship' && !outputs.p.expired && size(outputs.p.votes) > 0",
            ),
            paid("signal.amount > 100"),
            when(work("h", &["paid"]), "outputs.paid.amount > 100"),
        ],
        &[],
    );
    // What cannot.
    judged(
        &[
            review("a"),
            when(work("b", &["a"]), "outputs.a.okay"),
            group("g"),
            when(work("c", &["g"]), "outputs.g.chekc.ok"),
            map("m", &["a"], "outputs.a.ok", vec![work("x", &[])]),
            map("n", &["a"], "outputs.a.items", vec![when(review("x"), "item.name == 'b'")]),
            when(work("d", &["n"]), "outputs.n.ok"),
            repeat("l", "outputs.x.items", vec![review("x"), when(work("y", &[]), "outputs.previous.z")]),
            approval("p"),
            when(work("f", &["p"]), "outputs.p.option == 'stop'"),
            paid("signal.amount == 'much'"),
            gate("t", &[], Does::Timer(Timer::Seconds(3))),
            when(work("h", &["t"]), "outputs.t.at > 3"),
            when(work("i", &["a"]), "states.a == 'done'"),
            when(work("j", &["a"]), "'yes'"),
        ],
        &[
            (
                "plan.subtasks[1].when",
                "line 1, column 11: `outputs.a` has no member `okay`; there is `items`, `ok`",
            ),
            (
                "plan.subtasks[3].when",
                "line 1, column 11: `outputs.g` has no member `chekc`; did you mean `check`? there is `check`, `other`",
            ),
            ("plan.subtasks[4].map.over", "expected a list, got a boolean"),
            (
                "plan.subtasks[5].map.subtasks[0].when",
                "line 1, column 6: `item` has no member `name`; there is `path`",
            ),
            (
                "plan.subtasks[6].when",
                "line 1, column 11: `outputs.n` is a list or null, and has no member `ok`",
            ),
            (
                "plan.subtasks[7].loop.subtasks[1].when",
                "line 1, column 18: `outputs.previous` has no member `z`; there is `x`, `y`",
            ),
            ("plan.subtasks[7].loop.until", "expected a boolean, got a list"),
            (
                "plan.subtasks[9].when",
                "line 1, column 11: `outputs.p.option` is never `stop`; it is one of `hold`, `ship`",
            ),
            (
                "plan.subtasks[10].signal.matches",
                "line 1, column 8: `signal.amount` is a number and 'much' is a string: these are never equal",
            ),
            ("plan.subtasks[12].when", "line 1, column 11: `outputs.t` is null, and has no member `at`"),
            (
                "plan.subtasks[13].when",
                "line 1, column 8: `states.a` is never `done`; it is one of `backoff`, `blocked`, `cancelled`, \
                 `completed`, `failed`, `leased`, `needs_review`, `pending`, `ready`, `running`, `skipped`, `waiting`",
            ),
            ("plan.subtasks[14].when", "expected a boolean, got a string"),
        ],
    );
}

#[test]
fn what_agents_declare_counts_where_the_plan_says_nothing() {
    let agent = |name: &str, input: &str, output: &str| AgentDeclaration {
        name: name.into(),
        input_schema: input.into(),
        output_schema: output.into(),
        ..AgentDeclaration::default()
    };
    let input =
        r#"{"type": "object", "properties": {"repo": {"type": "string"}}, "additionalProperties": false}"#;
    let output =
        r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false}"#;
    let agents = [agent("a", input, output), agent("free", "", "")];
    let schemas = Schemas::of(&agents);
    let asks = |draft: Draft, text: &str| [draft, when(work("b", &["a"]), text)];
    let errors = |drafts: &[Draft]| {
        assert_eq!(check(drafts), Ok(()), "only agents say so");
        check_types("plan.subtasks", drafts, &schemas).err().unwrap_or_default()
    };
    assert_eq!(
        told(&errors(&asks(work("a", &[]), "outputs.a.m > 3"))),
        [(
            Code::Type,
            "plan.subtasks[1].when",
            "line 1, column 11: `outputs.a` has no member `m`; there is `n`"
        )]
    );
    assert_eq!(errors(&asks(work("a", &[]), "outputs.a.n > 3")), []);
    // Who is not known may deliver anything.
    let fallback = Draft { fallback: vec!["free".into()], ..work("a", &[]) };
    assert_eq!(errors(&asks(fallback, "outputs.a.m > 3")), []);
    let said = delivers(work("a", &[]), &json!({"properties": {"m": {"type": "number"}}}));
    assert_eq!(errors(&asks(said, "outputs.a.m > 3")), []);

    let handed = |input: &Value| [Draft { input: raw(input), ..work("a", &[]) }];
    assert_eq!(errors(&handed(&json!({"repo": "x"}))), []);
    for (input, field, issue) in [
        (
            json!({"repo": 3}),
            "plan.subtasks[0].input.repo",
            "expected a string, got a number, as `a` declares its input",
        ),
        (json!([]), "plan.subtasks[0].input", "expected an object, got a list, as `a` declares its input"),
        (
            json!({"rep": "x"}),
            "plan.subtasks[0].input.rep",
            "no member `rep`; did you mean `repo`? there is `repo`, as `a` declares its input",
        ),
    ] {
        assert_eq!(told(&errors(&handed(&input))), [(Code::Type, field, issue)]);
    }
}

#[test]
fn a_schema_stands_where_something_is_delivered() {
    let known =
        "what it delivers is known: only workers, signals and workflows deliver something of their own";
    let large = json!({"description": "x".repeat(limits::SCHEMA_BYTES)});
    let bytes = large.to_string().len();
    for (draft, issue) in [
        (delivers(approval("a"), &json!({})), known.to_owned()),
        (delivers(work("a", &[]), &json!([])), "must be a JSON Schema: an object".into()),
        (delivers(work("a", &[]), &large), format!("at most 32768 bytes (SCHEMA_BYTES), got {bytes}")),
    ] {
        let found = check(&[draft]).unwrap_err();
        assert_eq!(told(&found), [(Code::Field, "plan.subtasks[0].output_schema", issue.as_str())]);
    }
}

fn goal(name: &str) -> Goal {
    Goal { name: name.into(), description: String::new() }
}

fn serving(draft: Draft, goals: &[&str]) -> Draft {
    Draft { serves: goals.iter().map(|goal| (*goal).to_owned()).collect(), ..draft }
}

#[test]
fn goals_are_served_and_nothing_else_is() {
    let goals = [goal("tested"), goal("documented"), goal("tested"), goal("no name")];
    let drafts = [
        serving(work("a", &[]), &["tested", "tetsed"]),
        gate("g", &[], Does::Group(vec![serving(work("b", &[]), &["else"])])),
    ];
    let found = check_goals(&goals, &drafts).unwrap_err();
    assert_eq!(
        told(&found),
        [
            (Code::Field, "plan.goals[2].name", "`tested` is named twice"),
            (
                Code::Field,
                "plan.goals[3].name",
                "`no name` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit"
            ),
            (
                Code::GoalUnknown,
                "plan.subtasks[0].serves[1]",
                "the plan declares no goal `tetsed`; did you mean `tested`?"
            ),
            (
                Code::GoalUnknown,
                "plan.subtasks[1].group.subtasks[0].serves[0]",
                "the plan declares no goal `else`"
            ),
        ]
    );
    let gaps = warnings(&goals[..2], &drafts[..1], &Schemas::default());
    assert_eq!(
        told(&gaps),
        [(Code::GoalUnserved, "plan.goals[1]", "no subtask serves the goal `documented`")]
    );
    let many: Vec<Goal> = (0..=limits::GOALS).map(|n| goal(&format!("g{n}"))).collect();
    let found = check_goals(&many, &drafts).unwrap_err();
    assert_eq!(told(&found), [(Code::Limit, "plan.goals", "at most 100 goals (GOALS), got 101")]);
    let names: Vec<&str> = many.iter().map(|goal| goal.name.as_str()).collect();
    let found = check(&[serving(work("a", &[]), &names)]).unwrap_err();
    assert_eq!(
        told(&found),
        [(Code::Limit, "plan.subtasks[0].serves", "at most 100 goals (GOALS), got 101")]
    );
}

#[test]
fn what_only_looks_like_a_mistake_is_a_warning() {
    let input = |json: &str| RawValue::from_string(json.to_owned()).ok();
    let same = |key: &str, json: &str| Draft { agent: "x".into(), input: input(json), ..work(key, &[]) };
    let handles = |on: &[&str], run_if| Draft { run_if, ..work("handles", on) };
    for (drafts, expected) in [
        (
            vec![same("a", r#"{"p":1,"q":2}"#), same("b", r#"{ "q": 2, "p": 1 }"#), same("c", "3")],
            vec![(
                Code::SameWork,
                "plan.subtasks[1]",
                "does the same as `a`: same agent, input and dependencies",
            )],
        ),
        (
            vec![
                work("a", &[]),
                when(work("b", &["a"]), "false && outputs.a.ok"),
                when(work("c", &[]), "'a' == 'b'"),
            ],
            vec![
                (Code::NeverRuns, "plan.subtasks[1].when", "is never true, so the subtask is always skipped"),
                (Code::NeverRuns, "plan.subtasks[2].when", "is never true, so the subtask is always skipped"),
            ],
        ),
        (
            vec![handles(&[], RunIf::AnyFailed)],
            vec![(
                Code::NeverRuns,
                "plan.subtasks[0].run_if",
                "it depends on nothing, so this never holds, and the subtask is always skipped",
            )],
        ),
        (vec![work("a", &[]), handles(&["a"], RunIf::AnyFailed)], vec![]),
        (
            vec![repeat("l", "false", vec![handles(&[], RunIf::AnySucceeded)])],
            vec![(
                Code::NeverEnds,
                "plan.subtasks[0].loop.until",
                "is never true, so the loop only ends at max_iterations",
            )],
        ),
        (vec![when(work("a", &[]), "input.x == 1 || true")], vec![]),
    ] {
        assert_eq!(check(&drafts), Ok(()));
        assert_eq!(told(&warnings(&[], &drafts, &Schemas::default())), expected);
    }
}

#[test]
fn what_a_worker_adds_may_stand_in_a_map() {
    assert_eq!(check_at("children", &[when(work("a", &[]), "item.x == 1")], &[]), Ok(()));
}

/// A plan for each kind of problem that the validator alone can find.
fn of_each_kind() -> Vec<Violation> {
    let mut found = Vec::new();
    let many: Vec<Draft> = (0..=limits::PLAN_SUBTASKS).map(|n| work(&format!("k{n}"), &[])).collect();
    for drafts in [
        many,
        vec![work("no name", &[]), work("a", &["z"]), work("a", &[]), when(work("b", &[]), "1 +")],
        vec![work("a", &["b"]), work("b", &["a"])],
        vec![when(work("a", &[]), "3")],
    ] {
        found.extend(check(&drafts).expect_err("there are problems"));
    }
    let twice =
        [serving(work("a", &[]), &["x"]), Draft { agent: "a".into(), ..when(work("b", &[]), "false") }];
    found.extend(check_goals(&[goal("y")], &twice).expect_err("there are problems"));
    let loops = [
        work("a", &[]),
        Draft { agent: "a".into(), ..work("c", &[]) },
        repeat("l", "false", vec![work("x", &[])]),
    ];
    found.extend(warnings(&[goal("y")], &twice, &Schemas::default()));
    found.extend(warnings(&[], &loops, &Schemas::default()));
    found
}

#[test]
fn each_kind_of_problem_has_a_word_and_says_what_to_do() {
    let found: BTreeSet<Code> = of_each_kind().iter().map(|found| found.code).collect();
    // Who is registered is looked at elsewhere.
    let elsewhere = [Code::AgentUnknown, Code::CapabilityUnknown];
    let all: BTreeSet<Code> = Code::ALL.into_iter().filter(|code| !elsewhere.contains(code)).collect();
    assert_eq!(found, all);
    let rows = [
        (Code::Field, "FIELD", "describe it"),
        (Code::Limit, "LIMIT", "smaller"),
        (Code::KeyTaken, "KEY_TAKEN", "of its own"),
        (Code::DependencyUnknown, "DEPENDENCY_UNKNOWN", "the key of a subtask"),
        (Code::Cycle, "CYCLE", "`loop`"),
        (Code::Expression, "EXPRESSION", "CEL"),
        (Code::Type, "TYPE", "`output_schema`"),
        (Code::GoalUnknown, "GOAL_UNKNOWN", "`goals`"),
        (Code::SameWork, "SAME_WORK", "different inputs"),
        (Code::GoalUnserved, "GOAL_UNSERVED", "`serves`"),
        (Code::NeverRuns, "NEVER_RUNS", "`when`"),
        (Code::NeverEnds, "NEVER_ENDS", "`until`"),
        (Code::AgentUnknown, "AGENT_UNKNOWN", "start a worker"),
        (Code::CapabilityUnknown, "CAPABILITY_UNKNOWN", "start a worker"),
    ];
    assert_eq!(rows.map(|(code, ..)| code), Code::ALL);
    for (code, word, says) in rows {
        let hint = Violation::coded(code, "a", "b").hint();
        assert_eq!(code.word(), word);
        assert!(
            hint.contains(says) && hint.ends_with('.') && hint.starts_with(char::is_uppercase),
            "{word}: {hint}"
        );
    }
}
