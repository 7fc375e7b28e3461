//! The plan: a task's graph, immutable once accepted, and the one validator that every planner's output
//! passes, whether a client, a rule or a model wrote it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    id::{Index, RouteNo},
    limits,
    task::Priority,
};

/// One subtask as asked for: what a client, a rule or a model writes.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub key: String,
    /// Empty: any agent with the capabilities.
    pub agent: String,
    pub capabilities: Vec<String>,
    /// JSON text; `None`: null.
    pub input: Option<Box<RawValue>>,
    /// Keys.
    pub depends_on: Vec<String>,
    /// Start to close; `None`: the agent's own.
    pub sla_seconds: Option<u32>,
    pub max_attempts: Option<u16>,
    pub priority: Option<Priority>,
}

/// What is wrong with a draft, and where: `plan.subtasks[2].depends_on[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub issue: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, issue: impl Into<String>) -> Violation {
        Violation { field: field.into(), issue: issue.into() }
    }
}

/// What a subtask needs, before it is interned into a [`RouteNo`]. `capabilities` are sorted and unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteSpec {
    pub agent: String,
    pub capabilities: Vec<String>,
}

impl RouteSpec {
    pub fn new(agent: &str, capabilities: &[String]) -> RouteSpec {
        let capabilities: BTreeSet<String> = capabilities.iter().cloned().collect();
        RouteSpec { agent: agent.to_owned(), capabilities: capabilities.into_iter().collect() }
    }

    /// Whether an agent of that name with those capability tags can do it.
    pub fn served_by(&self, agent: &str, capabilities: &[String]) -> bool {
        (self.agent.is_empty() || self.agent == agent)
            && self.capabilities.iter().all(|tag| capabilities.contains(tag))
    }
}

/// One node of an accepted plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    pub key: String,
    /// `{agent}::{task_id}::{n}`, `n` counting the agent's subtasks in this task from 1.
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    pub route: RouteNo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Index>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla_seconds: Option<u32>,
    pub attempts_max: u16,
    pub priority: Priority,
}

/// An accepted plan: acyclic, complete, within limits. Never changes, so it may be cached.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    dependents: Vec<Vec<Index>>,
}

impl Plan {
    /// Checks the drafts and gives every problem at once, each naming its field below `plan`.
    ///
    /// # Errors
    /// All violations: duplicate, over-long or malformed keys; unknown, repeated, self-referring or
    /// cyclic dependencies; a limit exceeded, with the limit's name and value. Of what is too many, that is all
    /// that is said: a problem weighs far more than an element, and a request may hold millions of those.
    pub fn check(drafts: &[Draft]) -> Result<(), Vec<Violation>> {
        let mut found = Vec::new();
        if drafts.is_empty() {
            found.push(Violation::new("plan.subtasks", "must hold at least one subtask"));
        }
        if drafts.len() > limits::PLAN_SUBTASKS {
            found.push(Violation::new(
                "plan.subtasks",
                format!("at most {} subtasks (PLAN_SUBTASKS), got {}", limits::PLAN_SUBTASKS, drafts.len()),
            ));
            return Err(found);
        }
        let edges: usize = drafts.iter().map(|draft| draft.depends_on.len()).sum();
        if edges > limits::PLAN_DEPENDENCIES {
            found.push(Violation::new(
                "plan.subtasks",
                format!(
                    "at most {} dependencies (PLAN_DEPENDENCIES), got {edges}",
                    limits::PLAN_DEPENDENCIES
                ),
            ));
            return Err(found);
        }
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, draft) in drafts.iter().enumerate() {
            check_draft(i, draft, &mut found);
            if let Some(first) = places.get(draft.key.as_str()) {
                found.push(Violation::new(
                    format!("plan.subtasks[{i}].key"),
                    format!("`{}` is already the key of plan.subtasks[{first}]", draft.key.escape_debug()),
                ));
            } else {
                places.insert(&draft.key, i);
            }
        }
        check_inputs(drafts, &mut found);
        let edges = check_dependencies(drafts, &places, &mut found);
        check_order(drafts, &edges, &mut found);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    /// The plan of checked drafts. `route` interns what each subtask needs.
    ///
    /// # Panics
    /// When the drafts did not pass [`Plan::check`].
    pub fn build(
        task_id: &str,
        priority: Priority,
        attempts_max: u16,
        drafts: &[Draft],
        mut route: impl FnMut(&RouteSpec) -> RouteNo,
    ) -> Plan {
        let places: BTreeMap<&str, Index> = drafts.iter().map(|d| d.key.as_str()).zip(0..).collect();
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let nodes = drafts
            .iter()
            .map(|draft| {
                let label = if draft.agent.is_empty() { &draft.key } else { &draft.agent };
                let count = counts.entry(label).and_modify(|n| *n += 1).or_insert(1);
                Node {
                    key: draft.key.clone(),
                    id: format!("{label}::{task_id}::{count}"),
                    agent: draft.agent.clone(),
                    capabilities: draft.capabilities.clone(),
                    route: route(&RouteSpec::new(&draft.agent, &draft.capabilities)),
                    input: draft.input.clone(),
                    depends_on: draft.depends_on.iter().map(|key| places[key.as_str()]).collect(),
                    sla_seconds: draft.sla_seconds,
                    attempts_max: draft.max_attempts.unwrap_or(attempts_max),
                    priority: draft.priority.unwrap_or(priority),
                }
            })
            .collect();
        Plan::from_nodes(nodes)
    }

