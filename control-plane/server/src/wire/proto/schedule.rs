//! Schedules, printed as proto messages.

use bytes::Bytes;
use downbeat_core::schedule::{Counts, Firing, Schedule, State, Timing};
use downbeat_proto::v1::{self as pb, schedule_spec::Starts, schedule_timing::When};
use downbeat_store::ScheduleRecord;

use super::or_zero;
use crate::wire::{
    answer,
    page::{self, Names},
    words::Word,
};

pub(crate) fn schedule(record: &ScheduleRecord) -> pb::Schedule {
    let mut schedule = line(&record.schedule);
    let document = answer::scheduled_task(record);
    let task = document.map(|document| Starts::Task(Bytes::copy_from_slice(document.get().as_bytes())));
    schedule.spec.get_or_insert_default().starts = task;
    schedule.firings = record.schedule.state.firings.iter().rev().map(firing).collect();
    schedule
}

pub(crate) fn schedules(found: &[Schedule], more: bool) -> pb::ListSchedulesResponse {
    pb::ListSchedulesResponse {
        schedules: found.iter().map(line).collect(),
        next_page_token: found
            .last()
            .filter(|_| more)
            .map(|last| page::name_token(Names::Schedules, &last.name))
            .unwrap_or_default(),
    }
}

fn line(schedule: &Schedule) -> pb::Schedule {
    let State { next_due, paused, waiting, last_task, counts, created_at, changed_at, .. } = &schedule.state;
    let Counts { started, skipped, missed, refused } = *counts;
    let spec = pb::ScheduleSpec {
        timing: Some(pb::ScheduleTiming { when: Some(when(&schedule.spec.timing)) }),
        overlap: schedule.spec.overlap.proto(),
        catch_up_seconds: schedule.spec.catch_up_seconds,
        starts: None,
    };
    pb::Schedule {
        name: schedule.name.clone(),
        spec: Some(spec),
        next_due_ms: or_zero(*next_due),
        paused: paused.as_ref().map(|paused| pb::SchedulePause {
            at_ms: paused.at.0,
            by: paused.by.clone(),
            reason: paused.reason.clone(),
        }),
        waiting_due_ms: or_zero(waiting.map(|waiting| waiting.due)),
        last_task_id: last_task.clone().unwrap_or_default(),
        counts: Some(pb::FiringCounts { started, skipped, missed, refused }),
        firings: Vec::new(),
        created_at_ms: created_at.0,
        changed_at_ms: changed_at.0,
        version: schedule.version,
    }
}

fn when(timing: &Timing) -> When {
    match timing {
        Timing::Cron { expression, time_zone } => {
            When::Cron(pb::CronTiming { expression: expression.clone(), time_zone: time_zone.clone() })
        }
        Timing::Interval { every_seconds, offset_seconds } => When::Interval(pb::IntervalTiming {
            every_seconds: *every_seconds,
            offset_seconds: *offset_seconds,
        }),
        Timing::Once { at } => When::Once(pb::OnceTiming { at_ms: at.0 }),
    }
}

fn firing(firing: &Firing) -> pb::Firing {
    pb::Firing {
        due_ms: firing.due.0,
        at_ms: firing.at.0,
        cause: firing.by.proto(),
        outcome: firing.outcome.proto(),
        task_id: firing.task.clone(),
        reason: firing.reason.clone(),
        count: firing.count,
    }
}
