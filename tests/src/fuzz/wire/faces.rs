//! Plans written down again, in the form of either face.

use downbeat_core::{
    draft::{
        Approval, Call, Choice, Compensate, ContextKeys, Does, Draft, Failures, Goal, Loop, Map, SignalGate,
        Timer,
    },
    task::Priority,
};
use downbeat_proto::v1::{self as pb, planned_subtask};
use serde_json::{Value, json, value::RawValue};

/// Whether a time of day is in it, which only one face writes as a number.
pub(super) fn tells_a_time(drafts: &[Draft]) -> bool {
    let tells = |draft: &Draft| {
        matches!(draft.does, Does::Timer(Timer::Until(_)))
            || draft.does.body().is_some_and(|body| tells_a_time(body))
    };
    drafts.iter().any(tells)
}

pub(super) fn priority(priority: Priority) -> i32 {
    match priority {
        Priority::Low => pb::Priority::Low.into(),
        Priority::Normal => pb::Priority::Normal.into(),
        Priority::High => pb::Priority::High.into(),
        Priority::Critical => pb::Priority::Critical.into(),
    }
}

pub(super) fn goals_as_proto(goals: &[Goal]) -> Vec<pb::Goal> {
    let goal = |goal: &Goal| pb::Goal { name: goal.name.clone(), description: goal.description.clone() };
    goals.iter().map(goal).collect()
}

pub(super) fn goals_as_json(goals: &[Goal]) -> String {
    let goal = |goal: &Goal| json!({"name": goal.name, "description": goal.description});
    Value::Array(goals.iter().map(goal).collect()).to_string()
}

pub(super) fn as_proto(draft: &Draft) -> pb::PlannedSubtask {
    let input = |input: &Option<Box<RawValue>>| {
        input.as_ref().map(|input| input.get().to_owned().into()).unwrap_or_default()
    };
    let undo = |undo: &Compensate| pb::Compensation {
        agent: undo.agent.clone(),
        capabilities: undo.capabilities.clone(),
        input: input(&undo.input),
    };
    pb::PlannedSubtask {
        key: draft.key.clone(),
        agent: draft.agent.clone(),
        capabilities: draft.capabilities.clone(),
        input: input(&draft.input),
        depends_on: draft.depends_on.clone(),
        sla_seconds: draft.sla_seconds.unwrap_or_default(),
        max_attempts: draft.max_attempts.unwrap_or_default().into(),
        priority: draft.priority.map(priority).unwrap_or_default(),
        run_if: draft.run_if as i32,
        when: draft.when.clone().unwrap_or_default(),
        on_failure: draft.on_failure.map_or(0, |it| it as i32),
        retry: Some(pb::Retry {
            backoff_seconds: draft.retry.backoff_seconds,
            max_backoff_seconds: draft.retry.max_backoff_seconds,
            non_retryable: draft.retry.non_retryable.clone(),
        }),
        fallback: draft.fallback.clone(),
        compensate: draft.compensate.as_ref().map(undo),
        output_schema: draft.output_schema.as_ref().map(|schema| schema.get().to_owned()).unwrap_or_default(),
        serves: draft.serves.clone(),
        context: match &draft.context {
            ContextKeys::Given => None,
            ContextKeys::All => Some(pb::ContextKeys { all: true, keys: Vec::new() }),
            ContextKeys::Only(keys) => Some(pb::ContextKeys { all: false, keys: keys.clone() }),
        },
        does: does_as_proto(&draft.does),
    }
}

fn does_as_proto(does: &Does<Vec<Draft>>) -> Option<planned_subtask::Does> {
    use planned_subtask::Does as Sent;
    let all = |body: &[Draft]| body.iter().map(as_proto).collect();
    Some(match does {
        Does::Work | Does::Round => return None,
        Does::Approval(it) => Sent::Approval(pb::Approval {
            message: it.message.clone(),
            approvers: it
                .approvers
                .iter()
                .map(|level| pb::Approvers { names: level.names.clone(), roles: level.roles.clone() })
                .collect(),
            quorum: it.quorum,
            options: it
                .options
                .iter()
                .map(|Choice { name, then }| pb::ApprovalOption { name: name.clone(), then: *then as i32 })
                .collect(),
            timeout_seconds: it.timeout_seconds.unwrap_or_default(),
            on_timeout: it.on_timeout as i32,
        }),
        Does::Signal(SignalGate { name, matches, timeout_seconds }) => Sent::Signal(pb::SignalGate {
            name: name.clone(),
            matches: matches.clone().unwrap_or_default(),
            timeout_seconds: timeout_seconds.unwrap_or_default(),
        }),
        Does::Timer(timer) => Sent::Timer(pb::Timer {
            at: Some(match timer {
                Timer::Seconds(after) => pb::timer::At::Seconds(*after),
                Timer::Until(time) => pb::timer::At::UntilMs(time.0),
            }),
        }),
        Does::Workflow(Call { name, version, parameters_from }) => Sent::Workflow(pb::WorkflowCall {
            name: name.clone(),
            version: version.unwrap_or_default(),
            parameters_from: parameters_from.clone().unwrap_or_default(),
        }),
        Does::Group(body) => Sent::Group(pb::Group { subtasks: all(body) }),
        Does::Map(Map { over, max_parallel, failures, body }) => Sent::Map(pb::Map {
            over: over.clone(),
            max_parallel: max_parallel.unwrap_or_default(),
            failures: match failures {
                Failures::FailFast => None,
                Failures::Tolerate(most) => Some(pb::map::Failures::Tolerate(*most)),
                Failures::Continue => Some(pb::map::Failures::Continue(true)),
            },
            subtasks: all(body),
        }),
        Does::Loop(Loop { until, max_iterations, on_limit, body }) => Sent::Loop(pb::Loop {
            until: until.clone(),
            max_iterations: *max_iterations,
            on_limit: *on_limit as i32,
            subtasks: all(body),
        }),
    })
}