    /// A plan from its stored nodes.
    pub fn from_nodes(nodes: Vec<Node>) -> Plan {
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in (0..).zip(&nodes) {
            for &dependency in &node.depends_on {
                dependents[dependency as usize].push(index);
            }
        }
        Plan { nodes, dependents }
    }

    /// All nodes; the position is the subtask's [`Index`].
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node, or `None` when the plan has no such place.
    pub fn node(&self, index: Index) -> Option<&Node> {
        self.nodes.get(index as usize)
    }

    /// The subtasks that wait for this one.
    pub fn dependents(&self, index: Index) -> &[Index] {
        self.dependents.get(index as usize).map_or(&[], Vec::as_slice)
    }

    /// The place of a subtask by its full id or its key.
    pub fn find(&self, name: &str) -> Option<Index> {
        (0..).zip(&self.nodes).find(|(_, node)| node.key == name || node.id == name).map(|(index, _)| index)
    }
}

/// Whether a text is a name: letters, digits, `.`, `_`, `-`, starting with a letter or digit.
pub fn name_issue(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("must not be empty".into());
    }
    if name.len() > limits::NAME_BYTES {
        return Some(format!("at most {} bytes (NAME_BYTES), got {}", limits::NAME_BYTES, name.len()));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(inner) {
        return Some(format!(
            "`{}` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
            name.escape_debug()
        ));
    }
    None
}

/// Checks a list of capability tags; `field` is the list's own path.
pub fn check_capabilities(field: &str, tags: &[String], found: &mut Vec<Violation>) {
    if tags.len() > limits::CAPABILITIES {
        found.push(Violation::new(
            field,
            format!("at most {} tags (CAPABILITIES), got {}", limits::CAPABILITIES, tags.len()),
        ));
    }
    for (i, tag) in tags.iter().take(limits::CAPABILITIES).enumerate() {
        if let Some(issue) = name_issue(tag) {
            found.push(Violation::new(format!("{field}[{i}]"), issue));
        }
    }
}

fn check_draft(i: usize, draft: &Draft, found: &mut Vec<Violation>) {
    let at = |field: &str| format!("plan.subtasks[{i}].{field}");
    if let Some(issue) = name_issue(&draft.key) {
        found.push(Violation::new(at("key"), issue));
    }
    if draft.agent.is_empty() && draft.capabilities.is_empty() {
        found.push(Violation::new(at("agent"), "name an agent, or at least one capability"));
    }
    if !draft.agent.is_empty()
        && let Some(issue) = name_issue(&draft.agent)
    {
        found.push(Violation::new(at("agent"), issue));
    }
    check_capabilities(&at("capabilities"), &draft.capabilities, found);
    let bytes = draft.input.as_ref().map_or(0, |input| input.get().len());
    if bytes > limits::INPUT_BYTES {
        found.push(Violation::new(
            at("input"),
            format!("at most {} bytes (INPUT_BYTES), got {bytes}", limits::INPUT_BYTES),
        ));
    }
    if let Some(seconds) = draft.sla_seconds
        && !(1..=limits::SLA_SECONDS).contains(&seconds)
    {
        found.push(Violation::new(
            at("sla_seconds"),
            format!("1 to {} seconds (SLA_SECONDS), got {seconds}", limits::SLA_SECONDS),
        ));
    }
    if let Some(attempts) = draft.max_attempts
        && !(1..=limits::ATTEMPTS).contains(&attempts)
    {
        found.push(Violation::new(
            at("max_attempts"),
            format!("1 to {} (ATTEMPTS), got {attempts}", limits::ATTEMPTS),
        ));
    }
}

