//! The JSON form of the plan document, as REST and task files have it.

use downbeat_core::{
    draft::{
        Approval, Approvers, Call, Choice, Compensate, ContextKeys, Does, Draft, Failures, Goal, Loop, Map,
        OnLimit, OnTimeout, Retry, RunIf, SignalGate, Then, Timer,
    },
    limits,
    time::Time,
};
use serde_json::value::RawValue;

use super::{DOES, Entry, Reader, UNREAD, Undo, Written, default_options, expression};
use crate::wire::{
    fields::{self, Fields},
    json,
    problems::Problems,
    times,
};

/// The fields of each part; whatever else comes is refused.
pub(crate) const DOCUMENT: &[&str] = &["goals", "subtasks"];
pub(crate) const GOAL: &[&str] = &["name", "description"];
pub(crate) const SUBTASK: &[&str] = &[
    "key",
    "agent",
    "capabilities",
    "input",
    "output_schema",
    "serves",
    "depends_on",
    "sla_seconds",
    "max_attempts",
    "retry",
    "fallback",
    "priority",
    "run_if",
    "when",
    "on_failure",
    "compensate",
    "context",
    "approval",
    "signal",
    "timer",
    "workflow",
    "group",
    "map",
    "loop",
];
pub(crate) const RETRY: &[&str] = &["backoff_seconds", "max_backoff_seconds", "non_retryable"];
pub(crate) const COMPENSATE: &[&str] = &["agent", "capabilities", "input"];
pub(crate) const APPROVAL: &[&str] =
    &["message", "approvers", "quorum", "options", "timeout_seconds", "on_timeout"];
pub(crate) const APPROVERS: &[&str] = &["names", "roles"];
pub(crate) const OPTION: &[&str] = &["name", "then"];
pub(crate) const SIGNAL: &[&str] = &["name", "matches", "timeout_seconds"];
pub(crate) const TIMER: &[&str] = &["seconds", "until"];
pub(crate) const WORKFLOW: &[&str] = &["name", "version", "parameters_from"];
pub(crate) const GROUP: &[&str] = &["subtasks"];
pub(crate) const MAP: &[&str] = &["over", "max_parallel", "failures", "subtasks"];
pub(crate) const TOLERATE: &[&str] = &["tolerate"];
pub(crate) const LOOP: &[&str] = &["until", "max_iterations", "on_limit", "subtasks"];

const TAGS: &str = "tags (CAPABILITIES)";
/// The words of `failures`, beside `{"tolerate": n}`.
const FAIL_FAST: &str = "fail_fast";
const CONTINUE: &str = "continue";

/// A document that stands in the field `plan` of a request.
pub(crate) fn read(raw: &RawValue, reader: &mut Reader<'_>) -> Written {
    let fields = Fields::read("plan", raw, DOCUMENT, reader.problems);
    let goals =
        fields.list("goals", limits::GOALS, "goals (GOALS)", reader.problems).unwrap_or_default().into_iter();
    let goal = |(path, raw): (String, &RawValue)| {
        let fields = Fields::read(&path, raw, GOAL, reader.problems);
        Goal {
            name: fields.text("name", reader.problems),
            description: fields.text("description", reader.problems),
        }
    };
    Written { goals: goals.map(goal).collect(), subtasks: subtasks(&fields, reader) }
}

