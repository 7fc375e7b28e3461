//! The one validator of plans, and what an accepted plan looks like.

use downbeat_core::{
    check::{Violation, check},
    draft::Draft,
    id::RouteNo,
    limits,
    plan::{Node, Plan, RouteSpec},
    task::Priority,
};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::ask::sketch;

fn graph(graph: &str) -> Vec<Draft> {
    sketch("t", graph).drafts
}

fn with(change: impl FnOnce(&mut Draft)) -> Vec<Draft> {
    sketch("t", "a").draft("a", change).drafts
}

/// A JSON string of exactly so many bytes.
fn json(bytes: usize) -> Option<Box<RawValue>> {
    RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).ok()
}

#[track_caller]
fn check_plan(drafts: &[Draft], violations: &[(&str, &str)]) {
    let found = check(drafts).err().unwrap_or_default();
    let found: Vec<(&str, &str)> = found.iter().map(|v| (v.field.as_str(), v.issue.as_str())).collect();
    assert_eq!(found, violations);
}

#[test]
fn bad_graphs() {
    check_plan(&[], &[("plan.subtasks", "must hold at least one subtask")]);
    let rows: [(&str, &[(&str, &str)]); 12] = [
        ("a, a", &[("plan.subtasks[1].key", "`a` is already the key of plan.subtasks[0]")]),
        (
            "a, a, a",
            &[
                ("plan.subtasks[1].key", "`a` is already the key of plan.subtasks[0]"),
                ("plan.subtasks[2].key", "`a` is already the key of plan.subtasks[0]"),
            ],
        ),
        ("a < a", &[("plan.subtasks[0].depends_on[0]", "a subtask cannot depend on itself")]),
        ("a, b < a z", &[("plan.subtasks[1].depends_on[1]", "no subtask of this plan has the key `z`")]),
        ("a, b < a a", &[("plan.subtasks[1].depends_on[1]", "`a` is named twice")]),
        ("a < b, b < a", &[("plan.subtasks[0].depends_on", "dependencies form a cycle: a -> b -> a")]),
        (
            "a, b < a d, c < b, d < c",
            &[("plan.subtasks[1].depends_on", "dependencies form a cycle: b -> d -> c -> b")],
        ),
        ("x < b, a < b, b < a", &[("plan.subtasks[2].depends_on", "dependencies form a cycle: b -> a -> b")]),
        (
            "a < b, b < a, c < d, d < c",
            &[("plan.subtasks[0].depends_on", "dependencies form a cycle: a -> b -> a")],
        ),
        (
            "a < b b b, b < a",
            &[
                ("plan.subtasks[0].depends_on[1]", "`b` is named twice"),
                ("plan.subtasks[0].depends_on[2]", "`b` is named twice"),
                ("plan.subtasks[0].depends_on", "dependencies form a cycle: a -> b -> a"),
            ],
        ),
        (
            "a < a z, b < y",
            &[
                ("plan.subtasks[0].depends_on[0]", "a subtask cannot depend on itself"),
                ("plan.subtasks[0].depends_on[1]", "no subtask of this plan has the key `z`"),
                ("plan.subtasks[1].depends_on[0]", "no subtask of this plan has the key `y`"),
            ],
        ),
        ("a, b < a, a < b", &[("plan.subtasks[2].key", "`a` is already the key of plan.subtasks[0]")]),
    ];
    for (drawn, violations) in rows {
        check_plan(&graph(drawn), violations);
    }
}

#[test]
fn bad_names() {
    let malformed = |shown: &str| {
        format!("`{shown}` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit")
    };
    let long = "x".repeat(limits::NAME_BYTES + 1);
    let rows = [
        ("", "must not be empty".to_owned()),
        (long.as_str(), "at most 100 bytes (NAME_BYTES), got 101".to_owned()),
        ("a b", malformed("a b")),
        ("a::1", malformed("a::1")),
        ("-a", malformed("-a")),
        (".a", malformed(".a")),
        ("_a", malformed("_a")),
        ("ä", malformed("ä")),
        ("a\n", malformed("a\\n")),
        ("a\0", malformed("a\\0")),
    ];
    for (name, issue) in rows {
        check_plan(&with(|draft| draft.key = name.into()), &[("plan.subtasks[0].key", &issue)]);
        let tags = with(|draft| draft.capabilities = vec!["ok".into(), name.into()]);
        check_plan(&tags, &[("plan.subtasks[0].capabilities[1]", &issue)]);
        if !name.is_empty() {
            check_plan(&with(|draft| draft.agent = name.into()), &[("plan.subtasks[0].agent", &issue)]);
        }
    }
    for name in ["a", "7", "A.b_c-d", &long[1..]] {
        check_plan(&with(|draft| draft.key = name.into()), &[]);
        check_plan(&with(|draft| draft.agent = name.into()), &[]);
    }
}

