//! The plan: a task's graph. Nodes are added while the task runs (elements of a map, rounds of a loop, children of a
//! worker, repetitions), and never change or go: whatever happens again is a new node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    check::PREVIOUS,
    draft::{ContextKeys, Does, Draft, OnFailure, Retry, RunIf},
    id::{Index, RouteNo},
    nested::Inside,
    task::Priority,
};

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

    /// What these subtasks need, and those of their bodies.
    pub fn all_of(drafts: &[Draft]) -> BTreeSet<RouteSpec> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<&Draft> = drafts.iter().collect();
        while let Some(draft) = todo.pop() {
            if draft.does.is_work() {
                found.insert(RouteSpec::new(&draft.agent, &draft.capabilities));
                found.extend(draft.fallback.iter().map(|agent| RouteSpec::new(agent, &[])));
            }
            found.extend(draft.compensate.iter().map(|undo| RouteSpec::new(&undo.agent, &undo.capabilities)));
            todo.extend(draft.does.body().into_iter().flatten());
        }
        found
    }
}

/// The route of what no worker does. No worker serves it.
pub const NO_ROUTE: RouteNo = RouteNo(0);

/// One node of an accepted plan, or of the body of a group, where `key` and `depends_on` are the body's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Unique among what is not replaced; of what belongs to a group, below the group's: `each.3.write`.
    pub key: String,
    /// `{agent or key}::{task_id}::{n}`, `n` counting those from 1. Empty in a body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
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
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// Where it goes when whoever is before could not do it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Fallback>,
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_if: RunIf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Undo>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: ContextKeys,
    /// Which subtask it undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensates: Option<Index>,
    #[serde(default = "work", skip_serializing_if = "Does::is_work")]
    pub does: Does<Vec<Node>>,
    /// In a body: which of the group's own dependencies it depends on too, by their place there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outer: Vec<u32>,
    /// The group it belongs to, or the subtask whose worker added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Index>,
    /// Whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Index>,
    /// Of a round that takes the place of another: those behind that one, which no longer count. Whether others follow
    /// is for the loop to ask anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<Index>,
    /// An approval that a rule of the operator put before what depends on it, and whose input it shows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub guards: bool,
    /// Of an element of a map: the element, and its place in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Box<RawValue>>,
    /// Which element of a map from 0, or round of a loop from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
}

/// Who undoes a subtask, and with what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Undo {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    pub route: RouteNo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
}

/// Another agent for a subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    pub agent: String,
    pub route: RouteNo,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn work() -> Does<Vec<Node>> {
    Does::Work
}

impl Node {
    /// Where it goes from this route when that could not do it.
    pub(crate) fn fallback_from(&self, route: RouteNo) -> Option<&Fallback> {
        let next = match self.fallback.iter().position(|fallback| fallback.route == route) {
            Some(at) => at + 1,
            None if route == self.route => 0,
            None => return None,
        };
        self.fallback.get(next)
    }

    /// What its id begins with.
    fn label(&self) -> &str {
        if self.agent.is_empty() { &self.key } else { &self.agent }
    }

    /// Whether it belongs to no other one, and undoes none.
    pub fn stands_alone(&self) -> bool {
        self.parent.is_none() && self.compensates.is_none()
    }

    /// Whether more has to be known than that its dependencies succeeded, before a worker may have it.
    pub(crate) fn is_plain(&self) -> bool {
        self.does.is_work() && self.when.is_none()
    }
}

/// An accepted plan, as far as it has grown: acyclic, complete, within limits.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    nodes: Vec<Arc<Node>>,
    /// Apart for each node, so that a plan that grows shares what stays the same.
    dependents: Vec<Arc<Vec<Index>>>,
    children: BTreeMap<Index, Children>,
    replaced: BTreeSet<Index>,
    /// Something of it can be undone; and what undoes what.
    can_compensate: bool,
    undoes: BTreeMap<Index, Vec<Index>>,
    /// How often each label stands in an id.
    labels: BTreeMap<String, u32>,
    routes: BTreeSet<RouteNo>,
    context: Bytes,
    inside: Option<Arc<Inside>>,
}

/// What belongs to a subtask, in the order of the plan.
#[derive(Clone, Debug, Default)]
struct Children {
    all: Arc<Vec<Index>>,
    /// Those of them that were not replaced.
    current: Arc<Vec<Index>>,
}

