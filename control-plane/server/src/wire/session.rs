//! Messages of the worker's stream, to and from the core.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::{
    check::{Violation, check_capabilities, check_schema, name_issue},
    command::{Verdict, WorkResult},
    event::{Artifact, AttemptError},
    id::{LeaseAt, LeaseId, TaskNo},
    limits,
    plan::Plan,
    session::{AgentDeclaration, WorkerDeclaration},
    subtask::Outcome,
};
use downbeat_proto::v1;

use crate::{committer::Ack, failure::Failure};

/// A worker's declaration, or everything that is wrong with it.
///
/// # Errors
/// `Invalid`, naming the fields of `hello`.
pub fn declaration(hello: &v1::Hello) -> Result<WorkerDeclaration, Failure> {
    let mut found = Vec::new();
    text("hello.worker", &hello.worker, limits::NAME_BYTES, &mut found);
    text("hello.build_id", &hello.build_id, limits::NAME_BYTES, &mut found);
    if hello.agents.is_empty() {
        found.push(Violation::new("hello.agents", "a worker serves at least one agent"));
    }
    if hello.agents.len() > limits::WORKER_AGENTS {
        found.push(over("hello.agents", "WORKER_AGENTS", limits::WORKER_AGENTS, hello.agents.len()));
    }
    if !(1..=limits::WORKER_SLOTS).contains(&hello.slots) {
        let issue = format!("1 to {} (WORKER_SLOTS), got {}", limits::WORKER_SLOTS, hello.slots);
        found.push(Violation::new("hello.slots", issue));
    }
    if hello.labels.len() > limits::WORKER_LABELS {
        found.push(over("hello.labels", "WORKER_LABELS", limits::WORKER_LABELS, hello.labels.len()));
    }
    for (key, value) in hello.labels.iter().take(limits::WORKER_LABELS) {
        let shown: String = key.escape_debug().take(limits::NAME_BYTES).collect();
        text(&format!("hello.labels[{shown}]"), key, limits::NAME_BYTES, &mut found);
        text(&format!("hello.labels[{shown}]"), value, limits::NAME_BYTES, &mut found);
    }
    if let Some(resume) = &hello.resume {
        if resume.in_flight.len() > limits::WORKER_LEASES {
            let (max, got) = (limits::WORKER_LEASES, resume.in_flight.len());
            found.push(over("hello.resume.in_flight", "WORKER_LEASES", max, got));
        }
        if resume.connection == 0 {
            let issue = "at least 1, and higher at every further reconnect, got 0";
            found.push(Violation::new("hello.resume.connection", issue));
        }
    }
    let mut names = BTreeMap::new();
    for (i, agent) in hello.agents.iter().take(limits::WORKER_AGENTS).enumerate() {
        let at = |field: &str| format!("hello.agents[{i}].{field}");
        if let Some(issue) = name_issue(&agent.name) {
            found.push(Violation::new(at("name"), issue));
        } else if let Some(first) = names.insert(&agent.name, i) {
            found.push(Violation::new(at("name"), format!("is already the name of hello.agents[{first}]")));
        }
        check_capabilities(&at("capabilities"), &agent.capabilities, &mut found);
        if agent.skills.len() > limits::CAPABILITIES {
            found.push(over(&at("skills"), "CAPABILITIES", limits::CAPABILITIES, agent.skills.len()));
        }
        for (s, skill) in agent.skills.iter().take(limits::CAPABILITIES).enumerate() {
            text(&format!("hello.agents[{i}].skills[{s}]"), skill, limits::TITLE_BYTES, &mut found);
        }
        text(&at("domain"), &agent.domain, limits::NAME_BYTES, &mut found);
        text(&at("description"), &agent.description, limits::MESSAGE_BYTES, &mut found);
        for (field, schema) in
            [("input_schema", &agent.input_schema), ("output_schema", &agent.output_schema)]
        {
            if !schema.is_empty() {
                let issue = check_schema(schema).or_else(|| super::json::check(schema.as_bytes()).err());
                found.extend(issue.map(|issue| Violation::new(at(field), issue)));
            }
        }
    }
    if !found.is_empty() {
        return Err(Failure::Invalid(found));
    }
    Ok(WorkerDeclaration {
        worker: hello.worker.clone(),
        agents: hello.agents.iter().map(agent).collect(),
        slots: hello.slots,
        labels: hello.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        build_id: hello.build_id.clone(),
    })
}

fn agent(declared: &v1::AgentDeclaration) -> AgentDeclaration {
    AgentDeclaration {
        name: declared.name.clone(),
        capabilities: declared.capabilities.clone(),
        skills: declared.skills.clone(),
        domain: declared.domain.clone(),
        description: declared.description.clone(),
        sla_ms: (declared.sla_ms > 0).then_some(declared.sla_ms),
        progress_timeout_ms: (declared.progress_timeout_ms > 0).then_some(declared.progress_timeout_ms),
        input_schema: declared.input_schema.clone(),
        output_schema: declared.output_schema.clone(),
    }
}