#[test]
fn bad_needs() {
    let nobody = with(|draft| draft.agent.clear());
    check_plan(&nobody, &[("plan.subtasks[0].agent", "name an agent, or at least one capability")]);
    let anybody = with(|draft| {
        draft.agent.clear();
        draft.capabilities = vec!["rust".into()];
    });
    check_plan(&anybody, &[]);
    let tags = |n: usize| with(|draft| draft.capabilities = (0..n).map(|i| format!("tag{i}")).collect());
    check_plan(&tags(limits::CAPABILITIES), &[]);
    let issue = "at most 64 tags (CAPABILITIES), got 65";
    check_plan(&tags(limits::CAPABILITIES + 1), &[("plan.subtasks[0].capabilities", issue)]);
}

#[test]
fn bad_numbers() {
    let sla = |seconds| with(|draft| draft.sla_seconds = Some(seconds));
    let at = "plan.subtasks[0].sla_seconds";
    check_plan(&sla(1), &[]);
    check_plan(&sla(limits::SLA_SECONDS), &[]);
    check_plan(&sla(0), &[(at, "1 to 2592000 seconds (SLA_SECONDS), got 0")]);
    check_plan(&sla(limits::SLA_SECONDS + 1), &[(at, "1 to 2592000 seconds (SLA_SECONDS), got 2592001")]);
    let attempts = |max| with(|draft| draft.max_attempts = Some(max));
    let at = "plan.subtasks[0].max_attempts";
    check_plan(&attempts(1), &[]);
    check_plan(&attempts(limits::ATTEMPTS), &[]);
    check_plan(&attempts(0), &[(at, "1 to 100 (ATTEMPTS), got 0")]);
    check_plan(&attempts(limits::ATTEMPTS + 1), &[(at, "1 to 100 (ATTEMPTS), got 101")]);
}

#[test]
fn every_problem_is_shown_at_once() {
    let bad = sketch("t", "a, b < z, b").draft("a", |draft| {
        draft.agent.clear();
        draft.sla_seconds = Some(0);
    });
    check_plan(
        &bad.drafts,
        &[
            ("plan.subtasks[0].agent", "name an agent, or at least one capability"),
            ("plan.subtasks[0].sla_seconds", "1 to 2592000 seconds (SLA_SECONDS), got 0"),
            ("plan.subtasks[2].key", "`b` is already the key of plan.subtasks[1]"),
            ("plan.subtasks[1].depends_on[0]", "no subtask of this plan has the key `z`"),
        ],
    );
}

/// So many subtasks, each after those that `before` names by number.
fn many(n: usize, before: impl Fn(usize) -> Vec<usize>) -> Vec<Draft> {
    let name = |i: usize| format!("n{i}");
    (0..n)
        .map(|i| Draft {
            key: name(i),
            agent: "coder".into(),
            depends_on: before(i).into_iter().map(name).collect(),
            ..Draft::default()
        })
        .collect()
}

#[test]
fn as_many_subtasks_as_allowed() {
    check_plan(&many(limits::PLAN_SUBTASKS, |_| Vec::new()), &[]);
    let issue = "at most 10000 subtasks (PLAN_SUBTASKS), got 10001";
    check_plan(&many(limits::PLAN_SUBTASKS + 1, |_| Vec::new()), &[("plan.subtasks", issue)]);
}

#[test]
fn as_deep_as_allowed() {
    let chain = |n| many(n, |i| i.checked_sub(1).into_iter().collect());
    check_plan(&chain(limits::PLAN_DEPTH), &[]);
    let issue = "a path of at most 1000 subtasks (PLAN_DEPTH), got 1001";
    check_plan(&chain(limits::PLAN_DEPTH + 1), &[("plan.subtasks", issue)]);
}