impl Plan {
    /// The plan of checked drafts. `route` interns what each subtask needs.
    ///
    /// # Panics
    /// When the drafts did not pass [`check`](crate::check::check).
    pub fn build(
        task_id: &str,
        priority: Priority,
        attempts_max: u16,
        drafts: &[Draft],
        mut route: impl FnMut(&RouteSpec) -> RouteNo,
    ) -> Plan {
        let mut plan = Plan::default();
        let nodes = body(priority, attempts_max, OnFailure::Review, drafts, &[], &mut route);
        plan.grow(task_id, nodes);
        plan
    }

    /// A plan from its stored nodes.
    pub fn from_nodes(nodes: Vec<Node>) -> Plan {
        let mut plan = Plan::default();
        nodes.into_iter().for_each(|node| plan.push(node));
        plan
    }

    /// Adds nodes and gives them their ids. Their dependencies are places in the whole plan.
    pub fn grow(&mut self, task_id: &str, nodes: Vec<Node>) {
        for mut node in nodes {
            let label = node.label();
            let count = self.labels.get(label).copied().unwrap_or(0) + 1;
            node.id = format!("{label}::{task_id}::{count}");
            self.push(node);
        }
    }

    /// Adds nodes that have their ids.
    pub fn extend(&mut self, nodes: &[Arc<Node>]) {
        nodes.iter().for_each(|node| self.add(Arc::clone(node)));
    }

    fn push(&mut self, node: Node) {
        self.add(Arc::new(node));
    }

    fn add(&mut self, node: Arc<Node>) {
        let index = self.len();
        // A subtask may be listed before what it depends on.
        let last = node.depends_on.iter().copied().fold(index, Index::max) as usize;
        if self.dependents.len() <= last {
            self.dependents.resize_with(last + 1, Arc::default);
        }
        for &dependency in &node.depends_on {
            Arc::make_mut(&mut self.dependents[dependency as usize]).push(index);
        }
        if let Some(parent) = node.parent {
            let children = self.children.entry(parent).or_default();
            Arc::make_mut(&mut children.all).push(index);
            Arc::make_mut(&mut children.current).push(index);
        }
        for old in node.replaces.iter().chain(&node.drops).copied() {
            self.replace(old);
        }
        add_routes(&node, &mut self.routes);
        self.can_compensate |= node.compensate.is_some();
        if let Some(undone) = node.compensates {
            self.undoes.entry(undone).or_default().push(index);
        }
        match self.labels.get_mut(node.label()) {
            Some(count) => *count += 1,
            None => drop(self.labels.insert(node.label().to_owned(), 1)),
        }
        self.nodes.push(node);
    }

    fn replace(&mut self, old: Index) {
        self.replaced.insert(old);
        let parent = self.node(old).and_then(|node| node.parent);
        let Some(children) = parent.and_then(|parent| self.children.get_mut(&parent)) else { return };
        if let Ok(at) = children.current.binary_search(&old) {
            Arc::make_mut(&mut children.current).remove(at);
        }
    }

    /// The context that the task was given, a JSON object; empty: none.
    pub fn with_context(mut self, context: Bytes) -> Plan {
        self.context = context;
        self
    }

    /// See [`with_context`](Plan::with_context).
    pub fn context(&self) -> &[u8] {
        &self.context
    }

    /// The subtask of another task that this task is.
    pub fn with_inside(mut self, inside: Option<Arc<Inside>>) -> Plan {
        self.inside = inside;
        self
    }

    /// See [`with_inside`](Plan::with_inside).
    pub fn inside(&self) -> Option<&Arc<Inside>> {
        self.inside.as_ref()
    }

    /// How many nodes there are, which is also the plan's version.
    pub fn len(&self) -> Index {
        Index::try_from(self.nodes.len()).expect("plans are bounded")
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What workers may be needed for, also in bodies.
    pub fn routes(&self) -> &BTreeSet<RouteNo> {
        &self.routes
    }

    /// All nodes; the position is the subtask's [`Index`].
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// One node, or `None` when the plan has no such place.
    pub fn node(&self, index: Index) -> Option<&Node> {
        self.nodes.get(index as usize).map(|node| &**node)
    }

    /// The subtasks that wait for this one.
    pub fn dependents(&self, index: Index) -> &[Index] {
        self.dependents.get(index as usize).map_or(&[], |dependents| dependents)
    }

    /// What belongs to this one, without what was replaced. Its length, and any part of it, are at hand.
    pub fn children(&self, index: Index) -> impl DoubleEndedIterator<Item = Index> + ExactSizeIterator + '_ {
        self.children.get(&index).map_or(&[][..], |children| &children.current).iter().copied()
    }

