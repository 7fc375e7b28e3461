//! Schedules, both faces: requests read into what the engine takes, and the task that one starts. A face fills a [`Form`]
//! as well as it can; here stands what else may be wrong with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::{
    check::Violation,
    id::TenantNo,
    limits,
    schedule::{Calendar, Order, Overlap, Spec, Starts, Timing},
    time::Time,
};
use downbeat_proto::v1::{self as pb, preview_schedule_request::Of, schedule_spec, schedule_timing::When};
use downbeat_store::ScheduleRecord;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    check,
    fields::{self, Fields},
    json::{self, Document},
    page::{self, Names},
    plan::{self, Reader},
    problems::{Problems, shown, summary},
    submission::{self, Form as Task},
    times, workflow,
};
use crate::{
    engine::{
        Start, Submission,
        schedules::{Backfill, ScheduleRequest},
    },
    failure::Failure,
};

/// The fields of each body; whatever else comes is refused.
pub(crate) const SCHEDULE: &[&str] =
    &["name", "cron", "interval", "once", "overlap", "catch_up_seconds", "task"];
pub(crate) const CHANGED: &[&str] = &["cron", "interval", "once", "overlap", "catch_up_seconds", "task"];
pub(crate) const CRON: &[&str] = &["expression", "time_zone"];
pub(crate) const INTERVAL: &[&str] = &["every_seconds", "offset_seconds"];
pub(crate) const ONCE: &[&str] = &["at"];
pub(crate) const TASK: &[&str] =
    &["title", "description", "priority", "metadata", "plan", "workflow", "deadline_seconds"];
pub(crate) const RUN: &[&str] = &["name", "version", "parameters"];
pub(crate) const TRIGGER: &[&str] = &["trigger_id"];
pub(crate) const BACKFILL: &[&str] = &["from", "until", "backfill_id"];
pub(crate) const PREVIEW: &[&str] = &["cron", "interval", "once", "count"];

/// How late a due time may be where nothing is said.
const CATCH_UP_DEFAULT: u32 = 60;
/// Due times of one preview, unless asked otherwise.
pub(crate) const PREVIEW_DEFAULT: u32 = 10;
/// What backfills are called unless asked otherwise: filled in twice is filled in once.
const BACKFILL_DEFAULT: &str = "backfill";
/// The member of a task's context that says what it was started by.
const CONTEXT: &str = "schedule";
/// Stand for what a request did not say, or does not know yet.
const SOME_TIME: Time = Time(0);
const SOME_ID: &str = "scheduled";

/// A schedule as it was read. `at` is where it stands in the request, ending with a dot; empty: at its beginning.
struct Form {
    at: &'static str,
    name: String,
    timing: Option<Timing>,
    overlap: Option<Overlap>,
    catch_up_seconds: Option<u32>,
    task: Option<Document>,
}

/// What a due time asks for.
pub(crate) enum Asked {
    Task(Box<Submission>),
    /// A stored workflow is run, in the version that it has then.
    Run(Box<Start>),
}

/// What to look ahead at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Previewed {
    /// A schedule, by its name.
    Named(String),
    /// One that does not exist yet.
    Timing(Timing),
}

/// `POST /v1/schedules`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn create_body(body: &RawValue) -> Result<ScheduleRequest, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, SCHEDULE, &mut problems);
    let name = fields.text("name", &mut problems);
    let form = form(name, &fields, &mut problems);
    finish(form, problems)
}

/// `PUT /v1/schedules/{name}`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn update_body(name: String, body: &RawValue) -> Result<ScheduleRequest, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, CHANGED, &mut problems);
    let form = form(name, &fields, &mut problems);
    finish(form, problems)
}

/// A schedule over gRPC, to be created or updated.
///
/// # Errors
/// `Invalid` with every problem.
pub fn request(name: String, spec: Option<pb::ScheduleSpec>) -> Result<ScheduleRequest, Failure> {
    let mut problems = Problems::default();
    let pb::ScheduleSpec { timing, overlap, catch_up_seconds, starts } = spec.unwrap_or_default();
    let task =
        starts.and_then(|schedule_spec::Starts::Task(text)| json::read("spec.task", &text, &mut problems));
    let form = Form {
        at: "spec.",
        name,
        timing: timing_of("spec.timing", timing, &mut problems),
        overlap: check::choice("spec.overlap", overlap, &mut problems),
        catch_up_seconds: (catch_up_seconds > 0).then_some(catch_up_seconds),
        task,
    };
    finish(form, problems)
}

