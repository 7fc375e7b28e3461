//! The proto form of the plan document, as gRPC and workers have it.

use downbeat_core::{
    draft::{
        Approval, Approvers, Call, Choice, Compensate, ContextKeys, Does, Draft, Failures, Goal, Loop, Map,
        OnLimit, OnTimeout, Retry, RunIf, SignalGate, Then, Timer,
    },
    limits,
    time::Time,
};
use downbeat_proto::v1::{self as pb, planned_subtask};

use super::{Entry, PLAN, Reader, UNREAD, Undo, Written, default_options, expression};
use crate::wire::{check, request::document, times};

/// A client's own plan.
pub(crate) fn plan(plan: pb::Plan, reader: &mut Reader<'_>) -> Written {
    let goal = |goal: pb::Goal| Goal { name: goal.name, description: goal.description };
    let goals = plan.goals.into_iter().map(goal).collect();
    Written { goals, subtasks: read(PLAN, plan.subtasks, reader) }
}

/// What stands at `path`.
pub(crate) fn read(path: &str, subtasks: Vec<pb::PlannedSubtask>, reader: &mut Reader<'_>) -> Vec<Entry> {
    if !reader.admit(subtasks.len()) {
        return Vec::new();
    }
    let at = |(i, sub)| entry(&format!("{path}[{i}]"), sub, reader);
    subtasks.into_iter().enumerate().map(at).collect()
}

fn entry(path: &str, sub: pb::PlannedSubtask, reader: &mut Reader<'_>) -> Entry {
    let at = |field: &str| format!("{path}.{field}");
    let sla_seconds = seconds(&at("sla_seconds"), sub.sla_seconds, reader);
    let most = limits::ATTEMPTS.into();
    let max_attempts = positive(&at("max_attempts"), sub.max_attempts, most, " (ATTEMPTS)", reader);
    let retry = retry(&at("retry"), sub.retry.unwrap_or_default(), reader);
    let problems = &mut *reader.problems;
    let draft = Draft {
        key: sub.key,
        agent: sub.agent,
        capabilities: sub.capabilities,
        serves: sub.serves,
        depends_on: sub.depends_on,
        sla_seconds,
        max_attempts: max_attempts.and_then(|attempts| u16::try_from(attempts).ok()),
        retry,
        fallback: sub.fallback,
        priority: check::choice(&at("priority"), sub.priority, problems),
        run_if: check::choice::<RunIf>(&at("run_if"), sub.run_if, problems).unwrap_or_default(),
        when: expression(sub.when),
        on_failure: check::choice(&at("on_failure"), sub.on_failure, problems),
        context: match sub.context {
            None => ContextKeys::Given,
            Some(pb::ContextKeys { all: true, .. }) => ContextKeys::All,
            Some(pb::ContextKeys { keys, .. }) => ContextKeys::Only(keys),
        },
        ..Draft::default()
    };
    let input = document(&at("input"), &sub.input, problems);
    let output_schema = document(&at("output_schema"), sub.output_schema.as_bytes(), problems);
    let undo = sub.compensate.map(|undo| Undo {
        input: document(&at("compensate.input"), &undo.input, problems),
        draft: Compensate { agent: undo.agent, capabilities: undo.capabilities, input: None },
    });
    Entry { draft, input, output_schema, undo, does: does(path, sub.does, reader) }
}

fn retry(path: &str, sent: pb::Retry, reader: &mut Reader<'_>) -> Retry {
    let mut seconds = |field: &str, given: Option<u32>| {
        let range = 0..=limits::SLA_SECONDS.into();
        let (field, token) = (format!("{path}.{field}"), given?.to_string());
        check::number(&field, &token, range, " (SLA_SECONDS)", reader.problems)
    };
    Retry {
        backoff_seconds: seconds("backoff_seconds", sent.backoff_seconds),
        max_backoff_seconds: seconds("max_backoff_seconds", sent.max_backoff_seconds),
        non_retryable: sent.non_retryable,
    }
}

