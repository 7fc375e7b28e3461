//! Whatever a socket may bring: protobuf requests, REST bodies and queries, and a worker's messages.
//!
//! The first byte says which, the rest is what came. What is accepted keeps the documented limits; what is refused
//! names a field; a submission means the same on both faces, to the digest.

mod faces;

use downbeat_core::{
    check::Violation,
    command::{Decision, Sent, WorkResult},
    draft::Draft,
    id::TenantNo,
    limits,
    session::WorkerDeclaration,
};
use downbeat_proto::v1::{self as pb, session_request::Message};
use downbeat_server::{
    engine::{Point, RerunRequest, Submission},
    failure::Failure,
    wire::{body, context, json, past, query::Query, request, session, workflow},
};
use serde_json::{Value, json, value::RawValue};

use super::plan;

const TENANT: TenantNo = TenantNo::DEFAULT;
/// As many problems as are ever kept of one request: those listed, and one more.
const PROBLEMS_MAX: usize = 1_001;
/// Bytes of a problem's field or issue.
const SHOWN_BYTES_MAX: usize = 500;
/// Bytes of a person's or a snapshot's name.
const PERSON_BYTES: usize = 2 * limits::NAME_BYTES;
/// 9999-12-29, the last day that can be written in every zone.
const LATEST_MS: i64 = 253_402_127_999_999;

/// What requests call their fields; anything else that is named is the client's own word.
const FIELDS: &[&str] = &[
    "after",
    "agent",
    "body",
    "capability",
    "checkpoints",
    "deadline",
    "deadline_ms",
    "domain",
    "execution_mode",
    "expected_version",
    "parameters",
    "secrets",
    "version",
    "health",
    "hello",
    "metadata",
    "name",
    "output",
    "outputs",
    "page_size",
    "page_token",
    "plan",
    "prefix",
    "priority",
    "reason",
    "session_id",
    "status",
    "statuses",
    "subtask_id",
    "task_id",
    "task_id_prefix",
    "title",
    "description",
    "by",
    "children",
    "key",
    "value",
    "comment",
    "digest",
    "event",
    "execute",
    "inputs",
    "new_task_id",
    "option",
    "payload",
    "replaced",
    "roles",
    "signal_id",
    "snapshot",
    "subtask_ids",
    "subtasks",
];

