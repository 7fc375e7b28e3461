//! What is sent about schedules. The bodies here are descriptions; `wire` reads what comes, and a test holds the two
//! together.

use utoipa::ToSchema;

use crate::wire::{
    answer::{OverlapWord, PriorityWord},
    plan::schema::PlanBody,
};

/// By what the clock on the wall shows. Each time is due once, also where clocks are changed: one that is shown twice is
/// due the first time; those that are left out are due together, as the clock leaps.
#[derive(Debug, ToSchema)]
#[schema(as = CronTiming)]
pub struct CronBody {
    /// Minute, hour, day of month, month, day of week.
    #[schema(example = "30 2 * * MON-FRI", max_length = 200)]
    pub expression: String,
    /// IANA; UTC unless given.
    #[schema(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
}

/// Whenever the seconds since 1970 in UTC, less the offset, are a multiple.
#[derive(Debug, ToSchema)]
#[schema(as = IntervalTiming)]
pub struct IntervalBody {
    #[schema(minimum = 1, maximum = 31622400)]
    pub every_seconds: u32,
    /// Below `every_seconds`; 0 unless given.
    pub offset_seconds: Option<u32>,
}

/// A single time.
#[derive(Debug, ToSchema)]
#[schema(as = OnceTiming)]
pub struct OnceBody {
    /// In the future.
    #[schema(format = DateTime)]
    pub at: String,
}

/// A task, without its id. Its `metadata.context.schedule` says `name`, `due_at` and `cause`.
#[derive(Debug, ToSchema)]
#[schema(as = ScheduledTask)]
pub struct TaskBody {
    #[schema(max_length = 500)]
    pub title: Option<String>,
    #[schema(max_length = 65536)]
    pub description: Option<String>,
    #[schema(value_type = Option<PriorityWord>)]
    pub priority: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    /// Absent: the planner decomposes the request, each time.
    pub plan: Option<PlanBody>,
    /// In place of a plan and a description.
    pub workflow: Option<ScheduledRunBody>,
    /// From its start until an unfinished task ends as failed.
    #[schema(minimum = 1, maximum = 2592000)]
    pub deadline_seconds: Option<u32>,
}

/// A stored workflow to be run.
#[derive(Debug, ToSchema)]
#[schema(as = ScheduledRun)]
pub struct ScheduledRunBody {
    #[schema(max_length = 100)]
    pub name: String,
    /// Absent: the newest at each due time.
    #[schema(minimum = 1)]
    pub version: Option<u32>,
    /// As a run of it takes them.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
}

/// A schedule: one of `cron`, `interval` and `once`, and what it starts.
#[derive(Debug, ToSchema)]
#[schema(as = CreateSchedule, example = json!({
    "name": "nightly",
    "cron": {"expression": "30 2 * * *", "time_zone": "Europe/Berlin"},
    "overlap": "skip",
    "task": {"title": "Nightly audit", "plan": {"subtasks": [{"key": "audit", "agent": "code-review"}]}},
}))]
pub struct ScheduleBody {
    #[schema(max_length = 100)]
    pub name: String,
    pub cron: Option<CronBody>,
    pub interval: Option<IntervalBody>,
    pub once: Option<OnceBody>,
    /// What a due time does while the task of the one before has not ended: `skip` it, `queue` (at most one), cancel the
    /// running one, or allow both. `skip` unless given.
    #[schema(value_type = Option<OverlapWord>)]
    pub overlap: Option<String>,
    /// Due times that are older are missed when somebody is there again; 60 unless given.
    #[schema(minimum = 10, maximum = 604800)]
    pub catch_up_seconds: Option<u32>,
    pub task: TaskBody,
}

/// As [`ScheduleBody`], of the schedule that the path names.
#[derive(Debug, ToSchema)]
#[schema(as = UpdateSchedule)]
pub struct ChangedBody {
    pub cron: Option<CronBody>,
    pub interval: Option<IntervalBody>,
    pub once: Option<OnceBody>,
    #[schema(value_type = Option<OverlapWord>)]
    pub overlap: Option<String>,
    #[schema(minimum = 10, maximum = 604800)]
    pub catch_up_seconds: Option<u32>,
    pub task: TaskBody,
}

/// A name for what is started.
#[derive(Debug, ToSchema)]
#[schema(as = TriggerSchedule)]
pub struct TriggerBody {
    /// The caller's own, part of the task's id: the same one again starts nothing.
    #[schema(max_length = 60)]
    pub trigger_id: Option<String>,
}

/// A range in the past.
#[derive(Debug, ToSchema)]
#[schema(as = BackfillSchedule)]
pub struct BackfillBody {
    #[schema(format = DateTime)]
    pub from: String,
    /// Before this time.
    #[schema(format = DateTime)]
    pub until: String,
    /// The caller's own, part of the tasks' ids: what has been filled in under it is not again. `backfill` unless given.
    #[schema(max_length = 60)]
    pub backfill_id: Option<String>,
}

/// One of `cron`, `interval` and `once`.
#[derive(Debug, ToSchema)]
#[schema(as = PreviewSchedule)]
pub struct PreviewBody {
    pub cron: Option<CronBody>,
    pub interval: Option<IntervalBody>,
    pub once: Option<OnceBody>,
    /// 10 unless given.
    #[schema(minimum = 1, maximum = 100)]
    pub count: Option<u32>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::wire::schedule;

    #[test]
    fn bodies_are_described_as_they_are_read() {
        let document = crate::rest::routes().into_openapi().to_json().expect("a document");
        let document: Value = serde_json::from_str(&document).expect("JSON");
        for (schema, fields) in [
            ("CreateSchedule", schedule::SCHEDULE),
            ("UpdateSchedule", schedule::CHANGED),
            ("CronTiming", schedule::CRON),
            ("IntervalTiming", schedule::INTERVAL),
            ("OnceTiming", schedule::ONCE),
            ("ScheduledTask", schedule::TASK),
            ("ScheduledRun", schedule::RUN),
            ("TriggerSchedule", schedule::TRIGGER),
            ("BackfillSchedule", schedule::BACKFILL),
            ("PreviewSchedule", schedule::PREVIEW),
        ] {
            let properties = document["components"]["schemas"][schema]["properties"].as_object();
            let described: BTreeSet<&str> = properties.expect(schema).keys().map(String::as_str).collect();
            assert_eq!(described, fields.iter().copied().collect(), "{schema}");
        }
    }
}
