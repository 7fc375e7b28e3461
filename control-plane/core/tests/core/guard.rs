//! Approval rules: which subtasks they put an approval before, and that nothing gets around it.

use std::borrow::Cow;

use downbeat_core::{
    check::check,
    draft::{Approval, Choice, Compensate, Does, Draft, OnTimeout, RunIf, Then},
    guard::{self, Rule, guard, missing},
    id::RouteNo,
    plan::Plan,
    task::Priority,
};
use serde_json::value::RawValue;

use crate::ask::{Sketch, sketch};

fn rule(when: &str) -> Rule {
    let options = vec![
        Choice { name: "approve".into(), then: Then::Complete },
        Choice { name: "reject".into(), then: Then::Fail },
    ];
    let approval = Approval {
        message: "really?".into(),
        approvers: Vec::new(),
        quorum: 1,
        options,
        timeout_seconds: None,
        on_timeout: OnTimeout::Fail,
    };
    Rule { name: "a rule".into(), when: when.into(), approval }
}

fn drafts() -> Vec<Draft> {
    let task = sketch("t", "build, deploy < build, tell < deploy");
    let task = task.draft("deploy", |draft| {
        draft.agent = "deployer".into();
        draft.capabilities = vec!["k8s".into()];
        draft.input = RawValue::from_string(r#"{"environment":"production","cost":12.5}"#.into()).ok();
    });
    task.drafts
}

#[test]
fn rules_match_by_what_a_subtask_is() {
    for (when, matches) in [
        ("input.environment == 'production'", "deploy"),
        ("input.cost > 10", "deploy"),
        ("input.cost > 13", ""),
        ("agent == 'deployer'", "deploy"),
        ("'k8s' in capabilities", "deploy"),
        ("key.startsWith('te')", "tell"),
        ("metadata.repository == 'billing'", "build deploy tell"),
        ("metadata.repository == 'other'", ""),
        ("metadata.nothing.here", ""),
    ] {
        let drafts = drafts();
        let guarded = guard(&drafts, &[rule(when)], br#"{"repository":"billing"}"#);
        let keys: Vec<&str> =
            guarded.iter().filter_map(|draft| draft.key.strip_suffix("-approval")).collect();
        assert_eq!(keys.join(" "), matches, "{when}");
        assert_eq!(matches!(guarded, Cow::Borrowed(_)), matches.is_empty(), "{when}");
        assert_eq!(check(&guarded), Ok(()), "{when}");
    }
}

#[test]
fn the_approval_stands_where_the_subtask_stood_and_before_it() {
    let mut drafts = drafts();
    drafts[1].run_if = RunIf::AnyFailed;
    drafts[1].when = Some("states.build == 'failed'".into());
    let guarded = guard(&drafts, &[rule("agent == 'deployer'")], b"{}");
    let keys: Vec<&str> = guarded.iter().map(|draft| draft.key.as_str()).collect();
    assert_eq!(keys, ["build", "deploy-approval", "deploy", "tell"]);
    let (gate, deploy) = (&guarded[1], &guarded[2]);
    assert!(matches!(gate.does, Does::Approval(_)));
    assert_eq!((&gate.depends_on[..], gate.run_if), (&["build".to_owned()][..], RunIf::AnyFailed));
    assert_eq!(gate.when.as_deref(), Some("states.build == 'failed'"));
    assert_eq!(gate.input.as_ref().map(|i| i.get()), deploy.input.as_ref().map(|i| i.get()));
    assert_eq!(deploy.depends_on, ["build", "deploy-approval"]);
    let when = "states['deploy-approval'] == 'completed' && (states.build == 'failed')";
    assert_eq!(deploy.when.as_deref(), Some(when));
}

#[test]
fn bodies_are_guarded_and_keys_do_not_clash() {
    let mut inner = drafts();
    inner.push(Draft { key: "deploy-approval".into(), agent: "coder".into(), ..Draft::default() });
    let outer = vec![Draft { key: "all".into(), does: Does::Group(inner), ..Draft::default() }];
    let guarded = guard(&outer, &[rule("agent == 'deployer'")], b"{}");
    let body = guarded[0].does.body().expect("a group has a body");
    let keys: Vec<&str> = body.iter().map(|draft| draft.key.as_str()).collect();
    assert_eq!(keys, ["build", "deploy-approval-2", "deploy", "tell", "deploy-approval"]);
    assert_eq!(check(&guarded), Ok(()));
}

#[test]
fn every_way_in_which_it_may_be_done_is_looked_at() {
    let undo = |agent: &str, input: Option<&str>| Compensate {
        agent: agent.into(),
        input: input.and_then(|json| RawValue::from_string(json.into()).ok()),
        ..Compensate::default()
    };
    type Change = fn(&mut Draft, Compensate);
    let rows: [(&str, &str, Option<&str>, Change, &str); 5] = [
        ("agent == 'root'", "root", None, |draft, _| draft.fallback = vec!["root".into()], "deploy"),
        ("agent == 'root'", "root", None, |draft, undo| draft.compensate = Some(undo), "deploy"),
        (
            "agent == 'root' && input.cost > 10",
            "root",
            None,
            |draft, undo| draft.compensate = Some(undo),
            "deploy",
        ),
        (
            "input.drop",
            "undoer",
            Some(r#"{"drop":true}"#),
            |draft, undo| draft.compensate = Some(undo),
            "deploy",
        ),
        ("agent == 'root' && input.cost > 13", "root", None, |draft, undo| draft.compensate = Some(undo), ""),
    ];
    for (when, agent, input, change, matches) in rows {
        let mut drafts = drafts();
        change(&mut drafts[1], undo(agent, input));
        let guarded = guard(&drafts, &[rule(when)], b"{}");
        let keys: Vec<&str> =
            guarded.iter().filter_map(|draft| draft.key.strip_suffix("-approval")).collect();
        assert_eq!(keys.join(" "), matches, "{when}");
        assert_eq!(check(&guarded), Ok(()), "{when}");
    }
}

#[test]
fn each_way_is_approved_by_those_of_its_own_rule() {
    let mut other = rule("agent == 'root'");
    other.approval.quorum = 2;
    let mut drafts = drafts();
    drafts[1].fallback = vec!["root".into()];
    let guarded = guard(&drafts, &[rule("agent == 'deployer'"), other], b"{}");
    let keys: Vec<&str> = guarded.iter().map(|draft| draft.key.as_str()).collect();
    assert_eq!(keys, ["build", "deploy-approval", "deploy-approval-2", "deploy", "tell"]);
    assert_eq!(guarded[3].depends_on, ["build", "deploy-approval", "deploy-approval-2"]);
    let when = "states['deploy-approval'] == 'completed' && states['deploy-approval-2'] == 'completed'";
    assert_eq!(guarded[3].when.as_deref(), Some(when));
    assert_eq!(check(&guarded), Ok(()));
}

#[test]
fn an_input_that_is_not_known_yet_may_match() {
    let map = |task: Sketch| sketch("t", "m").map("m", "[1]", None, task).drafts;
    for (body, when, asks) in [
        (sketch("", "x"), "input.environment == 'production'", true),
        (sketch("", "x"), "agent == 'deployer' && input.environment == 'production'", false),
        (sketch("", "x").input("x", "{}"), "input.environment == 'production'", false),
        (sketch("", "g").group("g", sketch("", "x")), "input.environment == 'production'", false),
    ] {
        let drafts = map(body);
        let guarded = guard(&drafts, &[rule(when)], b"{}");
        assert_eq!(matches!(guarded, Cow::Owned(_)), asks, "{when}");
    }
}

#[test]
fn what_people_change_may_need_an_approval() {
    let rules = [rule("input.environment == 'production'"), rule("agent == 'root'")];
    let mut drafts = drafts();
    drafts[2].compensate = Some(Compensate { agent: "undoer".into(), ..Compensate::default() });
    let guarded = guard(&drafts, &rules[..1], b"{}");
    let plan = Plan::build("t", Priority::Normal, 3, &guarded, |_| RouteNo(1));
    let json = |text: &str| RawValue::from_string(text.to_owned()).expect("it is JSON");
    let (production, test) = (json(r#"{"environment":"production"}"#), json(r#"{"environment":"test"}"#));
    for (key, input, agent, asks) in [
        ("deploy", Some(&production), None, false),
        ("deploy", Some(&test), None, false),
        ("tell", Some(&production), None, true),
        ("tell", Some(&test), None, false),
        ("tell", None, None, false),
        ("tell", None, Some("root"), true),
        ("tell", None, Some("painter"), false),
    ] {
        let at = plan.find(key).expect("it is drawn");
        let found = missing(&plan, at, input.map(|input| &**input), agent, &rules, b"{}");
        assert_eq!(found.is_some(), asks, "{key} {input:?} {agent:?}");
    }
    let mut stricter = rules[0].clone();
    stricter.approval.quorum = 2;
    let deploy = plan.find("deploy").expect("it is drawn");
    assert!(missing(&plan, deploy, Some(&production), None, &[stricter], b"{}").is_some());
}

#[test]
fn what_is_wrong_with_a_rule_is_said() {
    let mut bad = rule("inptu.x");
    bad.approval.quorum = 0;
    let found = guard::check("rules[0]", &bad);
    let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["rules[0].when", "rules[0].approval.quorum"]);
}