fn text(field: &str, value: &str, bytes_max: usize, found: &mut Vec<Violation>) {
    if value.len() > bytes_max {
        found.push(Violation::new(field, format!("at most {bytes_max} bytes, got {}", value.len())));
    }
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        found.push(Violation::new(field, "must not hold control characters"));
    }
}

fn over(field: &str, limit: &str, max: usize, got: usize) -> Violation {
    Violation::new(field, format!("at most {max} ({limit}), got {got}"))
}

/// Why a worker is told to stop.
pub(crate) fn cancel_reason(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cancelled => "the task was cancelled, or has ended",
        Outcome::TimedOut => "the attempt ran out of time, or was silent for too long",
        Outcome::Lost => "the lease was taken away: the worker did not take it up, or counted as gone",
        Outcome::Completed | Outcome::Failed | Outcome::Suspended => "the attempt has ended",
    }
}

/// A lease as the worker names it.
pub fn lease(lease: &v1::LeaseRef) -> LeaseAt {
    LeaseAt { task: TaskNo(lease.task_no), index: lease.index, lease: LeaseId(lease.lease_id) }
}

/// A lease as the worker is told it.
pub(crate) fn lease_ref(at: LeaseAt) -> v1::LeaseRef {
    v1::LeaseRef { lease_id: at.lease.0, task_no: at.task.0, index: at.index }
}

pub fn leases(leases: &[v1::LeaseRef]) -> Vec<LeaseAt> {
    leases.iter().map(lease).collect()
}

pub(crate) fn lease_refs(leases: &[LeaseAt]) -> Vec<v1::LeaseRef> {
    leases.iter().copied().map(lease_ref).collect()
}

/// A result. What cannot be kept becomes a failed attempt, and the text says why it was refused.
pub fn result(sent: v1::Result) -> Option<(LeaseAt, WorkResult, Option<String>)> {
    let at = lease(sent.lease.as_ref()?);
    match sent.outcome {
        Some(v1::result::Outcome::Completed(completed)) => match check_completed(&completed) {
            Ok(()) => {
                let artifacts = completed.artifacts.into_iter().map(artifact).collect();
                Some((at, WorkResult::Completed { output: completed.output, artifacts }, None))
            }
            Err(message) => {
                let error = AttemptError { code: "INVALID_OUTPUT".into(), message: message.clone() };
                Some((at, WorkResult::Failed { error, retryable: true }, Some(message)))
            }
        },
        Some(v1::result::Outcome::Failed(failed)) => {
            let error = failed.error.unwrap_or_default();
            let code = if name_issue(&error.code).is_some() { "FAILED".into() } else { error.code };
            let error = AttemptError { code, message: cut(&error.message) };
            Some((at, WorkResult::Failed { error, retryable: failed.retryable }, None))
        }
        Some(v1::result::Outcome::Suspended(_)) => Some((at, WorkResult::Suspended, None)),
        None => {
            let message = "a result says neither completed nor failed nor suspended".to_owned();
            let error = AttemptError { code: "INVALID_OUTPUT".into(), message: message.clone() };
            Some((at, WorkResult::Failed { error, retryable: true }, Some(message)))
        }
    }
}

fn check_completed(completed: &v1::Completed) -> Result<(), String> {
    let bytes = completed.output.len();
    if bytes > limits::OUTPUT_BYTES {
        return Err(format!("output: at most {} bytes (OUTPUT_BYTES), got {bytes}", limits::OUTPUT_BYTES));
    }
    if !completed.output.is_empty() {
        super::json::check(&completed.output).map_err(|issue| format!("output: {issue}"))?;
    }
    if completed.artifacts.len() > limits::ARTIFACTS {
        let got = completed.artifacts.len();
        return Err(format!("artifacts: at most {} (ARTIFACTS), got {got}", limits::ARTIFACTS));
    }
    for (i, artifact) in completed.artifacts.iter().enumerate() {
        let fields = [
            ("name", &artifact.name),
            ("uri", &artifact.uri),
            ("media_type", &artifact.media_type),
            ("digest", &artifact.digest),
        ];
        for (field, value) in fields {
            let max = limits::ARTIFACT_FIELD_BYTES;
            if value.len() > max {
                let got = value.len();
                return Err(format!(
                    "artifacts[{i}].{field}: at most {max} bytes (ARTIFACT_FIELD_BYTES), got {got}"
                ));
            }
            if value.chars().any(char::is_control) {
                return Err(format!("artifacts[{i}].{field}: must not hold control characters"));
            }
        }
    }
    Ok(())
}