fn subtasks(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Vec<Entry> {
    let Some(elements) = fields.elements("subtasks", reader.room(), reader.problems) else {
        return Vec::new();
    };
    match elements {
        Ok(elements) => {
            reader.admit(elements.len());
            elements.into_iter().map(|(path, raw)| entry(&path, raw, reader)).collect()
        }
        Err(count) => {
            reader.admit(count);
            Vec::new()
        }
    }
}

fn entry(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Entry {
    let fields = Fields::read(path, raw, SUBTASK, reader.problems);
    let problems = &mut *reader.problems;
    let keys = ("depends_on", limits::PLAN_DEPENDENCIES, "dependencies (PLAN_DEPENDENCIES)");
    let draft = Draft {
        key: fields.text("key", problems),
        agent: fields.text("agent", problems),
        capabilities: fields.texts("capabilities", limits::CAPABILITIES, TAGS, problems),
        serves: fields.texts("serves", limits::GOALS, "goals (GOALS)", problems),
        depends_on: fields.texts(keys.0, keys.1, keys.2, problems),
        sla_seconds: fields.number("sla_seconds", 1..=limits::SLA_SECONDS.into(), " (SLA_SECONDS)", problems),
        max_attempts: fields.number("max_attempts", 1..=limits::ATTEMPTS.into(), " (ATTEMPTS)", problems),
        retry: fields.raw("retry").map(|raw| retry(&fields.at("retry"), raw, problems)).unwrap_or_default(),
        fallback: fields.texts("fallback", limits::FALLBACKS, "agents (FALLBACKS)", problems),
        priority: fields.choice("priority", problems),
        run_if: fields.choice::<RunIf>("run_if", problems).unwrap_or_default(),
        when: expression(fields.text("when", problems)),
        on_failure: fields.choice("on_failure", problems),
        context: context(&fields, problems),
        ..Draft::default()
    };
    let mut document =
        |name| fields.raw(name).and_then(|raw| json::document(&fields.at(name), raw, &mut *problems));
    let (input, output_schema) = (document("input"), document("output_schema"));
    let undo = fields.raw("compensate").map(|raw| undo(&fields.at("compensate"), raw, problems));
    Entry { draft, input, output_schema, undo, does: does(&fields, reader) }
}

fn retry(path: &str, raw: &RawValue, problems: &mut Problems) -> Retry {
    let fields = Fields::read(path, raw, RETRY, problems);
    let mut seconds =
        |name| fields.number(name, 0..=limits::SLA_SECONDS.into(), " (SLA_SECONDS)", &mut *problems);
    Retry {
        backoff_seconds: seconds("backoff_seconds"),
        max_backoff_seconds: seconds("max_backoff_seconds"),
        non_retryable: fields.texts("non_retryable", limits::CODES, "codes (CODES)", problems),
    }
}

/// `true`, or a list of keys.
fn context(fields: &Fields<'_>, problems: &mut Problems) -> ContextKeys {
    match fields.raw("context").map(RawValue::get) {
        None | Some("false") => ContextKeys::Given,
        Some("true") => ContextKeys::All,
        Some(text) if text.starts_with('[') => {
            let keys = ("context", limits::CONTEXT_KEYS, "keys (CONTEXT_KEYS)");
            ContextKeys::Only(fields.texts(keys.0, keys.1, keys.2, problems))
        }
        Some(_) => {
            problems.add(fields.at("context"), "must be true, or a list of keys");
            ContextKeys::Given
        }
    }
}

fn undo(path: &str, raw: &RawValue, problems: &mut Problems) -> Undo {
    let fields = Fields::read(path, raw, COMPENSATE, problems);
    let draft = Compensate {
        agent: fields.text("agent", problems),
        capabilities: fields.texts("capabilities", limits::CAPABILITIES, TAGS, problems),
        input: None,
    };
    let input = fields.raw("input").and_then(|raw| json::document(&fields.at("input"), raw, problems));
    Undo { draft, input }
}

/// The first of what it does; a second one is told, with both.
fn does(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Does<Vec<Entry>> {
    let mut said = DOES.into_iter().filter_map(|name| Some((name, fields.raw(name)?)));
    let Some((name, raw)) = said.next() else { return Does::Work };
    for (other, _) in said {
        let issue = format!("stands beside `{name}`; a subtask does one of {}", DOES.join(", "));
        reader.problems.add(fields.at(other), issue);
    }
    let path = fields.at(name);
    match name {
        "approval" => Does::Approval(approval(&path, raw, reader)),
        "signal" => Does::Signal(signal(&path, raw, reader)),
        "timer" => Does::Timer(timer(&path, raw, reader)),
        "workflow" => Does::Workflow(workflow(&path, raw, reader)),
        "group" => {
            let fields = Fields::read(&path, raw, GROUP, reader.problems);
            Does::Group(reader.body(|reader| subtasks(&fields, reader)))
        }
        "map" => Does::Map(map(&path, raw, reader)),
        _ => Does::Loop(repeat(&path, raw, reader)),
    }
}

/// An approval, wherever it stands.
pub(crate) fn approval(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Approval {
    let problems = &mut *reader.problems;
    let fields = Fields::read(path, raw, APPROVAL, problems);
    let levels = fields
        .list("approvers", limits::APPROVER_LEVELS, "levels (APPROVER_LEVELS)", problems)
        .unwrap_or_default();
    let level = |(path, raw): (String, &RawValue)| {
        let fields = Fields::read(&path, raw, APPROVERS, problems);
        Approvers {
            names: fields.texts("names", limits::APPROVERS, "names (APPROVERS)", problems),
            roles: fields.texts("roles", limits::APPROVERS, "roles (APPROVERS)", problems),
        }
    };
    let approvers = levels.into_iter().map(level).collect();
    let options = fields.list("options", limits::OPTIONS, "options (OPTIONS)", problems).unwrap_or_default();
    let options: Vec<Choice> = options
        .into_iter()
        .map(|(path, raw)| {
            if raw.get().starts_with('"') {
                let name = fields::text(&path, raw, problems).unwrap_or_default();
                return Choice { name, then: Then::Complete };
            }
            let fields = Fields::read(&path, raw, OPTION, problems);
            let then = fields.choice("then", problems).unwrap_or(Then::Complete);
            Choice { name: fields.text("name", problems), then }
        })
        .collect();
    Approval {
        message: fields.text("message", problems),
        approvers,
        quorum: fields.number("quorum", 1..=limits::QUORUM.into(), " (QUORUM)", problems).unwrap_or(1),
        options: if options.is_empty() { default_options() } else { options },
        timeout_seconds: seconds(&fields, "timeout_seconds", reader),
        on_timeout: fields.choice::<OnTimeout>("on_timeout", reader.problems).unwrap_or_default(),
    }
}

fn signal(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> SignalGate {
    let fields = Fields::read(path, raw, SIGNAL, reader.problems);
    SignalGate {
        name: fields.text("name", reader.problems),
        matches: expression(fields.text("matches", reader.problems)),
        timeout_seconds: seconds(&fields, "timeout_seconds", reader),
    }
}

fn timer(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Timer {
    let before = reader.problems.count();
    let fields = Fields::read(path, raw, TIMER, reader.problems);
    let after = seconds(&fields, "seconds", reader).map(Timer::Seconds);
    let until =
        fields.raw("until").and_then(|raw| moment(&fields.at("until"), raw, reader)).map(Timer::Until);
    if after.is_some() && until.is_some() {
        reader.problems.add(fields.at("until"), "stands beside `seconds`; a timer waits for one of them");
    } else if after.is_none() && until.is_none() && reader.problems.count() == before {
        reader.problems.add(path, "must say `seconds` or `until`");
    }
    after.or(until).unwrap_or(UNREAD)
}

fn workflow(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Call {
    let fields = Fields::read(path, raw, WORKFLOW, reader.problems);
    Call {
        name: fields.text("name", reader.problems),
        version: fields.number("version", 1..=u32::MAX.into(), "", reader.problems),
        parameters_from: expression(fields.text("parameters_from", reader.problems)),
    }
}

fn map(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Map<Vec<Entry>> {
    let fields = Fields::read(path, raw, MAP, reader.problems);
    Map {
        over: fields.text("over", reader.problems),
        max_parallel: fields.number("max_parallel", 1..=u32::MAX.into(), "", reader.problems),
        failures: fields
            .raw("failures")
            .and_then(|raw| failures(&fields.at("failures"), raw, reader))
            .unwrap_or_default(),
        body: reader.body(|reader| subtasks(&fields, reader)),
    }
}

fn failures(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Option<Failures> {
    if raw.get().starts_with('{') {
        let fields = Fields::read(path, raw, TOLERATE, reader.problems);
        if !fields.has("tolerate") {
            reader.problems.add(path, "must say how many: `{\"tolerate\": 3}`");
        }
        let tolerated = fields.number("tolerate", 0..=u32::MAX.into(), "", reader.problems);
        return tolerated.map(Failures::Tolerate);
    }
    let word = fields::text(path, raw, reader.problems)?;
    match word.as_str() {
        FAIL_FAST => Some(Failures::FailFast),
        CONTINUE => Some(Failures::Continue),
        other => {
            let got = other.escape_debug();
            let issue = format!("must be `{FAIL_FAST}`, `{CONTINUE}` or `{{\"tolerate\": 3}}`, got `{got}`");
            reader.problems.add(path, issue);
            None
        }
    }
}

fn repeat(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Loop<Vec<Entry>> {
    let fields = Fields::read(path, raw, LOOP, reader.problems);
    let iterations = 1..=limits::LOOP_ITERATIONS.into();
    let limit = " (LOOP_ITERATIONS)";
    Loop {
        until: fields.text("until", reader.problems),
        max_iterations: fields
            .number("max_iterations", iterations, limit, reader.problems)
            .unwrap_or_default(),
        on_limit: fields.choice::<OnLimit>("on_limit", reader.problems).unwrap_or_default(),
        body: reader.body(|reader| subtasks(&fields, reader)),
    }
}

fn seconds(fields: &Fields<'_>, name: &str, reader: &mut Reader<'_>) -> Option<u32> {
    fields.number(name, 1..=limits::SLA_SECONDS.into(), " (SLA_SECONDS)", reader.problems)
}

fn moment(path: &str, raw: &RawValue, reader: &mut Reader<'_>) -> Option<Time> {
    let text = fields::text(path, raw, reader.problems)?;
    let time = times::parse(&text);
    if time.is_none() {
        reader.problems.add(path, times::EXPECTED);
    }
    time
}