    /// What belongs to this one, directly or not, and also what was replaced.
    pub fn descendants(&self, index: Index) -> Vec<Index> {
        if !self.children.contains_key(&index) {
            return Vec::new();
        }
        let (mut found, mut todo) = (Vec::new(), vec![index]);
        while let Some(of) = todo.pop() {
            let children = self.children.get(&of).map_or(&[][..], |children| &children.all);
            found.extend_from_slice(children);
            todo.extend_from_slice(children);
        }
        found
    }

    /// Whether another node has taken its place.
    pub fn is_replaced(&self, index: Index) -> bool {
        self.replaced.contains(&index)
    }

    /// Whether something may have to be undone before the task has failed.
    pub fn may_compensate(&self) -> bool {
        self.can_compensate
    }

    /// What undoes this one, or was to.
    pub fn undone_by(&self, index: Index) -> &[Index] {
        self.undoes.get(&index).map_or(&[], |undoing| undoing)
    }

    /// What something undoes, or was to.
    pub fn undone(&self) -> impl Iterator<Item = Index> + '_ {
        self.undoes.keys().copied()
    }

    /// Whether its failure is what something that depends on it is for.
    pub fn handles_failure_of(&self, index: Index) -> bool {
        self.dependents(index)
            .iter()
            .map(|&i| (i, &self.nodes[i as usize]))
            // A round begins after whatever ends, and is not there to make up for it.
            .filter(|(_, node)| !matches!(node.does, Does::Round))
            .any(|(i, node)| node.run_if.handles_failure() && !self.is_replaced(i))
    }

    /// Whether the task has failed when this one has. What undoes something only begins once it has, or was cancelled.
    pub fn is_fatal(&self, index: Index) -> bool {
        self.node(index).is_some_and(|node| node.stands_alone())
            && !self.is_replaced(index)
            && !self.handles_failure_of(index)
    }

    /// What a subtask, or an expression of it, calls one of its dependencies: the key that it has where both belong,
    /// and `previous` for the last round of a loop.
    pub fn name_for(&self, reader: Index, dependency: Index) -> &str {
        let (Some(from), Some(node)) = (self.node(reader), self.node(dependency)) else { return "" };
        let Some(parent) = node.parent else { return &node.key };
        let of_reader = from.parent.and_then(|group| self.node(group)).and_then(|group| group.parent);
        let round = self.node(parent).is_some_and(|group| matches!(group.does, Does::Loop(_)));
        if round && (from.parent == Some(parent) || of_reader == Some(parent)) {
            return PREVIOUS;
        }
        self.local_key(dependency)
    }

    /// The key within the group, or of what stands alone the whole.
    pub fn local_key(&self, index: Index) -> &str {
        let Some(node) = self.node(index) else { return "" };
        let prefix =
            node.parent.and_then(|parent| self.node(parent)).map_or(0, |parent| parent.key.len() + 1);
        node.key.get(prefix..).unwrap_or(&node.key)
    }

    /// The element of a map that this belongs to, the innermost one.
    pub fn item(&self, index: Index) -> Option<&RawValue> {
        self.lineage(index).find_map(|node| node.item.as_deref())
    }

    /// Which element or round this belongs to, the innermost one.
    pub fn nth(&self, index: Index) -> Option<u32> {
        self.lineage(index).find_map(|node| node.nth)
    }

    /// The input: its own, or the element of the map that it is itself, or whose body it is a part of.
    pub fn input(&self, index: Index) -> Option<&RawValue> {
        let node = self.node(index)?;
        let of_round = || {
            let round = self.node(node.parent?).filter(|around| matches!(around.does, Does::Round));
            round?.item.as_deref()
        };
        node.input.as_deref().or(node.item.as_deref()).or_else(of_round)
    }

    /// How many groups it stands in.
    pub fn depth(&self, index: Index) -> usize {
        self.lineage(index).count().saturating_sub(1)
    }

    /// The body that a group runs: its own, or that of the map or loop it is a round of.
    pub fn body_of(&self, index: Index) -> &[Node] {
        let Some(node) = self.node(index) else { return &[] };
        let owner = match node.does {
            Does::Round => node.parent.and_then(|parent| self.node(parent)),
            Does::Work | Does::Approval(_) | Does::Signal(_) | Does::Timer(_) | Does::Workflow(_) => None,
            Does::Group(_) | Does::Map(_) | Does::Loop(_) => Some(node),
        };
        owner.and_then(|owner| owner.does.body()).map_or(&[], Vec::as_slice)
    }

    /// Whether neither it nor a group it belongs to was replaced.
    pub fn is_current(&self, index: Index) -> bool {
        !self.is_replaced(index) && !self.groups(index).any(|group| self.is_replaced(group))
    }

    /// What it belongs to, the innermost first.
    pub(crate) fn groups(&self, index: Index) -> impl Iterator<Item = Index> + '_ {
        let parent = |at: Index| self.node(at)?.parent;
        std::iter::successors(parent(index), move |at| parent(*at))
    }

    /// What it belongs to in the end, or itself.
    pub fn outermost(&self, index: Index) -> Index {
        self.groups(index).last().unwrap_or(index)
    }

    /// The node itself, its group, that one's group, and so on.
    fn lineage(&self, index: Index) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.node(index), |node| self.node(node.parent?))
    }

    /// The place of a subtask by its full id or its key; of those with the same key, the newest.
    pub fn find(&self, name: &str) -> Option<Index> {
        let mut all = (0..self.len()).rev();
        all.find(|&index| self.nodes[index as usize].key == name || self.nodes[index as usize].id == name)
    }
}

