//! Plans that a client may come up with: chains, fans, diamonds, layers, and what has no shape at all; in two of three
//! also everything that a plan can say: conditions, gates, groups, maps, loops, compensations.

use downbeat_core::{
    draft::{
        Approval, Approvers, Choice, Compensate, ContextKeys, Does, Draft, Failures, Loop, Map, OnFailure,
        OnLimit, OnTimeout, Retry, RunIf, SignalGate, Then, Timer,
    },
    task::Priority,
};

use super::{
    cluster::{AGENTS, TAGS},
    rng::Rng,
    workflows,
};

const SUBTASKS_MAX: u64 = 30;
/// Groups within groups.
const DEPTH_MAX: usize = 3;
/// Signals that gates wait for and clients send.
pub const SIGNALS: [&str; 2] = ["go", "data"];
/// Keys of the shared context that workers and clients write.
pub const KEYS: [&str; 2] = ["k0", "k1"];
/// Who decides about approvals; the last one only in the second place.
pub const PEOPLE: [&str; 3] = ["ann", "bob", "cid"];
/// Those who are asked second are also known by this.
pub const ROLE: &str = "boss";

/// The drafts of one plan.
pub fn draft(rng: &mut Rng) -> Vec<Draft> {
    // Mostly small ones: more of them fit into a seed.
    let most = if rng.per_mille(200) { SUBTASKS_MAX } else { 8 };
    let rich = rng.per_mille(650);
    let most = if rich { most.min(12) } else { most };
    let total = usize::try_from(rng.between(1, most)).unwrap_or(1);
    let shape = rng.below(5);
    let mut drafts = Vec::with_capacity(total);
    for i in 0..total {
        let depends_on: Vec<String> =
            dependencies(rng, shape, i, total).into_iter().map(|d| format!("s{d}")).collect();
        let mut draft = node(rng, i, depends_on);
        if rich {
            enrich(rng, &mut draft, &drafts, 0, false);
        }
        drafts.push(draft);
    }
    drafts
}

fn dependencies(rng: &mut Rng, shape: u64, i: usize, total: usize) -> Vec<usize> {
    let last = i + 1 == total;
    match shape {
        // A chain.
        0 => i.checked_sub(1).into_iter().collect(),
        // A fan-out and a join.
        1 if i == 0 => Vec::new(),
        1 if last => (1..i.max(1)).chain((i == 1).then_some(0)).collect(),
        1 => vec![0],
        // Diamonds, one after the other.
        2 => match i % 3 {
            _ if i == 0 => Vec::new(),
            0 => vec![i - 1, i - 2],
            1 => vec![i - 1],
            _ => vec![i - 2],
        },
        // Layers of three, each on all of the one before.
        3 => (0..3).filter_map(|d| (i / 3 * 3).checked_sub(d + 1)).collect(),
        // Anything that points back.
        _ => (0..i).filter(|_| rng.below(i as u64 + 1) < 2).collect(),
    }
}

fn name(rng: &mut Rng, of: &[&str]) -> String {
    rng.pick(of).copied().unwrap_or_default().to_owned()
}

fn small(rng: &mut Rng, low: u64, high: u64) -> u32 {
    u32::try_from(rng.between(low, high)).unwrap_or(1)
}

fn node(rng: &mut Rng, i: usize, depends_on: Vec<String>) -> Draft {
    let (agent, capabilities) = match rng.below(8) {
        0 | 1 => (String::new(), vec![name(rng, &TAGS)]),
        2 => (name(rng, &AGENTS), vec![name(rng, &TAGS)]),
        3 => (
            String::new(),
            TAGS.iter().filter(|tag| **tag != TAGS[i % 3]).map(|tag| (*tag).to_owned()).collect(),
        ),
        _ => (name(rng, &AGENTS), Vec::new()),
    };
    let sla_seconds = rng.per_mille(250).then(|| small(rng, 3, 20));
    let max_attempts = rng.per_mille(300).then(|| u16::try_from(rng.between(1, 4)).unwrap_or(1));
    let priority = rng.per_mille(200).then(|| rng.pick(&Priority::ALL).copied().unwrap_or_default());
    Draft {
        key: format!("s{i}"),
        agent,
        capabilities,
        depends_on,
        sla_seconds,
        max_attempts,
        priority,
        ..Draft::default()
    }
}

/// Says more about a subtask, or makes something else of it. `before`: those beside it.
fn enrich(rng: &mut Rng, draft: &mut Draft, before: &[Draft], depth: usize, in_body: bool) {
    if rng.per_mille(250) {
        draft.run_if = rng.pick(&RunIf::ALL).copied().unwrap_or_default();
    }
    if rng.per_mille(200) {
        draft.when = condition(rng, draft, before);
    }
    if rng.per_mille(250) {
        draft.on_failure = rng.pick(&OnFailure::ALL).copied();
    }
    match rng.below(20) {
        0 => draft.does = Does::Timer(Timer::Seconds(small(rng, 1, 10))),
        1 => draft.does = Does::Signal(signal(rng)),
        2 | 3 => draft.does = Does::Approval(approval(rng)),
        4 if depth < DEPTH_MAX => draft.does = Does::Group(body(rng, draft, depth)),
        5 | 6 if depth < DEPTH_MAX => draft.does = Does::Map(map(rng, draft, before, depth)),
        7 if depth < DEPTH_MAX => draft.does = Does::Loop(repeat(rng, draft, depth)),
        8 => draft.does = Does::Workflow(workflows::call(rng)),
        _ => {}
    }
    if !draft.does.is_work() {
        (draft.agent, draft.capabilities) = (String::new(), Vec::new());
        if !draft.does.is_workflow() {
            (draft.sla_seconds, draft.max_attempts) = (None, None);
        }
        return;
    }
    if rng.per_mille(150) {
        let (backoff, longer) = (small(rng, 0, 2), small(rng, 0, 3));
        draft.retry = Retry {
            backoff_seconds: Some(backoff),
            max_backoff_seconds: rng.coin().then_some(backoff + longer),
            non_retryable: Vec::new(),
        };
    }
    if rng.per_mille(100) {
        let other = name(rng, &AGENTS);
        draft.fallback = if other == draft.agent { Vec::new() } else { vec![other] };
    }
    draft.context = match rng.below(10) {
        0 => ContextKeys::All,
        1 => ContextKeys::Only(vec![name(rng, &KEYS)]),
        _ => ContextKeys::Given,
    };
    if !in_body && rng.per_mille(200) {
        draft.compensate = Some(Compensate { agent: name(rng, &AGENTS), ..Compensate::default() });
    }
}

