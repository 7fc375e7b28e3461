//! The file of rules: its shape in YAML, and every check that can be made before a request comes.

use std::{collections::BTreeSet, fmt};

use downbeat_core::{check, draft::Draft, task::Priority};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::{
    template::Template,
    words::{Part, Phrase},
};

/// Rules, checked.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Which parts of a request are read, where a condition says nothing.
    pub(super) read: Vec<Part>,
    pub(super) rules: Vec<PlannedRule>,
}

/// One rule: when it is used, and what it plans.
#[derive(Debug, Clone)]
pub(super) struct PlannedRule {
    pub(super) name: String,
    /// One of them has to hold; empty: always.
    pub(super) conditions: Vec<Condition>,
    pub(super) requires: Vec<String>,
    /// What one depends on stands before it.
    pub(super) subtasks: Vec<SubtaskRule>,
}

/// All of it has to hold.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) read: Vec<Part>,
    pub(super) any: Vec<Phrase>,
    pub(super) all: Vec<Phrase>,
    pub(super) none: Vec<Phrase>,
    pub(super) registered: Vec<String>,
    /// One of these subtasks is in the plan.
    pub(super) with: Vec<String>,
}

/// A subtask that a rule may plan.
#[derive(Debug, Clone)]
pub(super) struct SubtaskRule {
    pub(super) key: String,
    pub(super) agent: String,
    pub(super) or_capability: Vec<String>,
    pub(super) capabilities: Vec<String>,
    pub(super) depends_on: Vec<String>,
    pub(super) sla_seconds: Option<u32>,
    pub(super) max_attempts: Option<u16>,
    pub(super) priority: Option<Priority>,
    pub(super) input: Template,
    /// One of them has to hold; empty: always.
    pub(super) conditions: Vec<Condition>,
}

/// Why a file of rules cannot be used: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// At least one, in the order of the file.
    pub problems: Vec<RuleProblem>,
}

