//! Schedules: when, and what is started.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{json, millis};
use crate::{
    Error,
    proto::{self, OverlapPolicy, schedule_spec::Starts, schedule_timing::When},
};

/// When a schedule is due.
///
/// ```
/// use std::time::Duration;
///
/// use downbeat_sdk::Timing;
///
/// let nights = Timing::cron("30 2 * * MON-FRI", "Europe/Berlin");
/// let hours = Timing::every(Duration::from_secs(3600)).offset(Duration::from_secs(600));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    pub(crate) timing: proto::ScheduleTiming,
}

impl Timing {
    /// By what the clock on the wall of an IANA time zone shows: minute, hour, day of month, month, day of week. Each
    /// time is due once, also where clocks are changed.
    pub fn cron(expression: impl Into<String>, time_zone: impl Into<String>) -> Self {
        let cron = proto::CronTiming { expression: expression.into(), time_zone: time_zone.into() };
        Self::when(When::Cron(cron))
    }

    /// Whenever the seconds since 1970 in UTC are a multiple. Rounded down to seconds.
    pub fn every(interval: Duration) -> Self {
        let interval = proto::IntervalTiming { every_seconds: seconds(interval), offset_seconds: 0 };
        Self::when(When::Interval(interval))
    }

    /// Of an interval: later by so much, which is less than the interval.
    pub fn offset(mut self, offset: Duration) -> Self {
        if let Some(When::Interval(interval)) = &mut self.timing.when {
            interval.offset_seconds = seconds(offset);
        }
        self
    }

    /// At a single time. Rounded down to milliseconds.
    pub fn once(at: SystemTime) -> Self {
        Self::when(When::Once(proto::OnceTiming { at_ms: millis(at) }))
    }

    fn when(when: When) -> Self {
        Self { timing: proto::ScheduleTiming { when: Some(when) } }
    }
}

/// A schedule: when it is due, and what it starts.
///
/// ```
/// use std::time::Duration;
///
/// use downbeat_sdk::{ScheduleSpec, Timing, proto::OverlapPolicy};
/// use serde_json::json;
///
/// let spec = ScheduleSpec::new(Timing::cron("30 2 * * *", "UTC"))
///     .overlap(OverlapPolicy::Queue)
///     .catch_up(Duration::from_secs(600))
///     .task(&json!({
///         "title": "Nightly audit",
///         "plan": {"subtasks": [{"key": "audit", "agent": "code-review"}]},
///     }));
/// ```
#[derive(Debug)]
#[must_use = "a schedule does nothing until it is created"]
pub struct ScheduleSpec {
    spec: proto::ScheduleSpec,
    problem: Option<Error>,
}

impl ScheduleSpec {
    /// Something to be started at these times.
    pub fn new(timing: Timing) -> Self {
        Self::from(proto::ScheduleSpec { timing: Some(timing.timing), ..Default::default() })
    }

    /// The task to start: a document as of `POST /orchestrate`, without `task_id` and `deadline`; `deadline_seconds`
    /// count from its start.
    pub fn task<T: Serialize + ?Sized>(mut self, document: &T) -> Self {
        match json("the task of the schedule", document) {
            Ok(document) => self.spec.starts = Some(Starts::Task(document)),
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// What a due time does while the task of the one before has not ended. The default is to skip it.
    pub fn overlap(mut self, policy: OverlapPolicy) -> Self {
        self.spec.set_overlap(policy);
        self
    }

    /// How late a due time may be, before it is missed. The default is a minute. Rounded down to seconds.
    pub fn catch_up(mut self, window: Duration) -> Self {
        self.spec.catch_up_seconds = seconds(window);
        self
    }

    /// The message to send.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for a task that could not be written.
    pub fn into_message(self) -> Result<proto::ScheduleSpec, Error> {
        self.problem.map_or(Ok(self.spec), Err)
    }
}

impl From<proto::ScheduleSpec> for ScheduleSpec {
    fn from(spec: proto::ScheduleSpec) -> Self {
        Self { spec, problem: None }
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