/// The target.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        b'A' => proto(rest, submit),
        b'B' => proto(rest, |it: pb::ExecuteTaskRequest| {
            let count = it.checkpoints.len();
            if judge(request::execution(it)).is_some() {
                assert!(count <= limits::PLAN_SUBTASKS);
            }
        }),
        b'C' => proto(rest, |it: pb::ListTasksRequest| {
            if let Some(list) = judge(request::tasks(TENANT, it)) {
                page(list.limit, 500, &list.id_prefix);
            }
        }),
        b'D' => proto(rest, |it: pb::ListEventsRequest| {
            if let Some(limit) = judge(request::events(&it)) {
                page(limit, 1_000, &it.task_id);
                assert!(i64::try_from(it.after).is_ok());
            }
        }),
        b'E' => proto(rest, |it: pb::WatchTaskRequest| {
            if judge(request::watch(&it)).is_some() {
                task_id(&it.task_id);
            }
        }),
        b'F' => proto(rest, |it: pb::CancelTaskRequest| {
            if let Some(reason) = judge(request::task_reason(&it.task_id, &it.reason)) {
                task_id(&it.task_id);
                line(&reason);
            }
        }),
        b'G' => proto(rest, |it: pb::SkipSubtaskRequest| {
            if let Some(reason) = judge(request::subtask_reason(&it.task_id, &it.subtask_id, &it.reason)) {
                task_id(&it.task_id);
                line(&reason);
            }
        }),
        b'H' => proto(rest, |it: pb::CompleteSubtaskRequest| {
            judge(request::completion(&it)).iter().for_each(|output| document(output, limits::OUTPUT_BYTES));
        }),
        b'I' => proto(rest, |it: pb::RouteSubtaskRequest| {
            if judge(request::route(&it)).is_some() {
                assert!(plan::is_name(&it.agent));
            }
        }),
        b'J' => proto(rest, |it: pb::ListAgentsRequest| drop(judge(request::agents(it)))),
        b'K' => proto(rest, |it: pb::GetAgentRequest| {
            if judge(request::agent(&it.name)).is_some() {
                assert!(plan::is_name(&it.name));
            }
        }),
        b'L' => proto(rest, |it: pb::GetWorkerRequest| {
            assert_eq!(judge(request::session(it.session_id)).is_some(), it.session_id > 0);
        }),
        b'M' => proto(rest, worker),
        b'N' => proto(rest, |it| judge(request::decision(it)).iter().for_each(decided)),
        b'O' => proto(rest, |it| judge(request::signal(it)).iter().for_each(signalled)),
        b'P' => proto(rest, |it| judge(request::rerun(it)).iter().for_each(again)),
        b'Q' => proto(rest, |it: pb::SnapshotTaskRequest| {
            if let Some(by) = judge(past::snapshot(&it.task_id, &it.name, &it.by)) {
                assert!(plan::is_name(&it.name));
                person_or_nobody(&by);
            }
        }),
        b'R' => proto(rest, |it: pb::RestoreTaskRequest| {
            if let Some(by) = judge(past::restoration(&it.task_id, &it.snapshot, &it.by)) {
                snapshot(&it.snapshot);
                person_or_nobody(&by);
            }
        }),
        b'S' => proto(rest, |it: pb::ForkTaskRequest| {
            if let Some(from) = judge(past::fork(&it.task_id, &it.new_task_id, it.at)) {
                task_id(&it.new_task_id);
                point(&from);
            }
        }),
        b'T' => proto(rest, |it| judge(request::lint(it)).iter().for_each(|(_, drafts)| drafted(drafts))),
        b'a' => rest_body(rest, |raw| {
            if let Some(submission) = judge(body::submission(TENANT, raw)) {
                accepted(&submission);
            }
        }),
        b'b' => rest_body(rest, |raw| {
            if let Some(execution) = judge(body::execution(raw)) {
                assert!(execution.checkpoints.len() <= limits::PLAN_SUBTASKS);
            }
        }),
        b'c' => rest_body(rest, |raw| judge(body::cancel(raw)).iter().for_each(|(reason, _)| line(reason))),
        b'd' => rest_body(rest, |raw| {
            judge(body::nothing(raw));
        }),
        b'e' => rest_body(rest, |raw| {
            judge(body::completion(raw))
                .iter()
                .for_each(|(output, _)| document(output, limits::OUTPUT_BYTES));
        }),
        b'f' => rest_body(rest, |raw| {
            judge(body::agent(raw)).iter().for_each(|name| assert!(plan::is_name(name)));
        }),
        b'g' => queries(&String::from_utf8_lossy(rest)),
        b'h' => drop(downbeat_store::context(rest)),
        b'i' => rest_body(rest, |raw| judge(body::decision(raw)).iter().for_each(decided)),
        b'j' => rest_body(rest, |raw| judge(body::signal("deployed", raw)).iter().for_each(signalled)),
        b'k' => rest_body(rest, |raw| judge(body::rerun(raw)).iter().for_each(again)),
        b'l' => rest_body(rest, |raw| judge(body::lint(raw)).iter().for_each(|(_, drafts)| drafted(drafts))),
        b'm' => rest_body(rest, |raw| {
            if let Some((name, by)) = judge(past::snapshot_body(raw)) {
                assert!(plan::is_name(&name));
                person_or_nobody(&by);
            }
        }),
        b'n' => rest_body(rest, |raw| {
            if let Some((name, by)) = judge(past::restoration_body(raw)) {
                snapshot(&name);
                person_or_nobody(&by);
            }
        }),
        b'o' => rest_body(rest, |raw| {
            if let Some(fork) = judge(past::fork_body(raw)) {
                task_id(&fork.task_id);
                point(&fork.point);
            }
        }),
        b'p' => rest_body(rest, |raw| judge(body::by(raw)).iter().for_each(|by| person_or_nobody(by))),
        b'q' => rest_body(rest, |raw| {
            if let Some(it) = judge(body::decided(raw)) {
                line(&it.reason);
                person_or_nobody(&it.by);
            }
        }),
        b'r' => rest_body(rest, |raw| drop(judge(workflow::json::creation(raw)))),
        b's' => rest_body(rest, |raw| drop(judge(workflow::json::run(TENANT, "w".into(), raw)))),
        b't' => rest_body(rest, |raw| drop(judge(workflow::json::rollback(raw)))),
        b'U' => proto(rest, |it| drop(judge(workflow::proto::creation(it)))),
        b'V' => proto(rest, |it| drop(judge(workflow::proto::run(TENANT, it)))),
        _ => {}
    }
}

