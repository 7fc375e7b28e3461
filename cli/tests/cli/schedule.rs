//! Schedules on the command line.

use serde_json::json;

use crate::house::{Dev, wait_for};

fn document() -> serde_json::Value {
    json!({
        "name": "tick",
        "interval": {"every_seconds": 1},
        "overlap": "allow",
        "task": {"title": "Tick", "plan": {"subtasks": [{"key": "a", "agent": "ok"}]}},
    })
}

#[test]
fn a_schedule_is_made_watched_and_deleted() {
    let dev = Dev::new("schedule");
    let _worker = dev.worker(&["ok"], "echo 1");
    let text = document().to_string();
    dev.feed(&["schedule", "create", "-"], &text).ok().says("tick is created; next: ");
    let again = dev.feed(&["schedule", "create", "-", "--json"], &text).ok().json();
    assert_eq!((&again["interval"]["every_seconds"], &again["overlap"]), (&json!(1), &json!("allow")));
    assert_eq!(again["task"], document()["task"]);
    let fired = wait_for("a firing", || {
        let it = dev.run(&["schedule", "get", "tick", "--json"]).ok().json();
        it["firings"][0]["task_id"].as_str().map(str::to_owned)
    });
    assert!(fired.starts_with("tick-20"), "{fired}");
    dev.run(&["follow", &fired]).ok();
    dev.run(&["schedule", "list"]).ok().says("every 1 s").says("allow");
    dev.run(&["schedule", "pause", "tick", "--reason", "enough", "--by", "ada"]).ok().says("next: paused");
    dev.run(&["schedule", "get", "tick"]).ok().says("by ada: enough").says("started  ").says(&fired);
    dev.run(&["schedule", "preview", "tick"]).ok().says("never");
    dev.run(&["schedule", "trigger", "tick", "--id", "x"]).ok().says("started tick-x");
    let range = ["--from", "2026-01-01T00:00:00Z", "--until", "2026-01-01T00:00:02Z"];
    let backfill = [&["schedule", "backfill", "tick"][..], &range[..]].concat();
    dev.run(&backfill).ok().says("tick-backfill-20260101T000000Z").says("tick-backfill-20260101T000001Z");
    dev.run(&["schedule", "resume", "tick"]).ok().says("tick is resumed; next: 2");
    let mut other = document();
    other["interval"]["every_seconds"] = json!(60);
    dev.feed(&["schedule", "create", "-"], &other.to_string()).exits(3).complains("another schedule");
    dev.feed(&["schedule", "update", "-"], &other.to_string()).ok().says("tick is updated");
    dev.run(&["schedule", "delete", "tick"]).ok().says("tick is deleted");
    dev.run(&["schedule", "get", "tick"]).exits(3).complains("no schedule `tick`");
    dev.run(&["schedule", "list"]).ok().says("no schedules");
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_at_once() {
    let dev = Dev::new("bad-schedule");
    let shape =
        json!({"name": "n", "crom": {}, "interval": {"every_seconds": 0}, "overlap": "wait"}).to_string();
    dev.feed(&["schedule", "create", "-"], &shape)
        .exits(2)
        .complains("crom: unknown field")
        .complains("interval.every_seconds")
        .complains("overlap: expected one of skip, queue, cancel_running, allow")
        .complains("task: is missing");
    let values = json!({
        "name": "n",
        "cron": {"expression": "0 99 * * *", "time_zone": "Mars/Olympus"},
        "task": {"plan": {"subtasks": [{"key": "a"}]}},
    });
    dev.feed(&["schedule", "create", "-"], &values.to_string())
        .exits(3)
        .complains("spec.timing.cron.expression: the hour `99` cannot be read (0-23)")
        .complains("spec.timing.cron.time_zone")
        .complains("spec.task.plan.subtasks[0].agent");
    let preview =
        ["schedule", "preview", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin", "--count", "2"];
    assert_eq!(dev.run(&preview).ok().stdout.lines().count(), 2);
    dev.run(&["schedule", "preview", "--every", "3600", "--count", "1"]).ok().says(":00:00.000Z");
    dev.run(&["schedule", "preview"]).exits(2);
}