fn check_inputs(drafts: &[Draft], found: &mut Vec<Violation>) {
    let bytes: usize = drafts.iter().filter_map(|d| d.input.as_ref()).map(|input| input.get().len()).sum();
    if bytes > limits::REQUEST_BYTES {
        found.push(Violation::new(
            "plan.subtasks",
            format!(
                "inputs of at most {} bytes together (REQUEST_BYTES), got {bytes}",
                limits::REQUEST_BYTES
            ),
        ));
    }
}

fn check_dependencies(
    drafts: &[Draft],
    places: &BTreeMap<&str, usize>,
    found: &mut Vec<Violation>,
) -> Vec<Vec<usize>> {
    let mut edges = vec![Vec::new(); drafts.len()];
    for (i, draft) in drafts.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for (d, key) in draft.depends_on.iter().enumerate() {
            let mut refuse = |issue: String| {
                found.push(Violation::new(format!("plan.subtasks[{i}].depends_on[{d}]"), issue))
            };
            if *key == draft.key {
                refuse("a subtask cannot depend on itself".into());
            } else if !seen.insert(key) {
                refuse(format!("`{}` is named twice", key.escape_debug()));
            } else if let Some(&place) = places.get(key.as_str()) {
                edges[i].push(place);
            } else {
                refuse(format!("no subtask of this plan has the key `{}`", key.escape_debug()));
            }
        }
    }
    edges
}

/// Kahn's algorithm, level by level: what is left over is on a cycle or behind one.
fn check_order(drafts: &[Draft], edges: &[Vec<usize>], found: &mut Vec<Violation>) {
    let mut pending: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut dependents = vec![Vec::new(); drafts.len()];
    for (i, dependencies) in edges.iter().enumerate() {
        dependencies.iter().for_each(|&d| dependents[d].push(i));
    }
    let mut level: Vec<usize> = (0..drafts.len()).filter(|&i| pending[i] == 0).collect();
    let (mut done, mut depth) = (0, 0);
    while !level.is_empty() {
        done += level.len();
        depth += 1;
        let mut next = Vec::new();
        for &i in level.iter().flat_map(|&i| &dependents[i]) {
            pending[i] -= 1;
            if pending[i] == 0 {
                next.push(i);
            }
        }
        level = next;
    }
    if done < drafts.len() {
        let cycle = find_cycle(edges, &pending);
        let keys: Vec<&str> = cycle.iter().map(|&i| drafts[i].key.as_str()).collect();
        let at = cycle.first().copied().unwrap_or(0);
        found.push(Violation::new(
            format!("plan.subtasks[{at}].depends_on"),
            format!("dependencies form a cycle: {} -> {}", keys.join(" -> "), keys.first().unwrap_or(&"")),
        ));
    } else if depth > limits::PLAN_DEPTH {
        found.push(Violation::new(
            "plan.subtasks",
            format!("a path of at most {} subtasks (PLAN_DEPTH), got {depth}", limits::PLAN_DEPTH),
        ));
    }
}

/// One cycle among the nodes that Kahn's algorithm left: each of them has an unfinished dependency, so
/// following those must come back.
fn find_cycle(edges: &[Vec<usize>], pending: &[usize]) -> Vec<usize> {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut path = Vec::new();
    let mut at = pending.iter().position(|&n| n > 0).unwrap_or(0);
    loop {
        if let Some(&start) = seen.get(&at) {
            return path.split_off(start);
        }
        seen.insert(at, path.len());
        path.push(at);
        match edges[at].iter().find(|&&d| pending[d] > 0) {
            Some(&d) => at = d,
            None => return path,
        }
    }
}