/// One thing that is wrong, and where; lines and columns count from 1, and 0 means unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleProblem {
    pub line: u64,
    pub column: u64,
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, RuleProblem { line, column, message }) in self.problems.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}line {line}, column {column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileYaml {
    #[serde(default, rename = "in")]
    read: Vec<Spanned<String>>,
    rules: Spanned<Vec<RuleYaml>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleYaml {
    name: Spanned<String>,
    #[serde(default, rename = "match")]
    conditions: Vec<ConditionYaml>,
    #[serde(default)]
    requires: Vec<String>,
    subtasks: Spanned<Vec<Spanned<SubtaskYaml>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionYaml {
    #[serde(default, rename = "in")]
    read: Vec<Spanned<String>>,
    #[serde(default)]
    any: Vec<Spanned<String>>,
    #[serde(default)]
    all: Vec<Spanned<String>>,
    #[serde(default)]
    none: Vec<Spanned<String>>,
    #[serde(default)]
    registered: Vec<String>,
    #[serde(default)]
    with: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubtaskYaml {
    key: Spanned<String>,
    #[serde(default)]
    agent: String,
    or_capability: Option<Vec<String>>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    depends_on: Vec<Spanned<String>>,
    sla_seconds: Option<u32>,
    max_attempts: Option<u16>,
    priority: Option<Priority>,
    input: Option<Spanned<Value>>,
    #[serde(default)]
    when: Vec<ConditionYaml>,
}

/// Reads and checks a file.
pub(super) fn parse(text: &str) -> Result<Rules, RuleError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let file: FileYaml = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        RuleError { problems: vec![problem(at, without_place(&error.to_string()))] }
    })?;
    let mut problems = Problems::default();
    let rules = Rules { read: problems.parts_or_default(&file.read), rules: problems.rules(file.rules) };
    problems.0.sort();
    problems.0.dedup();
    if problems.0.is_empty() { Ok(rules) } else { Err(RuleError { problems: problems.0 }) }
}

fn problem(at: Location, message: impl Into<String>) -> RuleProblem {
    RuleProblem { line: at.line(), column: at.column(), message: message.into() }
}

/// The parser's message in our words: it says once more where the problem is, and speaks to programmers.
fn without_place(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    let message = message.lines().next().unwrap_or_default();
    match message {
        "expected sequence start" => "expected a list".to_owned(),
        "expected mapping start" => "expected members, `name: value`".to_owned(),
        _ if message.starts_with("invalid u") => "expected a whole number".to_owned(),
        _ => message.split(", set DuplicateKeyPolicy").next().unwrap_or_default().to_owned(),
    }
}

#[derive(Default)]
struct Problems(Vec<RuleProblem>);

impl Problems {
    fn add(&mut self, at: Location, message: impl Into<String>) {
        self.0.push(problem(at, message));
    }

    fn rules(&mut self, rules: Spanned<Vec<RuleYaml>>) -> Vec<PlannedRule> {
        if rules.value.is_empty() {
            self.add(rules.referenced, "`rules` holds no rule: write at least one");
        }
        let mut names = BTreeSet::new();
        let mut checked: Vec<PlannedRule> = Vec::new();
        for rule in rules.value {
            if !names.insert(rule.name.value.clone()) {
                self.add(rule.name.referenced, format!("a rule above is called `{}` too", rule.name.value));
            }
            if checked.last().is_some_and(always) {
                self.add(
                    rule.name.referenced,
                    format!("`{}` is never reached: the rule above it fits every request", rule.name.value),
                );
            }
            checked.push(self.rule(rule));
        }
        checked
    }

    fn rule(&mut self, rule: RuleYaml) -> PlannedRule {
        let none = BTreeSet::new();
        let conditions = rule.conditions.iter().map(|c| self.condition(c, &none)).collect();
        let mut keys = BTreeSet::new();
        let mut subtasks = Vec::new();
        self.check_plan(&rule.subtasks);
        for Spanned { value: subtask, .. } in rule.subtasks.value {
            let key = subtask.key.value.clone();
            subtasks.push(self.subtask(subtask, &keys));
            keys.insert(key);
        }
        PlannedRule { name: rule.name.value, conditions, requires: rule.requires, subtasks }
    }

    fn subtask(&mut self, subtask: SubtaskYaml, above: &BTreeSet<String>) -> SubtaskRule {
        let input = subtask.input.map_or(Ok(Template::Fixed(Value::Null)), |input| {
            Template::parse(input.value).map_err(|message| (input.referenced, message))
        });
        let input = input.unwrap_or_else(|(at, message)| {
            self.add(at, message);
            Template::Fixed(Value::Null)
        });
        let stand_in = || if subtask.agent.is_empty() { Vec::new() } else { vec![subtask.agent.clone()] };
        SubtaskRule {
            or_capability: subtask.or_capability.unwrap_or_else(stand_in),
            conditions: subtask.when.iter().map(|c| self.condition(c, above)).collect(),
            depends_on: self.keys(&subtask.depends_on, above),
            key: subtask.key.value,
            agent: subtask.agent,
            capabilities: subtask.capabilities,
            sla_seconds: subtask.sla_seconds,
            max_attempts: subtask.max_attempts,
            priority: subtask.priority,
            input,
        }
    }

    fn condition(&mut self, condition: &ConditionYaml, above: &BTreeSet<String>) -> Condition {
        Condition {
            read: self.parts(&condition.read),
            any: self.phrases(&condition.any),
            all: self.phrases(&condition.all),
            none: self.phrases(&condition.none),
            registered: condition.registered.clone(),
            with: self.keys(&condition.with, above),
        }
    }

    fn phrases(&mut self, texts: &[Spanned<String>]) -> Vec<Phrase> {
        let mut phrases = Vec::new();
        for text in texts {
            match Phrase::parse(&text.value) {
                Some(phrase) => phrases.push(phrase),
                None => {
                    let shown = text.value.escape_debug();
                    self.add(text.referenced, format!("`{shown}` holds no word: letters or digits"));
                }
            }
        }
        phrases
    }

    /// Keys of subtasks that stand above, so that a rule is read once from top to bottom and has no cycle.
    fn keys(&mut self, keys: &[Spanned<String>], above: &BTreeSet<String>) -> Vec<String> {
        for key in keys {
            if !above.contains(&key.value) {
                let known: Vec<&str> = above.iter().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "there is none".to_owned()
                } else {
                    format!("there are {}", known.join(", "))
                };
                self.add(
                    key.referenced,
                    format!("no subtask above this one has the key `{}`: {known}", key.value.escape_debug()),
                );
            }
        }
        keys.iter().map(|key| key.value.clone()).collect()
    }

    fn parts_or_default(&mut self, texts: &[Spanned<String>]) -> Vec<Part> {
        if texts.is_empty() {
            return vec![Part::Title, Part::Description, Part::Metadata(Vec::new())];
        }
        self.parts(texts)
    }

    fn parts(&mut self, texts: &[Spanned<String>]) -> Vec<Part> {
        let mut parts = Vec::new();
        for text in texts {
            match Part::parse(&text.value) {
                Some(part) => parts.push(part),
                None => self.add(
                    text.referenced,
                    format!(
                        "`{}` is no part of a request: there are title, description, metadata and metadata.NAME",
                        text.value.escape_debug()
                    ),
                ),
            }
        }
        parts
    }

    /// What the validator of plans says of all subtasks together: names, limits, doubles.
    fn check_plan(&mut self, subtasks: &Spanned<Vec<Spanned<SubtaskYaml>>>) {
        let mut inputs: Vec<(&str, &[String], &Value)> = Vec::new();
        let drafts: Vec<Draft> = subtasks.value.iter().map(|subtask| draft(&subtask.value)).collect();
        for violation in check::check(&drafts).err().unwrap_or_default() {
            let (at, field) = place(&violation.field, subtasks);
            self.add(at, format!("{field}: {}", violation.issue.replace("plan.subtasks", "subtasks")));
        }
        for Spanned { value: subtask, referenced, .. } in &subtasks.value {
            let input = subtask.input.as_ref().map_or(&Value::Null, |input| &input.value);
            let work = (subtask.agent.as_str(), subtask.capabilities.as_slice(), input);
            if inputs.contains(&work) {
                self.add(
                    *referenced,
                    format!(
                        "`{}` is the same work as a subtask above it, the same agent with the same input: give it \
                         an input of its own, or leave it out",
                        subtask.key.value
                    ),
                );
            }
            inputs.push(work);
        }
    }
}