/// Whether a request may name this schedule.
///
/// # Errors
/// `Invalid`.
pub fn named(name: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::name("name", name, found));
    problems.finish(())
}

/// Why and by whom a schedule is paused.
///
/// # Errors
/// `Invalid` with every problem.
pub fn pause(request: pb::PauseScheduleRequest) -> Result<(String, String), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::name("name", &request.name, found));
    let reason = check::reason(&request.reason, &mut problems);
    let by = check::by(request.by, &mut problems);
    problems.finish((by, reason))
}

/// What the caller calls a trigger; empty where nothing is said.
///
/// # Errors
/// `Invalid` with every problem.
pub fn trigger(name: &str, id: String) -> Result<String, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::name("name", name, found));
    own_id("trigger_id", &id, &mut problems);
    problems.finish(id)
}

/// `POST /v1/schedules/{name}/trigger`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn trigger_body(body: &RawValue) -> Result<String, Failure> {
    let mut problems = Problems::default();
    let id = Fields::read("", body, TRIGGER, &mut problems).text("trigger_id", &mut problems);
    own_id("trigger_id", &id, &mut problems);
    problems.finish(id)
}

/// # Errors
/// `Invalid` with every problem.
pub fn backfill(request: pb::BackfillScheduleRequest) -> Result<Backfill, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::name("name", &request.name, found));
    let mut time = |field: &str, ms: i64| {
        if ms <= 0 || !times::is_writable(Time(ms)) {
            problems.add(field, format!("must be milliseconds since 1970 in UTC, got {ms}"));
        }
        Some(Time(ms))
    };
    let (from, until) = (time("from_ms", request.from_ms), time("until_ms", request.until_ms));
    range(from, until, request.backfill_id, problems)
}

/// `POST /v1/schedules/{name}/backfill`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn backfill_body(body: &RawValue) -> Result<Backfill, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, BACKFILL, &mut problems);
    let mut time = |name: &str| {
        if fields.raw(name).is_none() {
            problems.check(|found| found.push(Violation::new(name, "is required")));
        }
        moment(&fields, name, &mut problems)
    };
    let (from, until) = (time("from"), time("until"));
    let id = fields.text("backfill_id", &mut problems);
    range(from, until, id, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn preview(request: pb::PreviewScheduleRequest) -> Result<(Previewed, u32), Failure> {
    let mut problems = Problems::default();
    let of = match request.of {
        Some(Of::Name(name)) => {
            problems.check(|found| check::name("name", &name, found));
            Some(Previewed::Named(name))
        }
        Some(Of::Timing(timing)) => {
            let timing = timing_of("timing", Some(timing), &mut problems);
            checked("timing.", timing, &mut problems).map(Previewed::Timing)
        }
        None => {
            problems.add("name", "say either `name` or `timing`");
            None
        }
    };
    let count = count(request.count, &mut problems);
    problems.finish((of.unwrap_or(Previewed::Named(String::new())), count))
}

/// `POST /v1/schedule-preview`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn preview_body(body: &RawValue) -> Result<(Timing, u32), Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, PREVIEW, &mut problems);
    let timing = timing(&fields, &mut problems);
    let timing = checked("", timing, &mut problems);
    let range = 1..=limits::PREVIEW.into();
    let count = fields.number("count", range, " (PREVIEW)", &mut problems).unwrap_or(PREVIEW_DEFAULT);
    problems.finish((timing.unwrap_or(Timing::Once { at: SOME_TIME }), count))
}

/// A page of schedules: where it begins, and its size.
///
/// # Errors
/// `Invalid` with every problem.
pub fn list(request: pb::ListSchedulesRequest) -> Result<(String, u32), Failure> {
    let mut problems = Problems::default();
    let after = page::after_name(Names::Schedules, &request.page_token, &mut problems);
    let size = page::size(request.page_size, page::TASKS_DEFAULT, page::TASKS_MAX, &mut problems);
    problems.finish((after, size))
}

