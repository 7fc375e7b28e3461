//! Plans of any shape: the validator says the same as a slower one written here, and what it accepts can be run
//! to its end in any order that the dependencies allow.

mod graph;
mod rules;

pub(super) use self::rules::{is_name, is_valid};

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use downbeat_core::{
    check::{Code, Schemas, Violation, check, warnings},
    draft::Draft,
    id::{Index, RouteNo},
    limits,
    plan::{NO_ROUTE, Node, Plan, RouteSpec},
    task::Priority,
};
use serde_json::value::RawValue;

/// Just above what a plan may hold, so that both sides of the limit are seen.
const DRAFTS_MAX: usize = limits::PLAN_SUBTASKS + 2;

/// A step in writing a plan down.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// One subtask.
    Node(Sketch<'a>),
    /// So many subtasks (see [`count`]), each behind the one before.
    Chain(u8),
    /// So many subtasks behind the last one, or behind nothing.
    Fan(u8),
    /// A subtask behind everything there is.
    Join,
    /// The last subtask waits for one that is so far back, or, beyond the first, so far ahead.
    Edge(u16),
}

#[derive(Arbitrary, Debug)]
struct Sketch<'a> {
    key: Name<'a>,
    agent: Name<'a>,
    capabilities: Vec<Name<'a>>,
    depends_on: Vec<Name<'a>>,
    input: Option<&'a [u8]>,
    sla_seconds: Option<u32>,
    max_attempts: Option<u16>,
    priority: u8,
}

#[derive(Arbitrary, Debug)]
enum Name<'a> {
    /// Numbered: one that is likely to exist.
    Of(u8),
    Text(&'a str),
    /// As long as names may be, or a byte longer.
    Long(bool),
    None,
}

impl Name<'_> {
    fn text(&self) -> String {
        match self {
            Name::Of(n) => format!("n{n}"),
            Name::Text(text) => (*text).to_owned(),
            Name::Long(over) => "x".repeat(limits::NAME_BYTES + usize::from(*over)),
            Name::None => String::new(),
        }
    }
}

/// The target.
pub fn run(data: &[u8]) {
    if let Some(data) = data.strip_prefix(b"expr") {
        return graph::expressions(data);
    }
    let graph = data.strip_prefix(b"graph");
    let mut u = Unstructured::new(graph.unwrap_or(data));
    let drafts = if graph.is_some() { graph::drafts(&mut u) } else { drafts(&mut u) };
    let expected = is_valid(&drafts);
    match check(&drafts) {
        Ok(()) => {
            assert!(expected, "accepted, and should not be: {drafts:?}");
            let doubts = warnings(&[], &drafts, &Schemas::default());
            if !doubts.is_empty() {
                refused(&drafts, &doubts);
            }
            accepted(&drafts, &mut u);
        }
        Err(found) => {
            // What types say is not said again here.
            let by_types = found.iter().all(|found| found.code == Code::Type);
            assert!(!expected || by_types, "refused, and should not be: {found:?}");
            refused(&drafts, &found);
        }
    }
}

fn drafts(u: &mut Unstructured<'_>) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut edges = 0;
    while !u.is_empty() && drafts.len() < DRAFTS_MAX && edges <= limits::PLAN_DEPENDENCIES {
        let Ok(step) = u.arbitrary::<Step<'_>>() else { break };
        let before = drafts.len();
        match step {
            Step::Node(sketch) => drafts.push(draft(&sketch)),
            Step::Chain(n) => {
                for _ in 0..count(n).min(DRAFTS_MAX - before) {
                    let depends_on = drafts.last().map(|draft| draft.key.clone()).into_iter().collect();
                    drafts.push(plain(drafts.len(), depends_on));
                }
            }
            Step::Fan(n) => {
                let behind: Vec<String> = drafts.last().map(|draft| draft.key.clone()).into_iter().collect();
                for _ in 0..count(n).min(DRAFTS_MAX - before) {
                    drafts.push(plain(drafts.len(), behind.clone()));
                }
            }
            Step::Join => {
                let all = drafts.iter().map(|draft| draft.key.clone()).collect();
                drafts.push(plain(before, all));
            }
            Step::Edge(back) => {
                let to = (before + usize::from(back)) % (before + 1);
                let key = drafts.get(to).map_or_else(|| format!("n{to}"), |draft| draft.key.clone());
                if let Some(last) = drafts.last_mut() {
                    last.depends_on.push(key);
                }
            }
        }
        edges += drafts[before.min(drafts.len())..].iter().map(|draft| draft.depends_on.len()).sum::<usize>();
    }
    drafts
}

/// Small, but for the few largest numbers: those are around the limits.
fn count(n: u8) -> usize {
    match n {
        252 => limits::PLAN_DEPTH,
        253 => limits::PLAN_DEPTH + 1,
        254 => limits::PLAN_SUBTASKS,
        255 => limits::PLAN_SUBTASKS + 1,
        few => usize::from(few % 32),
    }
}