fn proto<T: prost::Message + Default>(bytes: &[u8], parse: impl FnOnce(T)) {
    if let Ok(message) = T::decode(bytes) {
        parse(message);
    }
}

fn rest_body(bytes: &[u8], parse: impl FnOnce(&RawValue)) {
    match json::parse(bytes) {
        Ok(raw) => parse(raw),
        Err(issue) => assert!(!issue.is_empty()),
    }
}

/// What was accepted. What was refused has a reason, names a field, and is no longer than an answer may be.
fn judge<T>(read: Result<T, Failure>) -> Option<T> {
    let found = match read {
        Ok(value) => return Some(value),
        Err(Failure::Invalid(found)) => found,
        Err(other) => panic!("the wire answers with {other:?}"),
    };
    assert!(!found.is_empty(), "refused without a reason");
    assert!(found.len() <= PROBLEMS_MAX, "{} problems", found.len());
    for Violation { field, issue, .. } in &found {
        assert!(field.len() <= SHOWN_BYTES_MAX && issue.len() <= SHOWN_BYTES_MAX, "{field}: {issue}");
        let top = field.split(['.', '[']).next().unwrap_or_default();
        let ours = FIELDS.contains(&top) || issue.starts_with("unknown ");
        assert!(ours && !issue.is_empty(), "`{field}` is no field: {issue}");
    }
    None
}

fn submit(request: pb::SubmitTaskRequest) {
    if let Some(submission) = judge(request::submission(TENANT, request)) {
        accepted(&submission);
    }
}

/// A submission within the limits, which both faces read as the same.
fn accepted(submission: &Submission) {
    task_id(&submission.id);
    assert!(submission.title.len() <= limits::TITLE_BYTES && !submission.title.contains('\0'));
    assert!(
        submission.description.len() <= limits::DESCRIPTION_BYTES && !submission.description.contains('\0')
    );
    document(&submission.metadata, limits::METADATA_BYTES);
    assert!(submission.metadata.starts_with(b"{"), "metadata is an object");
    assert!(submission.deadline.is_none_or(|at| at.0 <= LATEST_MS));
    assert!(submission.due_at.is_none_or(|at| at.0 <= LATEST_MS));
    match &submission.plan {
        Some(drafts) => assert!(plan::is_valid(drafts), "{drafts:?}"),
        None => assert!(!(submission.title.trim().is_empty() && submission.description.trim().is_empty())),
    }
    submission.plan.iter().for_each(|drafts| inputs(drafts));
    if submission.deadline.is_none_or(|at| at.0 > 0) {
        let again = request::submission(TENANT, as_proto(submission)).expect("gRPC takes the same");
        same(&again, submission);
    }
    if submission.deadline.is_none() && !submission.plan.as_ref().is_some_and(|it| faces::tells_a_time(it)) {
        let again = body::submission(TENANT, &as_json(submission)).expect("REST takes the same");
        same(&again, submission);
    }
}

/// All documents of a plan, also those of bodies.
fn inputs(drafts: &[Draft]) {
    for draft in drafts {
        let undo = draft.compensate.as_ref().and_then(|undo| undo.input.as_ref());
        for input in draft.input.iter().chain(undo) {
            document(input.get().as_bytes(), limits::INPUT_BYTES);
        }
        draft.does.body().into_iter().for_each(|body| inputs(body));
    }
}

/// Drafts that came without a submission.
fn drafted(drafts: &[Draft]) {
    assert!(plan::is_valid(drafts), "{drafts:?}");
    inputs(drafts);
}

fn same(again: &Submission, first: &Submission) {
    let exact = |s: &Submission| Submission { digest: [0; 32], execute: false, ..s.clone() };
    assert_eq!(again.digest, first.digest, "{again:?}\n{first:?}");
    assert_eq!(format!("{:?}", exact(again)), format!("{:?}", exact(first)));
}

fn as_proto(submission: &Submission) -> pb::SubmitTaskRequest {
    let plan = submission.plan.as_ref();
    pb::SubmitTaskRequest {
        task_id: submission.id.clone(),
        title: submission.title.clone(),
        description: submission.description.clone(),
        priority: faces::priority(submission.priority),
        metadata: submission.metadata.clone(),
        plan: plan.map(|drafts| pb::Plan {
            subtasks: drafts.iter().map(faces::as_proto).collect(),
            goals: faces::goals_as_proto(&submission.goals),
        }),
        deadline_ms: submission.deadline.map_or(0, |at| at.0),
        execute: submission.execute,
    }
}