/// What the task of an order is begun with; its digest is not the order's.
///
/// # Errors
/// `Invalid` with every problem.
pub(crate) fn asked(
    record: &ScheduleRecord,
    order: &Order,
    task_id: &str,
    now: Time,
) -> Result<Asked, Failure> {
    let schedule = &record.schedule;
    let (asked, deadline_seconds) = read_starts(schedule.tenant, task_id, &record.starts)?;
    let origin = Origin { name: &schedule.name, due_at: times::text(order.due), cause: order.by.word() };
    let deadline = deadline_seconds.map(|seconds| now.plus_ms(u64::from(seconds) * 1_000));
    Ok(match asked {
        Asked::Task(submission) => {
            let metadata = with_origin(&submission.metadata, &origin).and_then(|of| serde_json::to_vec(&of));
            let metadata = metadata.map_err(unreadable)?.into();
            Asked::Task(Box::new(Submission { metadata, deadline, ..*submission }))
        }
        Asked::Run(start) => {
            let metadata = start.metadata.as_ref().map_or(b"{}".as_slice(), |raw| raw.get().as_bytes());
            let metadata = with_origin(metadata, &origin).and_then(|of| to_raw_value(&of));
            Asked::Run(Box::new(Start { metadata: Some(metadata.map_err(unreadable)?), deadline, ..*start }))
        }
    })
}

/// The run of a workflow that a schedule means, if that is what it starts.
///
/// # Errors
/// `Invalid` with every problem.
pub(crate) fn run_of(tenant: TenantNo, starts: &[u8]) -> Result<Option<Start>, Failure> {
    match read_starts(tenant, SOME_ID, starts)?.0 {
        Asked::Task(_) => Ok(None),
        Asked::Run(start) => Ok(Some(*start)),
    }
}

fn read_starts(tenant: TenantNo, task_id: &str, starts: &[u8]) -> Result<(Asked, Option<u32>), Failure> {
    let Starts::Task(document) = serde_json::from_slice(starts).map_err(unreadable)?;
    read_task(tenant, task_id, &document)
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::Internal(format!("what a schedule starts cannot be read: {error}"))
}

/// Whether two documents say the same.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let digest =
        |text: &[u8]| json::read("starts", text, &mut Problems::default()).map(|document| document.digest);
    one == other || digest(one).is_some_and(|one| digest(other) == Some(one))
}

/// Why a task is not accepted, in a line.
pub(crate) fn refusal(failure: &Failure) -> String {
    match failure {
        Failure::Invalid(found) => summary(found),
        Failure::NotFound { .. }
        | Failure::Conflict { .. }
        | Failure::Reject(_)
        | Failure::Unavailable { .. }
        | Failure::Internal(_) => shown(&failure.to_string()),
    }
}

/// What a task is told about where it comes from.
#[derive(Serialize)]
struct Origin<'a> {
    name: &'a str,
    due_at: String,
    cause: &'static str,
}

type Members = BTreeMap<String, Box<RawValue>>;

fn with_origin(metadata: &[u8], origin: &Origin<'_>) -> Result<Members, serde_json::Error> {
    let mut members: Members = serde_json::from_slice(metadata)?;
    let mut context: Members = match members.get("context") {
        Some(context) => serde_json::from_str(context.get())?,
        None => BTreeMap::new(),
    };
    context.insert(CONTEXT.to_owned(), to_raw_value(origin)?);
    members.insert("context".to_owned(), to_raw_value(&context)?);
    Ok(members)
}

/// The task that a document says, and how long it may take.
fn read_task(tenant: TenantNo, task_id: &str, document: &RawValue) -> Result<(Asked, Option<u32>), Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", document, TASK, &mut problems);
    let range = 1..=limits::SLA_SECONDS.into();
    let deadline_seconds = fields.number("deadline_seconds", range, " (SLA_SECONDS)", &mut problems);
    if fields.raw("metadata").and_then(context_of).is_some_and(|context| context.contains_key(CONTEXT)) {
        problems.add(format!("metadata.context.{CONTEXT}"), "is set by the schedule: name, due_at and cause");
    }
    if fields.raw("workflow").is_some() {
        let start = read_run(tenant, task_id, &fields, &mut problems);
        return problems.finish((Asked::Run(Box::new(start)), deadline_seconds));
    }
    let form = Task {
        task_id: task_id.to_owned(),
        title: fields.text("title", &mut problems),
        description: fields.text("description", &mut problems),
        priority: fields.choice("priority", &mut problems),
        metadata: fields.raw("metadata").and_then(|raw| json::document("metadata", raw, &mut problems)),
        deadline: None,
        plan: fields
            .raw("plan")
            .map(|raw| plan::json::read(raw, &mut Reader::new(plan::PLAN, &mut problems))),
        execute: true,
    };
    Ok((Asked::Task(Box::new(submission::check(tenant, form, problems)?)), deadline_seconds))
}