fn plain(n: usize, depends_on: Vec<String>) -> Draft {
    Draft { key: format!("n{n}"), agent: "a".into(), depends_on, ..Draft::default() }
}

fn draft(sketch: &Sketch<'_>) -> Draft {
    let names = |names: &[Name<'_>]| names.iter().map(Name::text).collect();
    let input = sketch.input.and_then(|text| serde_json::from_slice::<&RawValue>(text).ok());
    Draft {
        key: sketch.key.text(),
        agent: sketch.agent.text(),
        capabilities: names(&sketch.capabilities),
        input: input.map(ToOwned::to_owned),
        depends_on: names(&sketch.depends_on),
        sla_seconds: sketch.sla_seconds,
        max_attempts: sketch.max_attempts,
        priority: Priority::from_number(sketch.priority),
        ..Draft::default()
    }
}

/// Every problem names a field of the plan that is there.
pub(super) fn refused(drafts: &[Draft], found: &[Violation]) {
    assert!(!found.is_empty(), "refused without a reason: {drafts:?}");
    for Violation { field, issue, .. } in found {
        assert!(!issue.is_empty(), "{field} has an empty issue");
        let within = field.strip_prefix("plan.subtasks").unwrap_or_else(|| panic!("what is `{field}`?"));
        if let Some(place) = within.strip_prefix('[') {
            let index: usize = place.split(']').next().and_then(|n| n.parse().ok()).expect("an index");
            assert!(index < drafts.len(), "{field} is not in the plan");
        } else {
            assert!(within.is_empty(), "what is `{field}`?");
        }
    }
}

fn accepted(drafts: &[Draft], u: &mut Unstructured<'_>) {
    let mut routes: BTreeMap<RouteSpec, RouteNo> = BTreeMap::new();
    let plan = Plan::build("t", Priority::Normal, 3, drafts, |spec| {
        let next = RouteNo(i64::try_from(routes.len()).expect("few routes") + 1);
        *routes.entry(spec.clone()).or_insert(next)
    });
    assert_eq!(plan.nodes().len(), drafts.len());
    let ids: BTreeSet<&str> = plan.nodes().iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids.len(), drafts.len(), "ids are unique");
    for (index, (node, draft)) in (0..).zip(plan.nodes().iter().zip(drafts)) {
        let keys: Vec<&String> =
            node.depends_on.iter().map(|i| &plan.node(*i).expect("a dependency is a node").key).collect();
        assert!(keys.into_iter().eq(&draft.depends_on), "dependencies are those asked for");
        let spec = RouteSpec::new(&draft.agent, &draft.capabilities);
        let route = if draft.does.is_work() { routes.get(&spec) } else { Some(&NO_ROUTE) };
        assert_eq!(route, Some(&node.route));
        assert!(node.depends_on.iter().all(|&d| plan.dependents(d).contains(&index)), "both ways");
        assert!(node.attempts_max >= 1);
    }
    assert!(routes.keys().eq(&RouteSpec::all_of(drafts)), "what is needed is what is said to be");
    assert!(plan.routes().iter().eq(&routes.values().copied().collect::<BTreeSet<_>>()), "{plan:?}");
    // Looking a name up walks the plan.
    for at in [0, drafts.len() / 2, drafts.len() - 1] {
        let node = &plan.nodes()[at];
        assert_eq!(plan.find(&node.key), Index::try_from(at).ok());
        assert_eq!(plan.find(&node.id), Index::try_from(at).ok());
    }
    run_to_the_end(&plan, u);
    let text = serde_json::to_vec(plan.nodes()).expect("a plan is written as JSON");
    let nodes: Vec<Node> = serde_json::from_slice(&text).expect("and read again");
    assert_eq!(format!("{:?}", Plan::from_nodes(nodes)), format!("{plan:?}"), "a stored plan is the plan");
}

/// Counts dependencies down as tasks do, taking whichever ready subtask the input says.
fn run_to_the_end(plan: &Plan, u: &mut Unstructured<'_>) {
    let mut waits: Vec<usize> = plan.nodes().iter().map(|node| node.depends_on.len()).collect();
    let mut ready: Vec<Index> = (0..).zip(&waits).filter(|(_, n)| **n == 0).map(|(i, _)| i).collect();
    let mut done = 0;
    while !ready.is_empty() {
        let at = usize::from(u.arbitrary::<u8>().unwrap_or_default()) % ready.len();
        let index = ready.swap_remove(at);
        done += 1;
        for &next in plan.dependents(index) {
            let open = &mut waits[next as usize];
            *open = open.checked_sub(1).expect("counted down more often than there are dependencies");
            if *open == 0 {
                ready.push(next);
            }
        }
    }
    assert_eq!(done, plan.nodes().len(), "every subtask's turn comes");
}
