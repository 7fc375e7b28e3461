//! Schedules for programs.

use downbeat_sdk::proto::{Firing, Schedule, schedule_spec::Starts, schedule_timing::When};
use serde_json::{Value, json};

use super::{parse, some};
use crate::words::{Word, time};

pub(crate) fn schedule(schedule: &Schedule) -> Value {
    let spec = schedule.spec.clone().unwrap_or_default();
    let counts = schedule.counts.unwrap_or_default();
    let mut document = json!({
        "name": schedule.name,
        "overlap": spec.overlap().word(),
        "catch_up_seconds": spec.catch_up_seconds,
        "next_due": time(schedule.next_due_ms),
        "paused": schedule.paused.as_ref().map(|paused| {
            json!({"at": time(paused.at_ms), "by": paused.by, "reason": paused.reason})
        }),
        "waiting_due": time(schedule.waiting_due_ms),
        "last_task_id": some(&schedule.last_task_id),
        "counts": {
            "started": counts.started,
            "skipped": counts.skipped,
            "missed": counts.missed,
            "refused": counts.refused,
        },
        "firings": schedule.firings.iter().map(firing).collect::<Vec<_>>(),
        "created_at": time(schedule.created_at_ms),
        "changed_at": time(schedule.changed_at_ms),
        "version": schedule.version,
    });
    match spec.timing.and_then(|timing| timing.when) {
        Some(When::Cron(cron)) => {
            document["cron"] = json!({"expression": cron.expression, "time_zone": cron.time_zone});
        }
        Some(When::Interval(it)) => {
            document["interval"] =
                json!({"every_seconds": it.every_seconds, "offset_seconds": it.offset_seconds});
        }
        Some(When::Once(once)) => document["once"] = json!({"at": time(once.at_ms)}),
        None => {}
    }
    if let Some(Starts::Task(task)) = spec.starts {
        document["task"] = parse(&task);
    }
    document
}

fn firing(firing: &Firing) -> Value {
    json!({
        "due": time(firing.due_ms),
        "at": time(firing.at_ms),
        "cause": firing.cause().word(),
        "outcome": firing.outcome().word(),
        "task_id": some(&firing.task_id),
        "reason": firing.reason,
        "count": firing.count,
    })
}