fn artifact(sent: v1::Artifact) -> Artifact {
    Artifact {
        name: sent.name,
        uri: sent.uri,
        media_type: sent.media_type,
        size_bytes: sent.size_bytes,
        digest: sent.digest,
    }
}

/// A progress line, a reason, an error's message: cut to what is kept, without NUL.
pub(crate) fn cut(message: &str) -> String {
    // Cut before, so that no more than is kept is looked through, and after: the replacement is longer.
    let mut text = within(message).replace('\0', "\u{fffd}");
    text.truncate(within(&text).len());
    text
}

/// The longest beginning of a message that is kept.
fn within(message: &str) -> &str {
    &message[..message.floor_char_boundary(limits::MESSAGE_BYTES)]
}

/// A progress message as a line: `40 % compiling`.
pub fn progress(progress: &v1::Progress) -> String {
    let text = cut(&progress.message);
    if progress.fraction > 0.0 && progress.fraction <= 1.0 {
        let line = format!("{:.0} % {text}", progress.fraction * 100.0);
        within(&line).trim_end().to_owned()
    } else {
        text
    }
}

/// The answer to a result. `refused`: why its payload was not kept, if it was not.
pub(crate) fn result_ack(ack: Ack, refused: Option<String>) -> v1::ResultAck {
    use v1::result_ack::Verdict as Wire;
    let (verdict, message) = match (ack.verdict, refused) {
        (Ok(Verdict::Accepted), Some(message)) | (Err(message), _) => (Wire::Refused, message),
        (Ok(Verdict::Accepted), None) => (Wire::Accepted, String::new()),
        (Ok(Verdict::Duplicate), _) => (Wire::Duplicate, String::new()),
        (Ok(Verdict::Stale), _) => (Wire::Stale, "the lease is no longer current".into()),
    };
    v1::ResultAck { lease: Some(lease_ref(ack.at)), verdict: verdict.into(), message }
}

/// The context that a worker is handed: the task's, or an empty object.
pub fn context(plan: &Plan) -> Bytes {
    match plan.context() {
        [] => Bytes::from_static(b"{}"),
        context => Bytes::copy_from_slice(context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_longer_than_what_is_kept() {
        let long = "é".repeat(limits::MESSAGE_BYTES);
        for (message, fraction) in [(long.as_str(), 0.0), (long.as_str(), 0.4), (&"\0".repeat(5_000), 0.4)] {
            let line = progress(&v1::Progress { lease: None, message: message.to_owned(), fraction });
            assert!(
                (limits::MESSAGE_BYTES - 2..=limits::MESSAGE_BYTES).contains(&line.len()),
                "{}",
                line.len()
            );
            assert!(!line.contains('\0'));
        }
        let line = v1::Progress { lease: None, message: "compiling".into(), fraction: 0.4 };
        assert_eq!(progress(&line), "40 % compiling");
        assert_eq!(cut("a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn a_worker_is_always_handed_an_object_as_context() {
        let handed = |given: &'static str| context(&Plan::default().with_context(Bytes::from(given)));
        assert_eq!((&handed("")[..], &handed(r#"{"a":1}"#)[..]), (&b"{}"[..], &br#"{"a":1}"#[..]));
    }

    #[test]
    fn of_too_many_skills_only_so_many_are_looked_at() {
        let agent = v1::AgentDeclaration {
            name: "a".into(),
            skills: vec!["\u{1}".into(); 10_000],
            ..Default::default()
        };
        let hello = v1::Hello { worker: "w".into(), agents: vec![agent], slots: 1, ..Default::default() };
        let Err(Failure::Invalid(found)) = declaration(&hello) else { panic!("accepted") };
        assert_eq!(found.len(), 1 + limits::CAPABILITIES);
    }

    #[test]
    fn a_result_says_how_the_attempt_ended() {
        let sent = |outcome| {
            let lease = Some(v1::LeaseRef { lease_id: 1, task_no: 2, index: 3 });
            let (at, result, refused) = result(v1::Result { lease, outcome }).expect("a lease is named");
            assert_eq!((at.lease, at.task, at.index), (LeaseId(1), TaskNo(2), 3));
            (result, refused)
        };
        let suspended = sent(Some(v1::result::Outcome::Suspended(v1::Suspended {})));
        assert!(matches!(suspended, (WorkResult::Suspended, None)));
        let output = |text: &'static str| {
            sent(Some(v1::result::Outcome::Completed(v1::Completed {
                output: text.into(),
                ..Default::default()
            })))
        };
        assert!(matches!(output("[1]"), (WorkResult::Completed { .. }, None)));
        assert!(matches!(output("["), (WorkResult::Failed { retryable: true, .. }, Some(_))));
        let (failed, refused) = sent(None);
        assert!(matches!(failed, WorkResult::Failed { .. }));
        assert_eq!(refused.as_deref(), Some("a result says neither completed nor failed nor suspended"));
    }
}