fn add_routes(node: &Node, into: &mut BTreeSet<RouteNo>) {
    if node.does.is_work() {
        into.insert(node.route);
        into.extend(node.fallback.iter().map(|fallback| fallback.route));
    }
    into.extend(node.compensate.iter().map(|undo| undo.route));
    node.does.body().into_iter().flatten().for_each(|part| add_routes(part, into));
}

/// Drafts as nodes that depend on each other by their place among them. `outside`: keys of what the group that they
/// are the body of depends on. `on_failure` is for those that say nothing.
pub fn body(
    priority: Priority,
    attempts_max: u16,
    on_failure: OnFailure,
    drafts: &[Draft],
    outside: &[String],
    route: &mut dyn FnMut(&RouteSpec) -> RouteNo,
) -> Vec<Node> {
    let places: BTreeMap<&str, Index> = drafts.iter().map(|d| d.key.as_str()).zip(0..).collect();
    let outer: BTreeMap<&str, u32> = outside.iter().map(String::as_str).zip(0..).collect();
    let mut node = |draft: &Draft| {
        let priority = draft.priority.unwrap_or(priority);
        // What it is made of is tried again within.
        let attempts_max = if draft.does.is_workflow() { 1 } else { attempts_max };
        // A map decides over the failures of its elements itself.
        let inner = if matches!(draft.does, Does::Map(_)) { OnFailure::Fail } else { on_failure };
        // In the order that they have where the body is put into the plan.
        let (beside, above): (Vec<String>, Vec<String>) =
            draft.depends_on.iter().cloned().partition(|key| places.contains_key(key.as_str()));
        let outside: Vec<String> = beside.into_iter().chain(above).collect();
        let does = draft.does.map_body(|of| body(priority, attempts_max, inner, of, &outside, route));
        let spec = RouteSpec::new(&draft.agent, &draft.capabilities);
        Node {
            key: draft.key.clone(),
            id: String::new(),
            agent: draft.agent.clone(),
            capabilities: draft.capabilities.clone(),
            route: if does.is_work() { route(&spec) } else { NO_ROUTE },
            input: draft.input.clone(),
            depends_on: draft.depends_on.iter().filter_map(|key| places.get(key.as_str()).copied()).collect(),
            sla_seconds: draft.sla_seconds,
            attempts_max: draft.max_attempts.unwrap_or(attempts_max),
            retry: draft.retry.clone(),
            fallback: draft
                .fallback
                .iter()
                .map(|agent| Fallback { agent: agent.clone(), route: route(&RouteSpec::new(agent, &[])) })
                .collect(),
            priority,
            run_if: draft.run_if,
            when: draft.when.clone(),
            on_failure: draft.on_failure.unwrap_or(on_failure),
            compensate: draft.compensate.as_ref().map(|undo| Undo {
                agent: undo.agent.clone(),
                capabilities: undo.capabilities.clone(),
                route: route(&RouteSpec::new(&undo.agent, &undo.capabilities)),
                input: undo.input.clone(),
            }),
            context: draft.context.clone(),
            compensates: None,
            does,
            outer: draft.depends_on.iter().filter_map(|key| outer.get(key.as_str()).copied()).collect(),
            parent: None,
            replaces: None,
            drops: Vec::new(),
            guards: draft.guards,
            item: None,
            nth: None,
        }
    };
    drafts.iter().map(&mut node).collect()
}