/// The run that a task's `workflow` says.
fn read_run(tenant: TenantNo, task_id: &str, fields: &Fields<'_>, problems: &mut Problems) -> Start {
    for own in ["plan", "description"].into_iter().filter(|name| fields.raw(name).is_some()) {
        problems.add(own, "stands beside `workflow`, which has its own");
    }
    let run = Fields::read("workflow", fields.raw("workflow").unwrap_or(RawValue::NULL), RUN, problems);
    let start = Start {
        tenant,
        workflow: run.text("name", problems),
        version: run.number("version", 1..=i32::MAX.unsigned_abs().into(), "", problems),
        task_id: task_id.to_owned(),
        title: fields.text("title", problems),
        parameters: run.raw("parameters").map(ToOwned::to_owned),
        metadata: fields.raw("metadata").map(ToOwned::to_owned),
        priority: fields.choice("priority", problems).unwrap_or_default(),
        deadline: None,
        execute: true,
    };
    if let Err(Failure::Invalid(found)) = workflow::run::asked(start.clone()) {
        problems.merge(found.into_iter().map(within_run).collect());
    }
    start
}

/// A problem of a run as one of the task that says it.
pub(crate) fn within_run(Violation { code, field, issue }: Violation) -> Violation {
    let own = field == "metadata" || field.starts_with("metadata.");
    Violation::coded(code, if own { field } else { format!("workflow.{field}") }, issue)
}

fn context_of(metadata: &RawValue) -> Option<Members> {
    let members: Members = serde_json::from_str(metadata.get()).ok()?;
    serde_json::from_str(members.get("context")?.get()).ok()
}

fn form(name: String, fields: &Fields<'_>, problems: &mut Problems) -> Form {
    Form {
        at: "",
        name,
        timing: timing(fields, problems),
        overlap: fields.choice("overlap", problems),
        catch_up_seconds: fields.number("catch_up_seconds", 0..=u32::MAX.into(), "", problems),
        task: fields.raw("task").and_then(|raw| json::document("task", raw, problems)),
    }
}

fn finish(form: Form, mut problems: Problems) -> Result<ScheduleRequest, Failure> {
    let Form { at, name, timing, overlap, catch_up_seconds, task } = form;
    problems.check(|found| check::name("name", &name, found));
    let timing_at = if at.is_empty() { "" } else { "spec.timing." };
    let timing = checked(timing_at, timing, &mut problems);
    let catch_up_seconds = catch_up_seconds.unwrap_or(CATCH_UP_DEFAULT);
    let range = limits::CATCH_UP_SECONDS_MIN.into()..=limits::CATCH_UP_SECONDS.into();
    let (field, token) = (format!("{at}catch_up_seconds"), catch_up_seconds.to_string());
    check::number::<u32>(&field, &token, range, " (CATCH_UP_SECONDS)", &mut problems);
    let field = format!("{at}task");
    let starts = match task {
        Some(document) => {
            let bytes = document.text.get().len();
            if bytes > limits::SCHEDULED_BYTES {
                let most = limits::SCHEDULED_BYTES;
                problems.add(&field, format!("at most {most} bytes (SCHEDULED_BYTES), got {bytes}"));
            }
            if let Err(Failure::Invalid(found)) = read_task(TenantNo::DEFAULT, SOME_ID, &document.text) {
                problems.adopt(&field, found);
            }
            serde_json::to_vec(&Starts::Task(document.text)).unwrap_or_default().into()
        }
        None => {
            problems.check(|found| found.push(Violation::new(field, "is required: what to start")));
            Bytes::new()
        }
    };
    let timing = timing.unwrap_or(Timing::Once { at: SOME_TIME });
    let spec = Spec { timing, overlap: overlap.unwrap_or_default(), catch_up_seconds };
    problems.finish(ScheduleRequest { name, spec, starts })
}

/// A timing that is one.
fn checked(at: &str, timing: Option<Timing>, problems: &mut Problems) -> Option<Timing> {
    let timing = timing?;
    match Calendar::of(&timing) {
        Ok(_) => Some(timing),
        Err(found) => {
            let moved = |v: Violation| Violation::new(format!("{at}{}", v.field), v.issue);
            problems.merge(found.into_iter().map(moved).collect());
            None
        }
    }
}

