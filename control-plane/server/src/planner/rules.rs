//! The planner that needs no model: a declarative file says which words of a request, and which registered
//! agents, lead to which subtasks. The file is read and checked in `file`, words are compared in `words`,
//! inputs are filled in by `template`; here a request meets the rules. How to write them is told at the head
//! of `rules.yaml`, the built-in set.
//!
//! Nothing is guessed here, and nothing is asked of the outside: the same request with the same agents
//! always gives the same plan.

mod file;
mod template;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{check::Violation, draft::Draft, limits, session::AgentDeclaration};
use futures::future::BoxFuture;
use serde_json::{Value, value::RawValue};

pub use self::file::{RuleError, RuleProblem};
use self::{
    file::{Condition, PlannedRule, Rules, SubtaskRule},
    template::Values,
    words::Text,
};
use crate::planner::{PlanRequest, Planner};

/// The rules that are used when the operator names no file.
const BUILT_IN: &str = include_str!("rules.yaml");

/// Decomposes requests by rules; see the module's text.
#[derive(Debug, Clone)]
pub struct RulePlanner {
    rules: Rules,
}

impl RulePlanner {
    /// The rules for software work that are compiled in.
    ///
    /// # Panics
    /// Never: a test reads them.
    pub fn builtin() -> RulePlanner {
        RulePlanner::from_yaml(BUILT_IN).expect("the built-in rules are valid")
    }

    /// Rules from the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each problem with its line and column.
    pub fn from_yaml(text: &str) -> Result<RulePlanner, RuleError> {
        Ok(RulePlanner { rules: file::parse(text)? })
    }

    /// The subtasks of the first rule that fits.
    ///
    /// # Errors
    /// Violations when no rule fits, or when an input grows over its limit.
    pub fn decompose(&self, request: &PlanRequest<'_>) -> Result<Vec<Draft>, Vec<Violation>> {
        // Faces hand over a checked object; nothing else can hold words.
        let metadata: Value = serde_json::from_slice(request.metadata).unwrap_or(Value::Null);
        let said = Said { request, metadata: &metadata, default: &self.rules.read };
        for rule in &self.rules.rules {
            let fits = rule.requires.iter().all(|name| registered(request.agents, name))
                && (rule.conditions.is_empty() || said.one_holds(&rule.conditions, &BTreeSet::new()));
            if fits {
                let drafts = said.subtasks(rule)?;
                if !drafts.is_empty() {
                    return Ok(drafts);
                }
            }
        }
        Err(vec![Violation::new(
            "plan",
            "no planner rule fits this request: send a plan, or say in title or description what is to be done",
        )])
    }
}

impl Planner for RulePlanner {
    fn plan<'a>(&'a self, request: &'a PlanRequest<'a>) -> BoxFuture<'a, Result<Vec<Draft>, Vec<Violation>>> {
        Box::pin(async move { self.decompose(request) })
    }
}

/// A request as the rules look at it.
struct Said<'a> {
    request: &'a PlanRequest<'a>,
    metadata: &'a Value,
    /// Which parts of the request are read where a condition says nothing.
    default: &'a [words::Part],
}

impl Said<'_> {
    fn one_holds(&self, conditions: &[Condition], planned: &BTreeSet<&str>) -> bool {
        conditions.iter().any(|condition| self.holds(condition, planned))
    }

    fn holds(&self, condition: &Condition, planned: &BTreeSet<&str>) -> bool {
        let parts = if condition.read.is_empty() { self.default } else { &condition.read };
        let text = Text::of(parts, self.request, self.metadata);
        (condition.any.is_empty() || condition.any.iter().any(|phrase| text.says(phrase)))
            && condition.all.iter().all(|phrase| text.says(phrase))
            && !condition.none.iter().any(|phrase| text.says(phrase))
            && condition.registered.iter().all(|name| registered(self.request.agents, name))
            && (condition.with.is_empty() || condition.with.iter().any(|key| planned.contains(key.as_str())))
    }

    /// What of a rule is planned. A subtask that is left out is replaced, wherever others depend on it, by
    /// what it depends on itself, so that the order of the rest stays.
    fn subtasks(&self, rule: &PlannedRule) -> Result<Vec<Draft>, Vec<Violation>> {
        let values = Values { request: self.request, metadata: self.metadata };
        let mut drafts: Vec<Draft> = Vec::new();
        let mut planned = BTreeSet::new();
        let mut stands_for: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut places: BTreeMap<(String, Vec<String>, String), String> = BTreeMap::new();
        for subtask in &rule.subtasks {
            let depends_on = resolve(&subtask.depends_on, &stands_for);
            if !subtask.conditions.is_empty() && !self.one_holds(&subtask.conditions, &planned) {
                stands_for.insert(&subtask.key, depends_on);
                continue;
            }
            let input = values.fill(&subtask.input).map(raw);
            let bytes = input.as_ref().map_or(0, |input| input.get().len());
            if bytes > limits::INPUT_BYTES {
                return Err(vec![Violation::new(
                    "metadata",
                    format!(
                        "rule `{}` puts {bytes} bytes into the input of `{}`, at most {} (INPUT_BYTES)",
                        rule.name,
                        subtask.key,
                        limits::INPUT_BYTES
                    ),
                )]);
            }
            let (agent, capabilities) = route(subtask, self.request.agents);
            let place =
                (agent.clone(), capabilities.clone(), input.as_ref().map_or("", |i| i.get()).to_owned());
            if let Some(same) = places.get(&place) {
                // Two rules' words for one piece of work: it is done once.
                let mut keys = vec![same.clone()];
                keys.extend(depends_on.into_iter().filter(|key| key != same));
                stands_for.insert(&subtask.key, keys);
                continue;
            }
            places.insert(place, subtask.key.clone());
            planned.insert(subtask.key.as_str());
            stands_for.insert(&subtask.key, vec![subtask.key.clone()]);
            drafts.push(Draft {
                key: subtask.key.clone(),
                agent,
                capabilities,
                input,
                depends_on,
                sla_seconds: subtask.sla_seconds,
                max_attempts: subtask.max_attempts,
                priority: subtask.priority,
                ..Draft::default()
            });
        }
        Ok(drafts)
    }
}

/// The keys that really are in the plan, each once, in the order written.
fn resolve(depends_on: &[String], stands_for: &BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for key in depends_on.iter().flat_map(|key| stands_for.get(key.as_str()).into_iter().flatten()) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

/// The agent by name where it is registered, else whoever declared one of the stand-in capabilities; the name
/// again when nobody did, so that the work waits for that specialist.
fn route(subtask: &SubtaskRule, agents: &[AgentDeclaration]) -> (String, Vec<String>) {
    let named = agents.iter().any(|agent| agent.name == subtask.agent);
    let stand_in = subtask.or_capability.iter().find(|&tag| {
        agents.iter().any(|agent| {
            agent.capabilities.contains(tag)
                && subtask.capabilities.iter().all(|needed| agent.capabilities.contains(needed))
        })
    });
    let mut capabilities = subtask.capabilities.clone();
    match stand_in {
        Some(tag) if !named => {
            if !capabilities.contains(tag) {
                capabilities.push(tag.clone());
            }
            (String::new(), capabilities)
        }
        Some(_) | None => (subtask.agent.clone(), capabilities),
    }
}

/// Whether an agent of that name, or one with that capability, is registered.
fn registered(agents: &[AgentDeclaration], name: &str) -> bool {
    agents.iter().any(|agent| agent.name == name || agent.capabilities.iter().any(|tag| tag == name))
}

fn raw(value: Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("a printed value is JSON")
}

#[cfg(test)]
mod tests;