fn as_json(submission: &Submission) -> Box<RawValue> {
    let raw = |text: &[u8]| String::from_utf8(text.to_vec()).expect("checked text is UTF-8");
    let mut text = json!({"task_id": submission.id, "title": submission.title,
        "description": submission.description, "priority": submission.priority})
    .to_string();
    text.truncate(text.len() - 1);
    text.extend([",\"metadata\":", &raw(&submission.metadata)]);
    if let Some(drafts) = &submission.plan {
        let goals = faces::goals_as_json(&submission.goals);
        text.extend([",\"plan\":{\"goals\":", &goals, ",\"subtasks\":", &faces::all_as_json(drafts), "}"]);
    }
    text.push('}');
    RawValue::from_string(text).expect("what is put together is JSON")
}

fn worker(request: pb::SessionRequest) {
    match request.message {
        Some(Message::Hello(hello)) => match session::declaration(&hello) {
            Ok(declaration) => declared(&declaration),
            Err(Failure::Invalid(found)) => {
                let named = |v: &Violation| v.field.starts_with("hello.") && !v.issue.is_empty();
                assert!(!found.is_empty() && found.iter().all(named), "{found:?}");
            }
            Err(other) => panic!("the wire answers with {other:?}"),
        },
        Some(Message::Heartbeat(it)) => assert_eq!(session::leases(&it.in_flight).len(), it.in_flight.len()),
        Some(Message::AssignAck(it)) => assert_eq!(session::leases(&it.leases).len(), it.leases.len()),
        Some(Message::CancelAck(it)) => assert_eq!(session::leases(&it.leases).len(), it.leases.len()),
        Some(Message::Progress(it)) => line(&session::progress(&it)),
        Some(Message::Results(it)) => it.results.into_iter().for_each(result),
        Some(Message::Spawn(it)) => {
            judge(request::children(it.children)).iter().for_each(|drafts| drafted(drafts));
        }
        Some(Message::ContextWrite(it)) => {
            let value = judge(context::under_lease(&it.key, it.value.as_ref())).flatten();
            assert!(value.is_none_or(|value| value.len() <= limits::CONTEXT_VALUE_BYTES));
        }
        Some(Message::ContextRead(_) | Message::Goodbye(_)) | None => {}
    }
}

fn declared(worker: &WorkerDeclaration) {
    let plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    assert!(worker.worker.len() <= limits::NAME_BYTES && plain(&worker.worker));
    assert!(worker.build_id.len() <= limits::NAME_BYTES && plain(&worker.build_id));
    assert!((1..=limits::WORKER_SLOTS).contains(&worker.slots));
    assert!((1..=limits::WORKER_AGENTS).contains(&worker.agents.len()));
    assert!(worker.labels.len() <= limits::WORKER_LABELS);
    for (key, value) in &worker.labels {
        assert!(key.len() <= limits::NAME_BYTES && value.len() <= limits::NAME_BYTES);
        assert!(plain(key) && plain(value));
    }
    for agent in &worker.agents {
        assert!(plan::is_name(&agent.name), "{agent:?}");
        assert!(agent.capabilities.len() <= limits::CAPABILITIES);
        assert!(agent.capabilities.iter().all(|tag| plan::is_name(tag)), "{agent:?}");
        for schema in [&agent.input_schema, &agent.output_schema].into_iter().filter(|it| !it.is_empty()) {
            document(schema.as_bytes(), limits::SCHEMA_BYTES);
        }
        assert!(agent.skills.len() <= limits::CAPABILITIES);
        assert!(agent.skills.iter().all(|skill| skill.len() <= limits::TITLE_BYTES && plain(skill)));
        assert!(agent.domain.len() <= limits::NAME_BYTES && agent.description.len() <= limits::MESSAGE_BYTES);
    }
    let names: std::collections::BTreeSet<&String> = worker.agents.iter().map(|agent| &agent.name).collect();
    assert_eq!(names.len(), worker.agents.len(), "each agent once");
}