/// Members of an object, of which some are texts already: numbers in inputs stay as they were written.
fn object(mut members: Value, more: Vec<(&str, String)>) -> String {
    let rest: Vec<(String, String)> = match members.as_object_mut() {
        Some(members) => std::mem::take(members).into_iter().map(|(k, v)| (k, v.to_string())).collect(),
        None => Vec::new(),
    };
    let more = more.into_iter().map(|(name, text)| (name.to_owned(), text));
    let all: Vec<String> =
        rest.into_iter().chain(more).map(|(name, text)| format!("\"{name}\":{text}")).collect();
    format!("{{{}}}", all.join(","))
}

pub(super) fn as_json(draft: &Draft) -> String {
    let members = json!({"key": draft.key, "agent": draft.agent, "capabilities": draft.capabilities,
        "depends_on": draft.depends_on, "sla_seconds": draft.sla_seconds, "max_attempts": draft.max_attempts,
        "priority": draft.priority, "run_if": draft.run_if, "when": draft.when, "on_failure": draft.on_failure,
        "retry": draft.retry, "fallback": draft.fallback, "serves": draft.serves});
    let mut more = Vec::new();
    if let Some(input) = &draft.input {
        more.push(("input", input.get().to_owned()));
    }
    if let Some(schema) = &draft.output_schema {
        more.push(("output_schema", schema.get().to_owned()));
    }
    if let Some(undo) = &draft.compensate {
        let input = undo.input.iter().map(|input| ("input", input.get().to_owned())).collect();
        more.push((
            "compensate",
            object(json!({"agent": undo.agent, "capabilities": undo.capabilities}), input),
        ));
    }
    match &draft.context {
        ContextKeys::Given => {}
        ContextKeys::All => more.push(("context", "true".to_owned())),
        ContextKeys::Only(keys) => more.push(("context", json!(keys).to_string())),
    }
    more.extend(does_as_json(&draft.does));
    object(members, more)
}

pub(super) fn all_as_json(drafts: &[Draft]) -> String {
    let all: Vec<String> = drafts.iter().map(as_json).collect();
    format!("[{}]", all.join(","))
}

fn does_as_json(does: &Does<Vec<Draft>>) -> Option<(&'static str, String)> {
    let body = |members: Value, body: &[Draft]| object(members, vec![("subtasks", all_as_json(body))]);
    Some(match does {
        Does::Work | Does::Round | Does::Timer(Timer::Until(_)) => return None,
        Does::Approval(Approval { message, approvers, quorum, options, timeout_seconds, on_timeout }) => {
            let it = json!({"message": message, "approvers": approvers, "quorum": quorum, "options": options,
                "timeout_seconds": timeout_seconds, "on_timeout": on_timeout});
            ("approval", it.to_string())
        }
        Does::Signal(SignalGate { name, matches, timeout_seconds }) => (
            "signal",
            json!({"name": name, "matches": matches, "timeout_seconds": timeout_seconds}).to_string(),
        ),
        Does::Timer(Timer::Seconds(after)) => ("timer", json!({"seconds": after}).to_string()),
        Does::Workflow(Call { name, version, parameters_from }) => (
            "workflow",
            json!({"name": name, "version": version, "parameters_from": parameters_from}).to_string(),
        ),
        Does::Group(of) => ("group", body(json!({}), of)),
        Does::Map(Map { over, max_parallel, failures, body: of }) => {
            let failures = match failures {
                Failures::FailFast => json!("fail_fast"),
                Failures::Tolerate(most) => json!({"tolerate": most}),
                Failures::Continue => json!("continue"),
            };
            ("map", body(json!({"over": over, "max_parallel": max_parallel, "failures": failures}), of))
        }
        Does::Loop(Loop { until, max_iterations, on_limit, body: of }) => {
            let it = json!({"until": until, "max_iterations": max_iterations, "on_limit": on_limit});
            ("loop", body(it, of))
        }
    })
}
