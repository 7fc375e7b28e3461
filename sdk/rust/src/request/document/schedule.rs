//! Schedules as documents, of the same shape as the body of `POST /v1/schedules`.

use serde_json::{Map as Object, Value};

use super::{Shape, json, read};
use crate::{
    Error, ScheduleSpec,
    proto::{self, OverlapPolicy, schedule_spec::Starts, schedule_timing::When},
};

const FIELDS: [&str; 7] = ["name", "cron", "interval", "once", "overlap", "catch_up_seconds", "task"];
const OVERLAPS: [(&str, OverlapPolicy); 4] = [
    ("skip", OverlapPolicy::Skip),
    ("queue", OverlapPolicy::Queue),
    ("cancel_running", OverlapPolicy::CancelRunning),
    ("allow", OverlapPolicy::Allow),
];

impl ScheduleSpec {
    /// Reads a schedule as a document; gives its name, too. The task is the control plane's to read.
    ///
    /// # Errors
    /// [`Error::InvalidDocument`] with everything that does not fit.
    ///
    /// ```
    /// use downbeat_sdk::ScheduleSpec;
    /// use serde_json::json;
    ///
    /// let (name, _) = ScheduleSpec::from_document(&json!({
    ///     "name": "nightly",
    ///     "cron": {"expression": "30 2 * * *", "time_zone": "Europe/Berlin"},
    ///     "task": {"title": "Nightly audit"},
    /// }))?;
    /// assert_eq!(name, "nightly");
    /// # Ok::<(), downbeat_sdk::Error>(())
    /// ```
    pub fn from_document(document: &Value) -> Result<(String, Self), Error> {
        read(|shape| shape.schedule(document)).map(|(name, spec)| (name, Self::from(spec)))
    }
}

impl Shape {
    fn schedule(&mut self, document: &Value) -> (String, proto::ScheduleSpec) {
        let mut spec = proto::ScheduleSpec::default();
        let Some(fields) = self.object("", document, &FIELDS) else { return (String::new(), spec) };
        let name = self.text("name", fields.get("name"));
        if name.is_empty() {
            self.add("name", "is missing: your own name for the schedule");
        }
        spec.timing = Some(proto::ScheduleTiming { when: self.when(fields) });
        spec.overlap = self.word("overlap", fields.get("overlap"), &OVERLAPS);
        spec.catch_up_seconds = self.number("catch_up_seconds", fields.get("catch_up_seconds"));
        match fields.get("task") {
            Some(task @ Value::Object(_)) => spec.starts = Some(Starts::Task(json(Some(task)))),
            None | Some(Value::Null) => self.add("task", "is missing: what to start"),
            Some(other) => self.expected("task", "an object", other),
        }
        (name, spec)
    }

    fn when(&mut self, fields: &Object<String, Value>) -> Option<When> {
        let get = |name: &str| fields.get(name).filter(|value| !value.is_null());
        match (get("cron"), get("interval"), get("once")) {
            (Some(cron), None, None) => {
                let fields = self.object("cron", cron, &["expression", "time_zone"])?;
                Some(When::Cron(proto::CronTiming {
                    expression: self.text("cron.expression", fields.get("expression")),
                    time_zone: self.text("cron.time_zone", fields.get("time_zone")),
                }))
            }
            (None, Some(interval), None) => {
                let fields = self.object("interval", interval, &["every_seconds", "offset_seconds"])?;
                let offset = self.whole("interval.offset_seconds", fields.get("offset_seconds"), 0);
                Some(When::Interval(proto::IntervalTiming {
                    every_seconds: self.number("interval.every_seconds", fields.get("every_seconds")),
                    offset_seconds: offset.unwrap_or(0),
                }))
            }
            (None, None, Some(once)) => {
                let fields = self.object("once", once, &["at"])?;
                Some(When::Once(proto::OnceTiming { at_ms: self.time("once.at", fields.get("at")) }))
            }
            _ => {
                self.add("cron", "expected one of cron, interval and once");
                None
            }
        }
    }
}
