//! Schedules: read the same on both faces, and what is wrong with them, all of it at once.

use downbeat_core::{
    id::ScheduleNo,
    schedule::{Calendar, Cause, Order, Overlap, Schedule, Timing},
};
use downbeat_store::ScheduleRecord;

use super::*;
use crate::{
    engine::schedules::{Backfill, ScheduleRequest},
    wire::schedule,
};

fn raw(body: &Value) -> Box<serde_json::value::RawValue> {
    serde_json::value::to_raw_value(body).expect("JSON")
}

fn rest(body: &Value) -> Result<ScheduleRequest, Failure> {
    schedule::create_body(&raw(body))
}

fn grpc(name: &str, timing: pb::schedule_timing::When, task: &str) -> Result<ScheduleRequest, Failure> {
    let starts = pb::schedule_spec::Starts::Task(task.to_owned().into());
    let spec = pb::ScheduleSpec {
        timing: Some(pb::ScheduleTiming { when: Some(timing) }),
        overlap: pb::OverlapPolicy::Queue.into(),
        catch_up_seconds: 600,
        starts: Some(starts),
    };
    schedule::request(name.to_owned(), Some(spec))
}

fn nightly() -> Value {
    json!({
        "name": "nightly",
        "cron": {"expression": "30 2 * * *", "time_zone": "Europe/Berlin"},
        "overlap": "queue",
        "catch_up_seconds": 600,
        "task": {"title": "Audit", "metadata": {"context": {"a": 1}}, "deadline_seconds": 60},
    })
}

#[test]
fn schedules_are_read_the_same_on_both_faces() {
    let one = rest(&nightly()).expect("accepted");
    let cron = pb::CronTiming { expression: "30 2 * * *".into(), time_zone: "Europe/Berlin".into() };
    let task = r#"{"deadline_seconds":60, "metadata":{"context":{"a":1}},"title":"Audit"}"#;
    let other = grpc("nightly", pb::schedule_timing::When::Cron(cron), task).expect("accepted");
    assert_eq!((&one.name, &one.spec), (&other.name, &other.spec));
    assert!(schedule::same(&one.starts, &other.starts));
    assert!(!schedule::same(&one.starts, b"{\"task\":{}}"));
    let spare = rest(&json!({"name": "n", "cron": {"expression": "* * * * *"}, "task": {"title": "T"}}));
    let spare = spare.expect("accepted").spec;
    assert_eq!((spare.overlap, spare.catch_up_seconds), (Overlap::Skip, 60));
    assert!(matches!(spare.timing, Timing::Cron { time_zone, .. } if time_zone == "UTC"));
}

#[test]
fn bad_schedules_are_refused_with_all_that_is_wrong() {
    let interval = |every: u32, offset: u32| json!({"every_seconds": every, "offset_seconds": offset});
    let large = json!({"title": "T", "metadata": {"x": "x".repeat(limits::SCHEDULED_BYTES)}});
    let rows: Vec<(Value, Vec<(&str, &str)>)> = vec![
        (
            json!({}),
            vec![
                ("cron", "say when: one of `cron`, `interval` and `once`"),
                ("name", "must not be empty"),
                ("task", "is required: what to start"),
            ],
        ),
        (
            json!({"name": "a b", "interval": interval(0, 0), "once": {"at": "x"}, "task": 5, "x": 1}),
            vec![
                (
                    "x",
                    "unknown field; known are: name, cron, interval, once, overlap, catch_up_seconds, task",
                ),
                ("once", "stands beside `interval`; say one of them"),
                (
                    "name",
                    "`a b` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
                ),
                ("task", "must be an object, got a number"),
            ],
        ),
        (
            json!({"name": "n", "interval": interval(60, 60), "catch_up_seconds": 9, "overlap": "wait", "task": {}}),
            vec![
                ("overlap", "must be `skip`, `queue`, `cancel_running` or `allow`, got `wait`"),
                ("interval.offset_seconds", "must be below `every_seconds`, which is 60, got 60"),
                ("catch_up_seconds", "must be a whole number from 10 to 604800 (CATCH_UP_SECONDS), got 9"),
                ("task.title", "give a title, a description or a plan: there is nothing to plan"),
            ],
        ),
        (
            json!({"name": "n", "once": {"at": "tomorrow"}, "task": {
                "task_id": "t", "deadline_seconds": 0, "metadata": {"context": {"schedule": 1}},
                "plan": {"subtasks": [{"key": "a", "agent": "x", "depends_on": ["b"]}]},
            }}),
            vec![
                ("once.at", super::super::times::EXPECTED),
                (
                    "task.task_id",
                    "unknown field; known are: title, description, priority, metadata, plan, workflow, deadline_seconds",
                ),
                ("task.deadline_seconds", "must be a whole number from 1 to 2592000 (SLA_SECONDS), got 0"),
                ("task.metadata.context.schedule", "is set by the schedule: name, due_at and cause"),
                ("task.plan.subtasks[0].depends_on[0]", "no subtask of this plan has the key `b`"),
            ],
        ),
        (
            json!({"name": "n", "interval": interval(60, 0), "task": {
                "plan": {"subtasks": []}, "workflow": {"name": "a b", "version": 0, "of": 1},
            }}),
            vec![
                ("task.plan", "stands beside `workflow`, which has its own"),
                ("task.workflow.of", "unknown field; known are: name, version, parameters"),
                ("task.workflow.version", "must be a whole number from 1 to 2147483647, got 0"),
                (
                    "task.workflow.name",
                    "`a b` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
                ),
            ],
        ),
        (
            json!({"name": "n", "interval": interval(60, 0), "task": large}),
            vec![
                ("task", "at most 262144 bytes (SCHEDULED_BYTES), got 262177"),
                ("task.metadata", "at most 262144 bytes (METADATA_BYTES), got 262152"),
            ],
        ),
    ];
    for (body, expected) in rows {
        let shown: String = body.to_string().chars().take(200).collect();
        refused(rest(&body), &expected, &shown);
    }
    let cron = pb::CronTiming { expression: "0 25 * *".into(), time_zone: "Nowhere".into() };
    refused(
        grpc("n", pb::schedule_timing::When::Cron(cron), "{]"),
        &[
            ("spec.task", "is not JSON: key must be a string at line 1 column 2"),
            (
                "spec.timing.cron.expression",
                "must have 5 fields (minute, hour, day of month, month, day of week), got 4",
            ),
            ("spec.timing.cron.time_zone", "must be an IANA zone, as in `Europe/Berlin`, got `Nowhere`"),
        ],
        "grpc",
    );
    refused(
        schedule::request("n".into(), None),
        &[
            ("spec.timing", "say when: one of `cron`, `interval` and `once`"),
            ("spec.task", "is required: what to start"),
        ],
        "nothing",
    );
}

