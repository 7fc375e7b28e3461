//! Drafts of all constructs, one within the other, and expressions, from bytes.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use downbeat_core::{
    draft::{
        Approval, Approvers, Choice, Compensate, Does, Draft, Failures, Loop, Map, OnFailure, OnLimit,
        OnTimeout, Retry, RunIf, SignalGate, Then, Timer,
    },
    expr::{self, Scope, Type},
    limits,
    time::Time,
};
use serde_json::{Value, json};

use super::{Name, Sketch, draft};
use crate::fuzz::pick;

/// Just above what a plan may hold, so that both sides of the limit are seen.
const LEVELS_MAX: usize = limits::GROUP_DEPTH + 1;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Work(Sketch<'a>),
    /// A gate, or work, behind the last one.
    Next(Act<'a>),
    /// What follows belongs to it.
    Open(Body<'a>),
    Close,
    /// Of the last one.
    When(Text<'a>),
    Rules {
        run_if: u8,
        on_failure: Option<bool>,
        backoff: Option<u8>,
        most: Option<u8>,
        codes: u8,
    },
    Undo(Name<'a>),
    Fallback(Name<'a>),
}

#[derive(Arbitrary, Debug)]
enum Act<'a> {
    Work,
    Approval { levels: u8, people: u8, quorum: u8, options: u8, timeout: Option<u8>, on_timeout: u8 },
    Signal(Name<'a>, Option<Text<'a>>, Option<u8>),
    Seconds(u32),
    Until(i64),
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    Group,
    Map(Text<'a>, Option<u8>, Option<u8>),
    Loop(Text<'a>, u16, bool),
}

#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Of(u8),
    Any(&'a str),
}

/// Some that are right in some places.
const TEXTS: [&str; 8] = [
    "true",
    "outputs.n0.ok",
    "outputs.n1 != null && states.n1 == 'completed'",
    "[1, 2, 3]",
    "iteration >= 2",
    "outputs.previous == null",
    "signal.env == 'prod'",
    "item.list.map(x, x + 1)",
];

impl Text<'_> {
    fn text(&self) -> String {
        match self {
            Text::Of(n) => pick(&TEXTS, *n).unwrap_or_default().to_owned(),
            Text::Any(text) => (*text).to_owned(),
        }
    }
}

pub(super) fn drafts(u: &mut Unstructured<'_>) -> Vec<Draft> {
    let mut open: Vec<(Draft, Vec<Draft>)> = Vec::new();
    let mut at: Vec<Draft> = Vec::new();
    let mut count = 0;
    while !u.is_empty() {
        let Ok(step) = u.arbitrary::<Step<'_>>() else { break };
        match step {
            Step::Work(sketch) => at.push(draft(&sketch)),
            Step::Next(act) => {
                at.push(Draft { does: does(&act), ..next(&mut count, &at, matches!(act, Act::Work)) })
            }
            Step::Open(body) if open.len() < LEVELS_MAX => {
                let group = Draft { does: opened(&body), ..next(&mut count, &at, false) };
                open.push((group, std::mem::take(&mut at)));
            }
            Step::Open(_) => {}
            Step::Close => close(&mut open, &mut at),
            Step::When(text) => last(&mut at, |draft| draft.when = Some(text.text())),
            Step::Rules { run_if, on_failure, backoff, most, codes } => last(&mut at, |draft| {
                draft.run_if = pick(&RunIf::ALL, run_if).unwrap_or_default();
                draft.on_failure =
                    on_failure.map(|fail| if fail { OnFailure::Fail } else { OnFailure::Review });
                draft.retry = Retry {
                    backoff_seconds: backoff.map(u32::from),
                    max_backoff_seconds: most.map(u32::from),
                    non_retryable: (0..codes % 4).map(|n| format!("C{n}")).collect(),
                };
            }),
            Step::Undo(agent) => last(&mut at, |draft| {
                draft.compensate = Some(Compensate { agent: agent.text(), ..Compensate::default() });
            }),
            Step::Fallback(agent) => last(&mut at, |draft| draft.fallback.push(agent.text())),
        }
    }
    while !open.is_empty() {
        close(&mut open, &mut at);
    }
    at
}

fn last(at: &mut [Draft], change: impl FnMut(&mut Draft)) {
    at.last_mut().into_iter().for_each(change);
}

fn next(count: &mut usize, at: &[Draft], works: bool) -> Draft {
    let key = format!("n{count}");
    *count += 1;
    let depends_on = at.last().map(|draft| draft.key.clone()).into_iter().collect();
    Draft { key, depends_on, agent: if works { "a".into() } else { String::new() }, ..Draft::default() }
}

fn close(open: &mut Vec<(Draft, Vec<Draft>)>, at: &mut Vec<Draft>) {
    let Some((mut group, before)) = open.pop() else { return };
    let inner = std::mem::replace(at, before);
    match &mut group.does {
        Does::Group(body) | Does::Map(Map { body, .. }) | Does::Loop(Loop { body, .. }) => *body = inner,
        Does::Work
        | Does::Approval(_)
        | Does::Signal(_)
        | Does::Timer(_)
        | Does::Workflow(_)
        | Does::Round => {}
    }
    at.push(group);
}

fn opened(body: &Body<'_>) -> Does<Vec<Draft>> {
    match body {
        Body::Group => Does::Group(Vec::new()),
        Body::Map(over, max_parallel, tolerated) => Does::Map(Map {
            over: over.text(),
            max_parallel: max_parallel.map(u32::from),
            failures: match tolerated {
                None => Failures::FailFast,
                Some(255) => Failures::Continue,
                Some(most) => Failures::Tolerate(u32::from(*most)),
            },
            body: Vec::new(),
        }),
        Body::Loop(until, rounds, goes_on) => Does::Loop(Loop {
            until: until.text(),
            max_iterations: u32::from(*rounds),
            on_limit: if *goes_on { OnLimit::Complete } else { OnLimit::Fail },
            body: Vec::new(),
        }),
    }
}

fn does(act: &Act<'_>) -> Does<Vec<Draft>> {
    match act {
        Act::Work => Does::Work,
        Act::Approval { levels, people, quorum, options, timeout, on_timeout } => {
            let names = |n: u8| (0..n).map(|n| format!("p{n}")).collect();
            let level = |n: u8| Approvers { names: names(*people), roles: names(n % 2) };
            let choice = |n: u8| Choice {
                name: format!("o{}", n % 21),
                then: pick(&Then::ALL, n).unwrap_or(Then::Skip),
            };
            Does::Approval(Approval {
                message: "m".into(),
                approvers: (0..levels % 13).map(level).collect(),
                quorum: (*quorum).into(),
                options: (0..options % 24).map(choice).collect(),
                timeout_seconds: timeout.map(u32::from),
                on_timeout: pick(&OnTimeout::ALL, *on_timeout).unwrap_or_default(),
            })
        }
        Act::Signal(name, matches, timeout) => Does::Signal(SignalGate {
            name: name.text(),
            matches: matches.as_ref().map(Text::text),
            timeout_seconds: timeout.map(u32::from),
        }),
        Act::Seconds(after) => Does::Timer(Timer::Seconds(*after)),
        Act::Until(ms) => Does::Timer(Timer::Until(Time(*ms))),
    }
}

/// An expression, a line break, and the document that it looks at. Neither has to be right.
pub(super) fn expressions(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (text, document) = (String::from_utf8_lossy(&data[..at]), data.get(at + 1..).unwrap_or_default());
    let mut scope = Scope::new();
    scope.set("input", document);
    scope.set_members("outputs", [("a", document), ("b", &b""[..])]);
    scope.set_words("states", [("a", "completed")]);
    scope.set_int("iteration", 3);
    scope.set_text("name", "x");
    let names = ["input", "outputs", "states", "iteration", "name"];
    let checked = expr::check(&text, &names);
    let answers = [
        expr::is_true(&text, &scope).map(drop),
        expr::list(&text, &scope).map(|all| {
            for element in all {
                serde_json::from_str::<&serde_json::value::RawValue>(element.get())
                    .expect("elements are JSON");
            }
        }),
        expr::text(&text, &scope).map(drop),
    ];
    for issue in answers.iter().chain([&checked]).filter_map(|it| it.as_ref().err()) {
        assert!(!issue.is_empty(), "{text}");
    }
    if checked.is_ok() {
        assert!(text.len() <= limits::EXPRESSION_BYTES);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(document) {
        judged(&text, &scope, &value);
    }
    for root in names {
        let named = expr::members(&text, root).unwrap_or_default();
        assert!(named.len() <= limits::EXPRESSION_TOKENS);
    }
    assert_eq!(expr::is_true(&text, &scope), expr::is_true(&text, &scope), "the same again");
}

/// What an expression gives is of the type that was inferred from those of its variables.
fn judged(text: &str, scope: &Scope<'_>, document: &Value) {
    let of = Type::from_schema(&json!({"const": document}).to_string());
    assert_eq!(of.refuses("", document), None, "a constant is of its own type");
    let outputs = Type::object([("a", of.clone()), ("b", Type::NULL)], Type::NONE);
    let states = Type::object([("a", Type::words(["completed"]))], Type::NONE);
    let variables = BTreeMap::from([
        ("input", of),
        ("outputs", outputs),
        ("states", states),
        ("iteration", Type::NUMBER),
        ("name", Type::words(["x"])),
    ]);
    let inferred = expr::judge(text, &variables).of;
    let Ok(list) = expr::list(text, scope) else { return };
    let list = list.iter().map(|of| serde_json::from_str(of.get()).expect("elements are JSON")).collect();
    assert_eq!(inferred.refuses("", &Value::Array(list)), None, "{text} over {document}");
}