/// An expression over one of its dependencies. Now and then one that cannot be answered.
fn condition(rng: &mut Rng, draft: &Draft, before: &[Draft]) -> Option<String> {
    let on = rng.pick(&draft.depends_on).cloned()?;
    let works = before.iter().any(|other| other.key == on && other.does.is_work());
    Some(match rng.below(10) {
        0..=4 if works => format!("outputs.{on} != null && outputs.{on}.ok"),
        // Whatever it delivers: the validator cannot know.
        5 => format!("(size(states) > 0 ? outputs : input).{on}.ok"),
        6 => format!("outputs.{on} == null"),
        7 => "false".to_owned(),
        8 => format!("has(context.{0}) ? context.{0} != null : size(context) == 0", name(rng, &KEYS)),
        _ => format!("states.{on} == 'completed'"),
    })
}

fn signal(rng: &mut Rng) -> SignalGate {
    SignalGate {
        name: name(rng, &SIGNALS),
        matches: rng.per_mille(300).then(|| "signal.n > 2".to_owned()),
        timeout_seconds: rng.per_mille(300).then(|| small(rng, 2, 20)),
    }
}

fn approval(rng: &mut Rng) -> Approval {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let levels = rng.below(3);
    let first = Approvers { names: names(&PEOPLE[..2]), roles: Vec::new() };
    let second = Approvers { names: names(&PEOPLE[2..]), roles: vec![ROLE.to_owned()] };
    let choice = |name: &str, then| Choice { name: name.to_owned(), then };
    Approval {
        message: String::new(),
        approvers: [first, second].into_iter().take(usize::try_from(levels).unwrap_or(0)).collect(),
        quorum: small(rng, 1, 2),
        options: vec![choice("yes", Then::Complete), choice("no", Then::Fail), choice("later", Then::Skip)],
        timeout_seconds: (levels > 1 || rng.coin()).then(|| small(rng, 2, 15)),
        on_timeout: rng.pick(&OnTimeout::ALL).copied().unwrap_or_default(),
    }
}

/// One that waits for ever.
pub fn patient_approval() -> Approval {
    Approval {
        message: String::new(),
        approvers: Vec::new(),
        quorum: 1,
        options: vec![Choice { name: "yes".to_owned(), then: Then::Complete }],
        timeout_seconds: None,
        on_timeout: OnTimeout::Fail,
    }
}

/// A few subtasks that belong together, and may know what their group depends on.
fn body(rng: &mut Rng, group: &Draft, depth: usize) -> Vec<Draft> {
    let total = usize::try_from(rng.between(1, 3)).unwrap_or(1);
    let mut drafts: Vec<Draft> = Vec::with_capacity(total);
    for i in 0..total {
        let mut depends_on: Vec<String> =
            drafts.iter().filter(|_| rng.coin()).map(|other| other.key.clone()).collect();
        if rng.per_mille(200) {
            depends_on.extend(rng.pick(&group.depends_on).cloned());
        }
        let mut draft = node(rng, i, depends_on);
        draft.key = format!("d{depth}n{i}");
        enrich(rng, &mut draft, &drafts, depth + 1, true);
        drafts.push(draft);
    }
    drafts
}

fn map(rng: &mut Rng, draft: &Draft, before: &[Draft], depth: usize) -> Map<Vec<Draft>> {
    let works = |key: &&String| before.iter().any(|other| other.key == **key && other.does.is_work());
    let on = draft.depends_on.iter().find(works);
    let over = match (on, rng.below(4)) {
        (Some(on), 0..=2) => format!("outputs.{on} == null ? [] : outputs.{on}.items"),
        (None, 0) => "[]".to_owned(),
        _ => "[1, 'two', {'three': 3}]".to_owned(),
    };
    let failures = match rng.below(3) {
        0 => Failures::FailFast,
        1 => Failures::Tolerate(small(rng, 0, 2)),
        _ => Failures::Continue,
    };
    Map { over, max_parallel: rng.coin().then(|| small(rng, 1, 2)), failures, body: body(rng, draft, depth) }
}

fn repeat(rng: &mut Rng, draft: &Draft, depth: usize) -> Loop<Vec<Draft>> {
    let body = body(rng, draft, depth);
    let work = body.iter().find(|inner| inner.does.is_work()).map(|inner| inner.key.clone());
    let until = match (work, rng.below(3)) {
        (Some(key), 0 | 1) => format!("outputs.{key} != null && outputs.{key}.ok"),
        _ => format!("iteration >= {}", rng.between(1, 3)),
    };
    Loop {
        until,
        max_iterations: small(rng, 1, 4),
        on_limit: rng.pick(&OnLimit::ALL).copied().unwrap_or_default(),
        body,
    }
}