fn timing(fields: &Fields<'_>, problems: &mut Problems) -> Option<Timing> {
    let said: Vec<&str> =
        ["cron", "interval", "once"].into_iter().filter(|name| fields.raw(name).is_some()).collect();
    let [name] = said[..] else {
        match said.first() {
            None => problems.check(|found| {
                found.push(Violation::new("cron", "say when: one of `cron`, `interval` and `once`"));
            }),
            Some(first) => problems.add(said[1], format!("stands beside `{first}`; say one of them")),
        }
        return None;
    };
    let raw = fields.raw(name)?;
    match name {
        "cron" => {
            let cron = Fields::read(name, raw, CRON, problems);
            let (expression, zone) = (cron.text("expression", problems), cron.text("time_zone", problems));
            Some(Timing::Cron { expression, time_zone: zone_or_utc(zone) })
        }
        "interval" => {
            let interval = Fields::read(name, raw, INTERVAL, problems);
            let any = || 0..=u32::MAX.into();
            let every_seconds = interval.number("every_seconds", any(), "", problems).unwrap_or_default();
            let offset = interval.number("offset_seconds", any(), "", problems);
            Some(Timing::Interval { every_seconds, offset_seconds: offset.unwrap_or_default() })
        }
        _ => {
            let once = Fields::read(name, raw, ONCE, problems);
            if once.raw("at").is_none() {
                problems.check(|found| found.push(Violation::new("once.at", "is required")));
            }
            moment(&once, "at", problems).map(|at| Timing::Once { at })
        }
    }
}

fn timing_of(field: &str, timing: Option<pb::ScheduleTiming>, problems: &mut Problems) -> Option<Timing> {
    match timing.and_then(|timing| timing.when) {
        Some(When::Cron(pb::CronTiming { expression, time_zone })) => {
            Some(Timing::Cron { expression, time_zone: zone_or_utc(time_zone) })
        }
        Some(When::Interval(pb::IntervalTiming { every_seconds, offset_seconds })) => {
            Some(Timing::Interval { every_seconds, offset_seconds })
        }
        Some(When::Once(pb::OnceTiming { at_ms })) if times::is_writable(Time(at_ms)) => {
            Some(Timing::Once { at: Time(at_ms) })
        }
        Some(When::Once(pb::OnceTiming { at_ms })) => {
            let issue = format!("must be milliseconds since 1970 in UTC, got {at_ms}");
            problems.add(format!("{field}.once.at_ms"), issue);
            None
        }
        None => {
            problems.add(field, "say when: one of `cron`, `interval` and `once`");
            None
        }
    }
}

fn zone_or_utc(zone: String) -> String {
    if zone.is_empty() { "UTC".to_owned() } else { zone }
}

fn moment(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Time> {
    let (field, raw) = (fields.at(name), fields.raw(name)?);
    let text = fields::text(&field, raw, problems)?;
    let time = times::parse(&text);
    if time.is_none() {
        problems.add(field, times::EXPECTED);
    }
    time
}

fn range(
    from: Option<Time>,
    until: Option<Time>,
    id: String,
    mut problems: Problems,
) -> Result<Backfill, Failure> {
    own_id("backfill_id", &id, &mut problems);
    let (from, until) = (from.unwrap_or(SOME_TIME), until.unwrap_or(SOME_TIME));
    let id = if id.is_empty() { BACKFILL_DEFAULT.to_owned() } else { id };
    if problems.count() == 0 && from >= until {
        let (from, until) = (times::text(from), times::text(until));
        problems.add("until", format!("must lie after `from`, which is {from}, got {until}"));
    }
    problems.finish(Backfill { from, until, id })
}

fn count(asked: u32, problems: &mut Problems) -> u32 {
    if asked == 0 {
        return PREVIEW_DEFAULT;
    }
    let range = 1..=limits::PREVIEW.into();
    check::number("count", &asked.to_string(), range, " (PREVIEW)", problems).unwrap_or(PREVIEW_DEFAULT)
}

/// A name that becomes part of tasks' ids.
fn own_id(field: &str, id: &str, problems: &mut Problems) {
    if id.is_empty() {
        return;
    }
    problems.check(|found| {
        check::bytes(field, id, limits::TRIGGER_ID_BYTES, "TRIGGER_ID_BYTES", found);
        if found.is_empty() {
            check::name(field, id, found);
        }
    });
}