#[test]
fn as_many_dependencies_as_allowed() {
    // 500 roots, and 250 subtasks that wait for 400 of them.
    let wide = |one_more: bool| {
        many(750, |i| match i.checked_sub(500) {
            Some(0) if one_more => (0..401).collect(),
            Some(_) => (0..400).collect(),
            None => Vec::new(),
        })
    };
    check_plan(&wide(false), &[]);
    let issue = "at most 100000 dependencies (PLAN_DEPENDENCIES), got 100001";
    check_plan(&wide(true), &[("plan.subtasks", issue)]);
}

#[test]
fn of_what_is_too_many_nothing_more_is_said() {
    let keys = |count: usize| vec![String::new(); count];
    let dependencies = with(|draft| draft.depends_on = keys(limits::PLAN_DEPENDENCIES + 1));
    let issue = "at most 100000 dependencies (PLAN_DEPENDENCIES), got 100001";
    check_plan(&dependencies, &[("plan.subtasks", issue)]);
    let tags = with(|draft| draft.capabilities = keys(limits::CAPABILITIES * 1_000));
    let found = check(&tags).expect_err("too many");
    assert_eq!(found.len(), 1 + limits::CAPABILITIES, "the limit, and the tags within it");
}

#[test]
fn as_much_input_as_allowed() {
    let input = |bytes| with(|draft| draft.input = json(bytes));
    check_plan(&input(limits::INPUT_BYTES), &[]);
    let issue = "at most 262144 bytes (INPUT_BYTES), got 262145";
    check_plan(&input(limits::INPUT_BYTES + 1), &[("plan.subtasks[0].input", issue)]);
}

#[test]
fn as_much_input_in_all_as_allowed() {
    let full = json(limits::INPUT_BYTES);
    let count = limits::REQUEST_BYTES / limits::INPUT_BYTES;
    let mut drafts = many(count + 1, |_| Vec::new());
    drafts[..count].iter_mut().for_each(|draft| draft.input.clone_from(&full));
    check_plan(&drafts, &[]);
    drafts[count].input = RawValue::from_string("7".into()).ok();
    let issue = "inputs of at most 16777216 bytes together (REQUEST_BYTES), got 16777217";
    check_plan(&drafts, &[("plan.subtasks", issue)]);
}

#[test]
fn ids_count_an_agents_subtasks() {
    let drafts = sketch("feature-1087", "lint, tests, docs < lint, ship < docs")
        .agent("lint", "code-review")
        .agent("tests", "code-review")
        .agent("docs", "writer")
        .draft("ship", |draft| {
            draft.agent.clear();
            draft.capabilities = vec!["deploy".into()];
        })
        .drafts;
    let plan = Plan::build("feature-1087", Priority::Normal, 3, &drafts, |_| RouteNo(1));
    let ids: Vec<&str> = plan.nodes().iter().map(|node| node.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "code-review::feature-1087::1",
            "code-review::feature-1087::2",
            "writer::feature-1087::1",
            "ship::feature-1087::1"
        ]
    );
    for (name, index) in [
        ("lint", Some(0)),
        ("code-review::feature-1087::1", Some(0)),
        ("code-review::feature-1087::2", Some(1)),
        ("docs", Some(2)),
        ("ship::feature-1087::1", Some(3)),
        ("code-review::feature-1087::3", None),
        ("code-review::other::1", None),
        ("code-review", None),
        ("", None),
    ] {
        assert_eq!(plan.find(name), index, "{name}");
    }
}

#[test]
fn an_id_is_unique_though_a_key_is_named_like_an_agent() {
    let drafts = sketch("t", "coder, b")
        .draft("coder", |draft| {
            draft.agent.clear();
            draft.capabilities = vec!["rust".into()];
        })
        .drafts;
    let plan = Plan::build("t", Priority::Normal, 3, &drafts, |_| RouteNo(1));
    let ids: Vec<&str> = plan.nodes().iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["coder::t::1", "coder::t::2"]);
}

