//! The rules of a plan, said once more in the plainest way. What an expression is, only the core knows.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    draft::{Approval, Does, Draft, OnTimeout, Retry, Then, Timer},
    expr, limits,
};

/// What every expression may name.
const COMMON: [&str; 5] = ["outputs", "states", "input", "context", "item"];

pub(in crate::fuzz) fn is_valid(drafts: &[Draft]) -> bool {
    let all = all(drafts);
    let edges: usize = all.iter().map(|draft| draft.depends_on.len()).sum();
    let undo = |draft: &Draft| bytes(draft.compensate.as_ref().and_then(|undo| undo.input.as_deref()));
    let inputs: usize = all.iter().map(|draft| bytes(draft.input.as_deref()) + undo(draft)).sum();
    all.len() <= limits::PLAN_SUBTASKS
        && edges <= limits::PLAN_DEPENDENCIES
        && levels(drafts) <= limits::GROUP_DEPTH
        && inputs <= limits::REQUEST_BYTES
        && is_body(drafts, &[], false)
}

pub(in crate::fuzz) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= limits::NAME_BYTES
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn all(drafts: &[Draft]) -> Vec<&Draft> {
    let mut found: Vec<&Draft> = drafts.iter().collect();
    let mut seen = 0;
    while let Some(draft) = found.get(seen).copied() {
        found.extend(draft.does.body().into_iter().flatten());
        seen += 1;
    }
    found
}

fn levels(drafts: &[Draft]) -> usize {
    let bodies = drafts.iter().filter_map(|draft| draft.does.body());
    bodies.map(|body| 1 + levels(body)).max().unwrap_or_default()
}

fn bytes(input: Option<&serde_json::value::RawValue>) -> usize {
    input.map_or(0, |input| input.get().len())
}

/// Subtasks that may depend on each other, and on those outside.
fn is_body(drafts: &[Draft], outside: &[String], in_loop: bool) -> bool {
    let keys: BTreeMap<&str, usize> = drafts.iter().enumerate().map(|(i, d)| (d.key.as_str(), i)).collect();
    let known = |key: &String| keys.contains_key(key.as_str()) || outside.contains(key);
    let grows = |key: &str| {
        keys.get(key).is_some_and(|i| drafts[*i].does.body().is_some() || drafts[*i].compensate.is_some())
    };
    let below = |key: &str| key.match_indices('.').any(|(at, _)| grows(&key[..at]));
    !drafts.is_empty()
        && keys.len() == drafts.len()
        && drafts.iter().all(|draft| !outside.contains(&draft.key) && !below(&draft.key))
        && drafts.iter().all(|draft| draft.depends_on.iter().all(known))
        && drafts.iter().all(|draft| is_valid_alone(draft, in_loop))
        && longest_path(drafts, &keys).is_some_and(|length| length <= limits::PLAN_DEPTH)
}

fn is_valid_alone(draft: &Draft, in_loop: bool) -> bool {
    let dependencies: BTreeSet<&String> = draft.depends_on.iter().collect();
    let needs = !draft.agent.is_empty() || !draft.capabilities.is_empty();
    // Also of a task as a whole.
    let tried = draft.sla_seconds.is_some()
        || draft.max_attempts.is_some()
        || draft.retry != Retry::default()
        || draft.compensate.is_some();
    let asks = tried && !draft.does.is_workflow() || !draft.fallback.is_empty();
    let undo = draft.compensate.as_ref().is_none_or(|undo| {
        is_worker(&undo.agent, &undo.capabilities) && bytes(undo.input.as_deref()) <= limits::INPUT_BYTES
    });
    is_name(&draft.key)
        && if draft.does.is_work() { is_worker(&draft.agent, &draft.capabilities) } else { !needs && !asks }
        && undo
        && bytes(draft.input.as_deref()) <= limits::INPUT_BYTES
        && is_time(draft.sla_seconds)
        && draft.max_attempts.is_none_or(|attempts| attempts > 0 && attempts <= limits::ATTEMPTS)
        && is_retry(&draft.retry)
        && draft.fallback.len() <= limits::FALLBACKS
        && draft.fallback.iter().all(|agent| is_name(agent) && *agent != draft.agent)
        && draft.fallback.iter().collect::<BTreeSet<_>>().len() == draft.fallback.len()
        && dependencies.len() == draft.depends_on.len()
        && !dependencies.contains(&draft.key)
        && draft.when.as_ref().is_none_or(|when| is_expression(when, draft, in_loop, &COMMON))
        && can_be_done(draft, in_loop)
}

fn is_worker(agent: &str, capabilities: &[String]) -> bool {
    (agent.is_empty() || is_name(agent))
        && !(agent.is_empty() && capabilities.is_empty())
        && capabilities.len() <= limits::CAPABILITIES
        && capabilities.iter().all(|tag| is_name(tag))
}

