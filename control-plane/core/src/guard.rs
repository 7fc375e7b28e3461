//! Approval rules: a policy that puts an approval before each subtask it matches, whoever wrote the plan. Applied to
//! drafts before they are checked, so that what comes out is a plan like any other; what people change later is asked
//! about by [`missing`].
//!
//! Of a subtask, each way in which it may be done is looked at: by its agent, by each it falls back to, and by what
//! undoes it. For each way the first rule that matches it counts.

use std::{borrow::Cow, collections::BTreeSet};

use crate::{
    check::Violation,
    draft::{Approval, Does, Draft, Loop, Map},
    expr::{self, Scope},
    id::Index,
    plan::Plan,
};
use serde_json::value::RawValue;

/// One rule: what it is for, and who has to agree to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    /// An expression over `key`, `agent`, `capabilities` and `input` of a subtask that a worker does, and the `metadata`
    /// of its task. One that cannot be asked (a member that is not there) does not match; but where the input is an
    /// element of a map, and so not known before, it does.
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

/// One way in which a subtask may be done.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    key: &'a str,
    agent: &'a str,
    capabilities: &'a [String],
    /// `None`: it is known only when it runs.
    input: Option<&'a [u8]>,
}

impl<'a> Way<'a> {
    /// With those in which others do it in its place, or undo it. `undo`: the agent, its capabilities, and its input
    /// where that is its own.
    fn and_others(
        self,
        fallback: impl Iterator<Item = &'a str>,
        undo: Option<(&'a str, &'a [String], Option<&'a RawValue>)>,
    ) -> impl Iterator<Item = Way<'a>> {
        let falls_back = fallback.map(move |agent| Way { agent, capabilities: &[], ..self });
        let undoes = undo.map(move |(agent, capabilities, own)| {
            let input = own.map(|own| own.get().as_bytes()).or(self.input);
            Way { agent, capabilities, input, ..self }
        });
        std::iter::once(self).chain(falls_back).chain(undoes)
    }
}

/// The drafts with an approval before each subtask that a rule matches. Bodies of groups too.
pub fn guard<'a>(drafts: &'a [Draft], rules: &[Rule], metadata: &[u8]) -> Cow<'a, [Draft]> {
    guard_body(drafts, rules, metadata, false)
}

/// `of_map`: what has no input of its own gets an element.
fn guard_body<'a>(drafts: &'a [Draft], rules: &[Rule], metadata: &[u8], of_map: bool) -> Cow<'a, [Draft]> {
    if !drafts.iter().any(|draft| is_guarded(draft, rules, metadata, of_map)) {
        return Cow::Borrowed(drafts);
    }
    let mut keys: BTreeSet<String> = drafts.iter().map(|draft| draft.key.clone()).collect();
    let mut out = Vec::with_capacity(drafts.len() + 1);
    for draft in drafts {
        let mut draft = draft.clone();
        match &mut draft.does {
            Does::Work
            | Does::Approval(_)
            | Does::Signal(_)
            | Does::Timer(_)
            | Does::Workflow(_)
            | Does::Round => {}
            Does::Group(of) | Does::Loop(Loop { body: of, .. }) => {
                *of = guard_body(of, rules, metadata, false).into_owned();
            }
            Does::Map(Map { body: of, .. }) => *of = guard_body(of, rules, metadata, true).into_owned(),
        }
        let gates: Vec<Draft> = rules_for(&draft, rules, metadata, of_map)
            .into_iter()
            .map(|rule| Draft {
                key: free_key(&draft.key, &mut keys),
                depends_on: draft.depends_on.clone(),
                input: draft.input.clone(),
                run_if: draft.run_if,
                when: draft.when.clone(),
                guards: true,
                does: Does::Approval(rule.approval.clone()),
                ..Draft::default()
            })
            .collect();
        if !gates.is_empty() {
            // Whatever its `run_if` says: without the approval it does not run.
            let approved = gates.iter().map(|gate| format!("states['{}'] == 'completed'", gate.key));
            let when = draft.when.take().map(|when| format!("({when})"));
            draft.when = Some(approved.chain(when).collect::<Vec<_>>().join(" && "));
            draft.depends_on.extend(gates.iter().map(|gate| gate.key.clone()));
        }
        out.extend(gates);
        out.push(draft);
    }
    Cow::Owned(out)
}