/// A result counts as what the worker sent, or as a failed attempt; never the other way round.
fn result(sent: pb::Result) {
    let completed = matches!(sent.outcome, Some(pb::result::Outcome::Completed(_)));
    let named = sent.lease.is_some();
    let Some((_, result, refused)) = session::result(sent) else { return assert!(!named) };
    match result {
        WorkResult::Completed { output, artifacts } => {
            assert!(completed && refused.is_none());
            if !output.is_empty() {
                document(&output, limits::OUTPUT_BYTES);
            }
            assert!(artifacts.len() <= limits::ARTIFACTS);
            for artifact in artifacts {
                for text in [artifact.name, artifact.uri, artifact.media_type, artifact.digest] {
                    assert!(
                        text.len() <= limits::ARTIFACT_FIELD_BYTES && !text.chars().any(char::is_control)
                    );
                }
            }
        }
        WorkResult::Suspended => assert!(!completed && refused.is_none()),
        WorkResult::Failed { error, .. } => {
            assert!(plan::is_name(&error.code), "{error:?}");
            assert!(!completed || refused.is_some(), "an output that cannot be kept is told");
            assert!(refused.is_none_or(|text| !text.is_empty()));
            line(&error.message);
        }
    }
}

fn queries(text: &str) {
    let pairs = || {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Query::new(text.split('&').filter(|text| !text.is_empty()).map(pair).collect())
    };
    if let Some(list) = judge(pairs().tasks(TENANT)) {
        page(list.limit, 500, &list.id_prefix);
        assert!(list.statuses.len() <= 8, "each status once");
    }
    if let Some(events) = judge(pairs().events()) {
        page(events.limit, 1_000, "");
        assert!(i64::try_from(events.after).is_ok());
    }
    judge(pairs().agents());
    judge(pairs().workers());
    if let Some(shown) = judge(pairs().task()) {
        assert!(!shown.replaced || text.contains("replaced=true"));
        assert!(!shown.omit_outputs || text.contains("outputs=false"));
    }
    assert_eq!(judge(pairs().none()).is_some(), text.split('&').all(str::is_empty));
}

fn decided(it: &Decision) {
    assert!(plan::is_name(&it.option) && !it.digest.is_empty() && it.digest.len() <= PERSON_BYTES);
    assert!(it.roles.len() <= limits::APPROVERS);
    it.roles.iter().chain([&it.by]).for_each(|name| {
        assert!(!name.is_empty());
        person_or_nobody(name);
    });
    line(&it.comment);
}

fn signalled(it: &Sent) {
    assert!(plan::is_name(&it.name) && it.id.len() <= limits::TASK_ID_BYTES);
    if !it.payload.is_empty() {
        document(&it.payload, limits::SIGNAL_BYTES);
    }
    person_or_nobody(&it.by);
}

fn again(it: &RerunRequest) {
    assert!(!(it.subtasks.is_empty() && it.inputs.is_empty()));
    assert!(it.subtasks.len() <= limits::PLAN_SUBTASKS && it.inputs.len() <= limits::PLAN_SUBTASKS);
    it.inputs.values().for_each(|input| document(input.get().as_bytes(), limits::INPUT_BYTES));
    person_or_nobody(&it.by);
    line(&it.reason);
}

fn point(from: &Point) {
    match from {
        Point::Now => {}
        Point::Event(number) => assert!(i64::try_from(*number).is_ok()),
        Point::Snapshot(name) => snapshot(name),
    }
}

fn snapshot(name: &str) {
    assert!((1..=PERSON_BYTES).contains(&name.len()), "{name}");
}

fn person_or_nobody(name: &str) {
    assert!(name.len() <= PERSON_BYTES && !name.chars().any(char::is_control), "{name:?}");
}

fn page(limit: u32, max: u32, prefix: &str) {
    assert!((1..=max).contains(&limit), "a page of {limit}");
    assert!(prefix.len() <= limits::TASK_ID_BYTES && !prefix.chars().any(char::is_control));
}

fn task_id(id: &str) {
    assert!((1..=limits::TASK_ID_BYTES).contains(&id.len()), "{id}");
    assert!(!id.chars().any(char::is_control), "{id:?}");
}

/// A line for people, as long as is kept, without what databases do not take.
fn line(text: &str) {
    assert!(text.len() <= limits::MESSAGE_BYTES, "{} bytes: {text}", text.len());
    assert!(!text.contains('\0'));
}

/// JSON that every reader and every database takes.
fn document(text: &[u8], bytes_max: usize) {
    assert!(text.len() <= bytes_max, "{} bytes", text.len());
    let value: Value = serde_json::from_slice(text)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)));
    assert!(depth(&value) <= limits::JSON_DEPTH);
    assert!(!has_nul(&value));
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