#[test]
fn what_a_draft_leaves_open_comes_from_the_task() {
    let drafts = sketch("t", "a, b < a, c < a b")
        .draft("b", |draft| {
            draft.priority = Some(Priority::Critical);
            draft.max_attempts = Some(1);
            draft.sla_seconds = Some(60);
            draft.capabilities = vec!["sql".into(), "rust".into(), "sql".into()];
        })
        .drafts;
    let mut asked = Vec::new();
    let plan = Plan::build("t", Priority::Low, 5, &drafts, |spec| {
        asked.push(spec.clone());
        RouteNo(asked.len() as i64)
    });
    let rows: Vec<_> = plan
        .nodes()
        .iter()
        .map(|node| {
            (node.priority, node.attempts_max, node.sla_seconds, node.route.0, node.depends_on.clone())
        })
        .collect();
    assert_eq!(
        rows,
        [
            (Priority::Low, 5, None, 1, vec![]),
            (Priority::Critical, 1, Some(60), 2, vec![0]),
            (Priority::Low, 5, None, 3, vec![0, 1]),
        ]
    );
    assert_eq!(asked[1].capabilities, ["rust", "sql"], "sorted, each once");
    assert_eq!(
        (plan.dependents(0), plan.dependents(1), plan.dependents(2)),
        (&[1, 2][..], &[2][..], &[][..])
    );
    assert_eq!(plan.dependents(3), &[] as &[u32]);
    assert!(plan.node(2).is_some() && plan.node(3).is_none());
}

#[test]
fn a_stored_plan_is_the_same_plan() {
    let drafts = sketch("t", "a, b < a").sla("b", 9).draft("a", |draft| draft.input = json(9)).drafts;
    let plan = Plan::build("t", Priority::High, 3, &drafts, |_| RouteNo(7));
    let stored = serde_json::to_string(plan.nodes()).expect("nodes are JSON");
    let nodes: Vec<Node> = serde_json::from_str(&stored).expect("and back");
    let again = Plan::from_nodes(nodes);
    assert_eq!(format!("{again:?}"), format!("{plan:?}"));
    assert!(
        stored.starts_with(r#"[{"key":"a","id":"coder::t::1","agent":"coder","route":7,"input":"xxxxxxx","#)
    );
}

#[test]
fn who_serves_a_route() {
    let tags = |tags: &str| tags.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows = [
        ("coder", "", "coder", "", true),
        ("coder", "", "coder", "rust", true),
        ("coder", "", "painter", "", false),
        ("coder", "rust", "coder", "", false),
        ("coder", "rust", "coder", "sql rust", true),
        ("", "rust sql", "anybody", "sql rust c", true),
        ("", "rust sql", "anybody", "rust", false),
        ("", "rust", "anybody", "Rust", false),
    ];
    for (agent, needs, name, has, served) in rows {
        let spec = RouteSpec::new(agent, &tags(needs));
        assert_eq!(spec.served_by(name, &tags(has)), served, "{spec:?} by {name} with {has}");
    }
}

proptest! {
    /// Against a plain search: a plan is refused exactly when some subtask waits for itself, and the cycle
    /// that is shown is one.
    #[test]
    fn a_plan_is_refused_exactly_when_it_has_a_cycle(
        edges in prop::collection::btree_set((0..8_usize, 0..8_usize), 0..16)
    ) {
        let drafts = many(8, |i| edges.iter().filter(|e| e.0 == i && e.1 != i).map(|e| e.1).collect());
        let next = |i: usize| edges.iter().filter(move |e| e.0 == i && e.1 != i).map(|e| e.1);
        let reaches_itself = |start: usize| {
            let mut seen: Vec<usize> = next(start).collect();
            let mut at = 0;
            while at < seen.len() {
                let more: Vec<usize> = next(seen[at]).filter(|n| !seen.contains(n)).collect();
                seen.extend(more);
                at += 1;
            }
            seen.contains(&start)
        };
        let found = check(&drafts);
        prop_assert_eq!(found.is_err(), (0..8).any(reaches_itself));
        if let Err(violations) = found {
            let [Violation { field, issue, .. }] = &violations[..] else { panic!("one cycle: {violations:?}") };
            let shown = issue.strip_prefix("dependencies form a cycle: ").expect("a cycle is shown");
            let path: Vec<usize> = shown.split(" -> ").map(|key| key[1..].parse().expect("a key")).collect();
            prop_assert!(path.len() > 2 && path.first() == path.last());
            prop_assert!(path.windows(2).all(|step| edges.contains(&(step[0], step[1]))), "{}", shown);
            prop_assert_eq!(field, &format!("plan.subtasks[{}].depends_on", path[0]));
        }
    }
}
