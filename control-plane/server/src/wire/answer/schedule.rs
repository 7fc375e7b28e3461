//! Schedules, as REST answers them.

use downbeat_core::{
    schedule::{self, Cause, Fired, Overlap, Starts, State, Timing},
    time::Time,
};
use downbeat_store::ScheduleRecord;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Moment, Shown};
use crate::wire::page::{self, Names};

pub(crate) type OverlapWord = Shown<Overlap>;
pub(crate) type FiredWord = Shown<Fired>;
pub(crate) type CauseWord = Shown<Cause>;

/// What starts tasks by time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule<'a> {
    name: &'a str,
    #[serde(flatten)]
    timing: When<'a>,
    overlap: OverlapWord,
    catch_up_seconds: u32,
    /// What it starts; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    task: Option<Box<RawValue>>,
    /// Null: never again, or it is paused.
    next_due: Option<Moment>,
    paused: Option<SchedulePause<'a>>,
    /// Of one that waits for the task before.
    waiting_due: Option<Moment>,
    /// The newest one started, but for backfills.
    last_task_id: Option<&'a str>,
    counts: FiringCounts,
    /// The newest 50, newest first; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    firings: Option<Vec<Firing<'a>>>,
    created_at: Moment,
    /// By people.
    changed_at: Moment,
    /// Grows with every change, firings too.
    version: i64,
}

/// When it is due: one of these.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct When<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<Cron<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    once: Option<Once>,
}

/// By what the clock on the wall shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cron<'a> {
    expression: &'a str,
    time_zone: &'a str,
}

/// By the seconds since 1970 in UTC.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Interval {
    every_seconds: u32,
    offset_seconds: u32,
}

/// A single time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Once {
    at: Moment,
}

/// Since when nothing is due, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulePause<'a> {
    at: Moment,
    by: &'a str,
    reason: &'a str,
}

/// Due times since it was created.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FiringCounts {
    started: u64,
    skipped: u64,
    missed: u64,
    refused: u64,
}

/// What became of a due time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Firing<'a> {
    /// Of several that were missed: the last.
    due: Moment,
    /// When it was decided, or the task started.
    at: Moment,
    cause: CauseWord,
    outcome: FiredWord,
    task_id: Option<&'a str>,
    /// Why there is none.
    reason: &'a str,
    /// Due times; more than one only where they were missed.
    count: u64,
}

/// A page of schedules, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedules<'a> {
    schedules: Vec<Schedule<'a>>,
    /// Give it as `page_token` to get the next page; null at the end.
    next_page_token: Option<String>,
}

/// Due times, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DueTimes {
    due: Vec<Moment>,
}

/// The task that a trigger started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Triggered<'a> {
    pub(crate) task_id: &'a str,
}

/// The tasks that a backfill started, in the order of their due times.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Backfilled<'a> {
    pub(crate) task_ids: &'a [String],
}

impl<'a> Schedule<'a> {
    pub(crate) fn new(record: &'a ScheduleRecord) -> Schedule<'a> {
        let schedule = &record.schedule;
        let task = task(record);
        let firings = schedule.state.firings.iter().rev().map(Firing::new).collect();
        Schedule { task, firings: Some(firings), ..Schedule::line(schedule) }
    }

    fn line(schedule: &'a schedule::Schedule) -> Schedule<'a> {
        let State { next_due, paused, waiting, last_task, counts, created_at, changed_at, .. } =
            &schedule.state;
        let schedule::Counts { started, skipped, missed, refused } = *counts;
        Schedule {
            name: &schedule.name,
            timing: When::new(&schedule.spec.timing),
            overlap: Shown(schedule.spec.overlap),
            catch_up_seconds: schedule.spec.catch_up_seconds,
            task: None,
            next_due: next_due.map(Moment),
            paused: paused.as_ref().map(|schedule::Paused { at, by, reason }| SchedulePause {
                at: Moment(*at),
                by,
                reason,
            }),
            waiting_due: waiting.map(|waiting| Moment(waiting.due)),
            last_task_id: last_task.as_deref(),
            counts: FiringCounts { started, skipped, missed, refused },
            firings: None,
            created_at: Moment(*created_at),
            changed_at: Moment(*changed_at),
            version: schedule.version,
        }
    }
}

/// The document of what a schedule starts.
pub(crate) fn task(record: &ScheduleRecord) -> Option<Box<RawValue>> {
    serde_json::from_slice(&record.starts).ok().map(|Starts::Task(document)| document)
}

impl<'a> When<'a> {
    fn new(timing: &'a Timing) -> When<'a> {
        match timing {
            Timing::Cron { expression, time_zone } => {
                When { cron: Some(Cron { expression, time_zone }), ..When::default() }
            }
            Timing::Interval { every_seconds, offset_seconds } => {
                let (every_seconds, offset_seconds) = (*every_seconds, *offset_seconds);
                When { interval: Some(Interval { every_seconds, offset_seconds }), ..When::default() }
            }
            Timing::Once { at } => When { once: Some(Once { at: Moment(*at) }), ..When::default() },
        }
    }
}

impl<'a> Firing<'a> {
    fn new(firing: &'a schedule::Firing) -> Firing<'a> {
        Firing {
            due: Moment(firing.due),
            at: Moment(firing.at),
            cause: Shown(firing.by),
            outcome: Shown(firing.outcome),
            task_id: Some(&*firing.task).filter(|task| !task.is_empty()),
            reason: &firing.reason,
            count: firing.count,
        }
    }
}

impl<'a> Schedules<'a> {
    /// `more`: the page is not the last.
    pub(crate) fn new(found: &'a [schedule::Schedule], more: bool) -> Schedules<'a> {
        Schedules {
            schedules: found.iter().map(Schedule::line).collect(),
            next_page_token: found
                .last()
                .filter(|_| more)
                .map(|last| page::name_token(Names::Schedules, &last.name)),
        }
    }
}

impl DueTimes {
    pub(crate) fn new(due: Vec<Time>) -> DueTimes {
        DueTimes { due: due.into_iter().map(Moment).collect() }
    }
}