/// The rule that asks for an approval which a subtask does not have, were it done with another input, or by another
/// agent.
pub fn missing<'a>(
    plan: &Plan,
    index: Index,
    input: Option<&RawValue>,
    agent: Option<&str>,
    rules: &'a [Rule],
    metadata: &[u8],
) -> Option<&'a Rule> {
    let node = plan.node(index).filter(|node| node.does.is_work())?;
    let input = Some(json(input.or_else(|| plan.input(index))));
    let way = |agent, capabilities| Way { key: plan.local_key(index), agent, capabilities, input };
    let ways: Vec<Way<'_>> = match agent {
        Some(agent) => vec![way(agent, &[])],
        None => {
            let fallback = node.fallback.iter().map(|fallback| &*fallback.agent);
            let undo = node.compensate.as_ref();
            let undo = undo.map(|undo| (&*undo.agent, &*undo.capabilities, undo.input.as_deref()));
            way(&node.agent, &node.capabilities).and_others(fallback, undo).collect()
        }
    };
    let has = |rule: &Rule| {
        let guard = |on: &Index| plan.node(*on).filter(|node| node.guards);
        let mut gates = node.depends_on.iter().filter_map(guard);
        gates.any(|gate| matches!(&gate.does, Does::Approval(approval) if *approval == rule.approval))
    };
    ways.into_iter().filter_map(|way| first(way, rules, metadata)).find(|rule| !has(rule))
}

/// Whether a rule matches it, or anything in its body.
fn is_guarded(draft: &Draft, rules: &[Rule], metadata: &[u8], of_map: bool) -> bool {
    let within = matches!(draft.does, Does::Map(_));
    let mut body = draft.does.body().into_iter().flatten();
    !rules_for(draft, rules, metadata, of_map).is_empty()
        || body.any(|part| is_guarded(part, rules, metadata, within))
}

/// The rules that match it, each once.
fn rules_for<'a>(draft: &Draft, rules: &'a [Rule], metadata: &[u8], of_map: bool) -> Vec<&'a Rule> {
    if rules.is_empty() || !draft.does.is_work() {
        return Vec::new();
    }
    let own = draft.input.as_deref();
    let input = if own.is_none() && of_map { None } else { Some(json(own)) };
    let own = Way { key: &draft.key, agent: &draft.agent, capabilities: &draft.capabilities, input };
    let fallback = draft.fallback.iter().map(String::as_str);
    let undo = draft.compensate.as_ref();
    let undo = undo.map(|undo| (&*undo.agent, &*undo.capabilities, undo.input.as_deref()));
    let mut found: Vec<&Rule> = Vec::new();
    for rule in own.and_others(fallback, undo).filter_map(|way| first(way, rules, metadata)) {
        if !found.contains(&rule) {
            found.push(rule);
        }
    }
    found
}

fn json(input: Option<&RawValue>) -> &[u8] {
    input.map_or(b"", |input| input.get().as_bytes())
}

/// The first rule that matches.
fn first<'a>(way: Way<'_>, rules: &'a [Rule], metadata: &[u8]) -> Option<&'a Rule> {
    let capabilities = serde_json::to_vec(way.capabilities).unwrap_or_default();
    let mut scope = Scope::new();
    scope.set_text("key", way.key);
    scope.set_text("agent", way.agent);
    scope.set("capabilities", &capabilities);
    scope.set("metadata", metadata);
    if let Some(input) = way.input {
        scope.set("input", input);
    }
    // What looks at an input that is not known yet cannot be asked.
    rules.iter().find(|rule| expr::is_true(&rule.when, &scope).unwrap_or(way.input.is_none()))
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