#[test]
fn a_task_is_told_where_it_comes_from() {
    let asked = |body: &Value| {
        let ScheduleRequest { name, spec, starts } = rest(body).expect("accepted");
        let calendar = Calendar::of(&spec.timing).expect("a timing");
        let schedule = Schedule::new(TENANT, name, spec, &calendar, Time(0));
        let record = ScheduleRecord { schedule: Schedule { no: ScheduleNo(1), ..schedule }, starts };
        let order = Order { due: Time(1_000), cancels: None, by: Cause::Backfill, name: "may".into() };
        schedule::asked(&record, &order, "nightly-1", Time(5_000)).expect("something to begin")
    };
    let schedule::Asked::Task(made) = asked(&nightly()) else { panic!("a task") };
    assert_eq!((&*made.id, made.deadline, made.execute), ("nightly-1", Some(Time(65_000)), true));
    let metadata: Value = serde_json::from_slice(&made.metadata).expect("JSON");
    let mut runs = nightly();
    runs["task"]["workflow"] = json!({"name": "audit", "version": 2, "parameters": {"depth": 3}});
    let schedule::Asked::Run(start) = asked(&runs) else { panic!("a run") };
    assert_eq!((&*start.workflow, start.version, &*start.task_id), ("audit", Some(2), "nightly-1"));
    assert_eq!((start.deadline, start.execute), (Some(Time(65_000)), true));
    let of_run = start.metadata.expect("metadata");
    assert_eq!(serde_json::from_str::<Value>(of_run.get()).expect("JSON"), metadata);
    let origin = json!({"name": "nightly", "due_at": "1970-01-01T00:00:01.000Z", "cause": "backfill"});
    assert_eq!(metadata, json!({"context": {"a": 1, "schedule": origin}}));
}

#[test]
fn ranges_and_counts_are_checked() {
    let body = |body: Value| schedule::backfill_body(&raw(&body));
    let (from, until) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    let read = body(json!({"from": from, "until": until})).expect("accepted");
    let times = |text: &str| super::super::times::parse(text).expect("a time");
    assert_eq!(read, Backfill { from: times(from), until: times(until), id: "backfill".into() });
    refused(
        body(json!({"from": until, "until": from})),
        &[(
            "until",
            "must lie after `from`, which is 2026-11-02T00:00:00.000Z, got 2026-11-01T00:00:00.000Z",
        )],
        "backwards",
    );
    refused(
        body(json!({"until": "now", "backfill_id": "a b"})),
        &[
            ("from", "is required"),
            ("until", super::super::times::EXPECTED),
            (
                "backfill_id",
                "`a b` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
            ),
        ],
        "unreadable",
    );
    let long = "x".repeat(61);
    refused(
        schedule::trigger_body(&raw(&json!({"trigger_id": long}))),
        &[("trigger_id", "at most 60 bytes (TRIGGER_ID_BYTES), got 61")],
        "long",
    );
    refused(
        schedule::preview_body(&raw(&json!({"count": 101, "cron": {"expression": "* * * * 8"}}))),
        &[
            ("cron.expression", "the day of week `8` cannot be read (0-7): Number out of bounds."),
            ("count", "must be a whole number from 1 to 100 (PREVIEW), got 101"),
        ],
        "preview",
    );
}