fn does(path: &str, does: Option<planned_subtask::Does>, reader: &mut Reader<'_>) -> Does<Vec<Entry>> {
    let at = |field: &str| format!("{path}.{field}");
    match does {
        None => Does::Work,
        Some(planned_subtask::Does::Approval(sent)) => {
            Does::Approval(approval(&at("approval"), sent, reader))
        }
        Some(planned_subtask::Does::Signal(sent)) => Does::Signal(SignalGate {
            name: sent.name,
            matches: expression(sent.matches),
            timeout_seconds: seconds(&at("signal.timeout_seconds"), sent.timeout_seconds, reader),
        }),
        Some(planned_subtask::Does::Workflow(sent)) => Does::Workflow(Call {
            name: sent.name,
            version: Some(sent.version).filter(|version| *version > 0),
            parameters_from: expression(sent.parameters_from),
        }),
        Some(planned_subtask::Does::Timer(sent)) => Does::Timer(timer(&at("timer"), sent, reader)),
        Some(planned_subtask::Does::Group(sent)) => {
            Does::Group(body(at("group.subtasks"), sent.subtasks, reader))
        }
        Some(planned_subtask::Does::Map(sent)) => Does::Map(Map {
            over: sent.over,
            max_parallel: (sent.max_parallel > 0).then_some(sent.max_parallel),
            failures: match sent.failures {
                None | Some(pb::map::Failures::Continue(false)) => Failures::FailFast,
                Some(pb::map::Failures::Continue(true)) => Failures::Continue,
                Some(pb::map::Failures::Tolerate(most)) => Failures::Tolerate(most),
            },
            body: body(at("map.subtasks"), sent.subtasks, reader),
        }),
        Some(planned_subtask::Does::Loop(sent)) => Does::Loop(Loop {
            until: sent.until,
            max_iterations: sent.max_iterations,
            on_limit: check::choice::<OnLimit>(&at("loop.on_limit"), sent.on_limit, reader.problems)
                .unwrap_or_default(),
            body: body(at("loop.subtasks"), sent.subtasks, reader),
        }),
    }
}

fn body(path: String, subtasks: Vec<pb::PlannedSubtask>, reader: &mut Reader<'_>) -> Vec<Entry> {
    reader.body(|reader| read(&path, subtasks, reader))
}

fn approval(path: &str, sent: pb::Approval, reader: &mut Reader<'_>) -> Approval {
    let at = |field: &str| format!("{path}.{field}");
    let timeout_seconds = seconds(&at("timeout_seconds"), sent.timeout_seconds, reader);
    let option = |(i, option): (usize, pb::ApprovalOption)| {
        let then = check::choice(&at(&format!("options[{i}].then")), option.then, reader.problems);
        Choice { name: option.name, then: then.unwrap_or(Then::Complete) }
    };
    let options: Vec<Choice> = sent.options.into_iter().enumerate().map(option).collect();
    let level = |level: pb::Approvers| Approvers { names: level.names, roles: level.roles };
    Approval {
        message: sent.message,
        approvers: sent.approvers.into_iter().map(level).collect(),
        quorum: sent.quorum.max(1),
        options: if options.is_empty() { default_options() } else { options },
        timeout_seconds,
        on_timeout: check::choice::<OnTimeout>(&at("on_timeout"), sent.on_timeout, reader.problems)
            .unwrap_or_default(),
    }
}

fn timer(path: &str, sent: pb::Timer, reader: &mut Reader<'_>) -> Timer {
    let read = match sent.at {
        Some(pb::timer::At::Seconds(after)) => {
            let (field, token) = (format!("{path}.seconds"), after.to_string());
            let range = 1..=limits::SLA_SECONDS.into();
            check::number(&field, &token, range, " (SLA_SECONDS)", reader.problems).map(Timer::Seconds)
        }
        Some(pb::timer::At::UntilMs(ms)) if times::is_writable(Time(ms)) => Some(Timer::Until(Time(ms))),
        Some(pb::timer::At::UntilMs(ms)) => {
            let issue = format!("must be milliseconds since 1970 in UTC, got {ms}");
            reader.problems.add(format!("{path}.until_ms"), issue);
            None
        }
        None => {
            reader.problems.add(path, "must say `seconds` or `until_ms`");
            None
        }
    };
    read.unwrap_or(UNREAD)
}

/// 0 says nothing.
fn seconds(field: &str, given: u32, reader: &mut Reader<'_>) -> Option<u32> {
    positive(field, given, limits::SLA_SECONDS, " (SLA_SECONDS)", reader)
}

fn positive(field: &str, given: u32, most: u32, limit: &str, reader: &mut Reader<'_>) -> Option<u32> {
    let token = given.to_string();
    (given > 0).then(|| check::number(field, &token, 1..=most.into(), limit, reader.problems)).flatten()
}