fn is_time(seconds: Option<u32>) -> bool {
    seconds.is_none_or(|seconds| seconds > 0 && seconds <= limits::SLA_SECONDS)
}

fn is_retry(retry: &Retry) -> bool {
    let (first, most) = (retry.backoff_seconds, retry.max_backoff_seconds);
    first.max(most).is_none_or(|seconds| seconds <= limits::SLA_SECONDS)
        && first.zip(most).is_none_or(|(first, most)| first <= most)
        && retry.non_retryable.len() <= limits::CODES
        && retry.non_retryable.iter().all(|code| is_name(code))
}

fn is_expression(text: &str, draft: &Draft, in_loop: bool, variables: &[&str]) -> bool {
    let known = |name: &String| draft.depends_on.contains(name) || in_loop && name == "previous";
    let named = |root| expr::members(text, root).unwrap_or_default().iter().all(known);
    expr::check(text, variables).is_ok() && named("outputs") && named("states")
}

fn can_be_done(draft: &Draft, in_loop: bool) -> bool {
    match &draft.does {
        Does::Work | Does::Round | Does::Timer(Timer::Until(_)) => true,
        Does::Approval(approval) => is_approval(approval),
        Does::Signal(signal) => {
            let known = [&COMMON[..], &["signal"]].concat();
            is_name(&signal.name)
                && is_time(signal.timeout_seconds)
                && signal.matches.as_ref().is_none_or(|text| is_expression(text, draft, in_loop, &known))
        }
        Does::Timer(Timer::Seconds(after)) => is_time(Some(*after)),
        Does::Workflow(call) => {
            let object = draft.input.as_ref().is_none_or(|input| input.get().starts_with(['{', 'n']));
            let from = call.parameters_from.as_ref();
            is_name(&call.name)
                && call.version != Some(0)
                && object
                && from.is_none_or(|text| is_expression(text, draft, in_loop, &COMMON))
        }
        Does::Group(body) => is_body(body, &draft.depends_on, false),
        Does::Map(map) => {
            map.max_parallel != Some(0)
                && is_expression(&map.over, draft, in_loop, &COMMON)
                && is_body(&map.body, &draft.depends_on, false)
        }
        Does::Loop(of) => {
            let known = [&COMMON[..], &["iteration"]].concat();
            let members = expr::members(&of.until, "outputs").unwrap_or_default();
            let inner = |name: &String| of.body.iter().any(|inner| inner.key == *name);
            expr::check(&of.until, &known).is_ok()
                && members.iter().all(inner)
                && (1..=limits::LOOP_ITERATIONS).contains(&of.max_iterations)
                && is_body(&of.body, &draft.depends_on, true)
        }
    }
}

fn is_approval(it: &Approval) -> bool {
    let names: BTreeSet<&String> = it.options.iter().map(|option| &option.name).collect();
    let first = it.approvers.first().is_none_or(|level| {
        !level.roles.is_empty() || it.timeout_seconds.is_some() || level.names.len() >= it.quorum as usize
    });
    let needs = match it.on_timeout {
        OnTimeout::Fail => None,
        OnTimeout::Approve => Some(Then::Complete),
        OnTimeout::Reject => Some(Then::Fail),
    };
    it.message.len() <= limits::MESSAGE_BYTES
        && it.approvers.len() <= limits::APPROVER_LEVELS
        && it.approvers.iter().all(|l| (1..=limits::APPROVERS).contains(&(l.names.len() + l.roles.len())))
        && first
        && (it.approvers.len() < 2 || it.timeout_seconds.is_some())
        && is_time(it.timeout_seconds)
        && (1..=limits::QUORUM).contains(&it.quorum)
        && (1..=limits::OPTIONS).contains(&it.options.len())
        && names.len() == it.options.len()
        && names.iter().all(|name| is_name(name))
        && needs.is_none_or(|then| it.options.iter().any(|option| option.then == then))
}

/// Subtasks on the longest path; `None` when there is a cycle. Relaxes until nothing changes.
fn longest_path(drafts: &[Draft], keys: &BTreeMap<&str, usize>) -> Option<usize> {
    let mut lengths = vec![1_usize; drafts.len()];
    for _ in 0..=limits::PLAN_DEPTH {
        let mut changed = false;
        for (i, draft) in drafts.iter().enumerate() {
            for key in draft.depends_on.iter().filter_map(|key| keys.get(key.as_str())) {
                let length = lengths[*key] + 1;
                if length > lengths[i] {
                    lengths[i] = length;
                    changed = true;
                }
            }
        }
        if !changed {
            return lengths.iter().copied().max();
        }
        if lengths.iter().any(|length| *length > limits::PLAN_DEPTH) {
            return None;
        }
    }
    None
}
