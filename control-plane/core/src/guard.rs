//! Approval rules: a policy that puts an approval before each subtask it matches, whoever wrote the plan. Applied to
//! drafts before they are checked, so that what comes out is a plan like any other.

use std::{borrow::Cow, collections::BTreeSet};

use crate::{
    check::Violation,
    draft::{Approval, Does, Draft, Loop, Map},
    expr::{self, Scope},
};

/// One rule: what it is for, and who has to agree to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    /// An expression over `key`, `agent`, `capabilities` and `input` of a subtask that a worker does, and the `metadata`
    /// of its task. One that cannot be asked (a member that is not there) does not match.
    pub when: String,
    pub approval: Approval,
}

/// What an expression of a rule may name.
const VARIABLES: [&str; 5] = ["key", "agent", "capabilities", "input", "metadata"];

/// What is wrong with a rule; `field` is its own path.
pub fn check(field: &str, rule: &Rule) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Err(issue) = expr::check(&rule.when, &VARIABLES) {
        found.push(Violation::new(format!("{field}.when"), issue));
    }
    crate::check::check_approval(&format!("{field}.approval"), &rule.approval, &mut found);
    found
}

/// The drafts with an approval before each subtask that a rule matches, the first one that does. Bodies of groups
/// too.
pub fn guard<'a>(drafts: &'a [Draft], rules: &[Rule], metadata: &[u8]) -> Cow<'a, [Draft]> {
    if !drafts.iter().any(|draft| is_guarded(draft, rules, metadata)) {
        return Cow::Borrowed(drafts);
    }
    let mut keys: BTreeSet<String> = drafts.iter().map(|draft| draft.key.clone()).collect();
    let mut out = Vec::with_capacity(drafts.len() + 1);
    for draft in drafts {
        let mut draft = draft.clone();
        let body = |of: &Vec<Draft>| guard(of, rules, metadata).into_owned();
        match &mut draft.does {
            Does::Work | Does::Approval(_) | Does::Signal(_) | Does::Timer(_) | Does::Round => {}
            Does::Group(of) | Does::Map(Map { body: of, .. }) | Does::Loop(Loop { body: of, .. }) => {
                *of = body(of)
            }
        }
        if let Some(rule) = rule_for(&draft, rules, metadata) {
            let key = free_key(&draft.key, &mut keys);
            out.push(Draft {
                key: key.clone(),
                depends_on: draft.depends_on.clone(),
                input: draft.input.clone(),
                run_if: draft.run_if,
                when: draft.when.clone(),
                does: Does::Approval(rule.approval.clone()),
                ..Draft::default()
            });
            // Whatever its `run_if` says: without the approval it does not run.
            let approved = format!("states['{key}'] == 'completed'");
            draft.when = Some(match draft.when {
                Some(when) => format!("{approved} && ({when})"),
                None => approved,
            });
            draft.depends_on.push(key);
        }
        out.push(draft);
    }
    Cow::Owned(out)
}

/// Whether a rule matches it, or anything in its body.
fn is_guarded(draft: &Draft, rules: &[Rule], metadata: &[u8]) -> bool {
    let mut body = draft.does.body().into_iter().flatten();
    rule_for(draft, rules, metadata).is_some() || body.any(|part| is_guarded(part, rules, metadata))
}

fn rule_for<'a>(draft: &Draft, rules: &'a [Rule], metadata: &[u8]) -> Option<&'a Rule> {
    if rules.is_empty() || !draft.does.is_work() {
        return None;
    }
    let capabilities = serde_json::to_vec(&draft.capabilities).unwrap_or_default();
    let mut scope = Scope::new();
    scope.set_text("key", &draft.key);
    scope.set_text("agent", &draft.agent);
    scope.set("capabilities", &capabilities);
    scope.set("input", draft.input.as_ref().map_or(b"", |input| input.get().as_bytes()));
    scope.set("metadata", metadata);
    rules.iter().find(|rule| expr::is_true(&rule.when, &scope).unwrap_or(false))
}

/// `deploy-approval`, or the next one that is free.
fn free_key(key: &str, keys: &mut BTreeSet<String>) -> String {
    let mut name = format!("{key}-approval");
    let mut n = 1;
    while !keys.insert(name.clone()) {
        n += 1;
        name = format!("{key}-approval-{n}");
    }
    name
}
