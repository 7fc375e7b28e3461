//! Approval rules: which subtasks they put an approval before, and that nothing gets around it.

use std::borrow::Cow;

use downbeat_core::{
    check::check,
    draft::{Approval, Choice, Does, Draft, OnTimeout, RunIf, Then},
    guard::{self, Rule, guard},
};
use serde_json::value::RawValue;

use crate::ask::sketch;

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
fn what_is_wrong_with_a_rule_is_said() {
    let mut bad = rule("inptu.x");
    bad.approval.quorum = 0;
    let found = guard::check("rules[0]", &bad);
    let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["rules[0].when", "rules[0].approval.quorum"]);
}