fn always(rule: &PlannedRule) -> bool {
    rule.conditions.is_empty()
        && rule.requires.is_empty()
        && rule.subtasks.iter().any(|subtask| subtask.conditions.is_empty())
}

/// Without dependencies: those have their own, narrower check.
fn draft(subtask: &SubtaskYaml) -> Draft {
    Draft {
        key: subtask.key.value.clone(),
        agent: subtask.agent.clone(),
        capabilities: subtask
            .capabilities
            .iter()
            .chain(subtask.or_capability.iter().flatten())
            .cloned()
            .collect(),
        sla_seconds: subtask.sla_seconds,
        max_attempts: subtask.max_attempts,
        priority: subtask.priority,
        ..Draft::default()
    }
}

/// Where `plan.subtasks[2].agent` stands in the file.
fn place(field: &str, subtasks: &Spanned<Vec<Spanned<SubtaskYaml>>>) -> (Location, String) {
    let within = field.strip_prefix("plan.subtasks[").and_then(|rest| rest.split_once(']'));
    let subtask = within.and_then(|(i, rest)| Some((subtasks.value.get(i.parse::<usize>().ok()?)?, rest)));
    match subtask {
        Some((subtask, rest)) => (subtask.referenced, rest.trim_start_matches('.').to_owned()),
        None => (subtasks.referenced, "subtasks".to_owned()),
    }
}
