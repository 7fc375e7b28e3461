//! Schedules: when something is due, and what becomes of it.

use downbeat_core::{
    id::{ScheduleNo, TenantNo},
    limits,
    schedule::{Calendar, Cause, Fired, Order, Overlap, Schedule, Spec, TAKE_OVER_MS, Timing},
    time::Time,
};
use jiff::Timestamp;

fn at(text: &str) -> Time {
    Time(text.parse::<Timestamp>().expect(text).as_millisecond())
}

fn text(time: Time) -> String {
    Timestamp::from_millisecond(time.0).expect("a time of these days").to_string()
}

fn cron(expression: &str, time_zone: &str) -> Timing {
    Timing::Cron { expression: expression.into(), time_zone: time_zone.into() }
}

fn every(every_seconds: u32, offset_seconds: u32) -> Timing {
    Timing::Interval { every_seconds, offset_seconds }
}

#[test]
fn due_times() {
    let berlin = "Europe/Berlin";
    for (name, timing, after, expected) in [
        ("cron", cron("30 2 * * *", "UTC"), "2026-11-30T02:30:00Z", &["2026-12-01T02:30:00Z"][..]),
        ("just before", cron("30 2 * * *", "UTC"), "2026-11-30T02:29:59.999Z", &["2026-11-30T02:30:00Z"]),
        ("zone", cron("0 9 * * MON-FRI", berlin), "2026-11-27T12:00:00Z", &["2026-11-30T08:00:00Z"]),
        (
            "either day",
            cron("0 0 1 * SUN", "UTC"),
            "2026-11-29T00:00:00Z",
            &["2026-12-01T00:00:00Z", "2026-12-06T00:00:00Z"],
        ),
        (
            "last day",
            cron("0 0 L 2 *", "UTC"),
            "2026-12-01T00:00:00Z",
            &["2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"],
        ),
        // The clock leaps from 02:00 to 03:00: what it leaves out is due once, as it leaps.
        (
            "left out",
            cron("30 2 * * *", berlin),
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "left out, often",
            cron("*/20 1-3 * * *", berlin),
            "2026-03-29T00:20:00Z",
            &["2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"],
        ),
        // It goes back from 03:00 to 02:00: what it shows twice is due the first time.
        (
            "twice",
            cron("30 2 * * *", berlin),
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "twice, often",
            cron("*/30 * * * *", berlin),
            "2026-10-25T00:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"],
        ),
        ("second time", cron("*/30 * * * *", berlin), "2026-10-25T01:10:00Z", &["2026-10-25T02:00:00Z"]),
        (
            "half an hour",
            cron("15 2 * * *", "Australia/Lord_Howe"),
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        // A day that was left out as a whole.
        (
            "no such day",
            cron("0 12 * * *", "Pacific/Apia"),
            "2011-12-29T22:00:00Z",
            &["2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"],
        ),
        (
            "interval",
            every(3_600, 0),
            "2026-11-30T10:00:00Z",
            &["2026-11-30T11:00:00Z", "2026-11-30T12:00:00Z"],
        ),
        (
            "with offset",
            every(3_600, 600),
            "2026-11-30T10:00:00Z",
            &["2026-11-30T10:10:00Z", "2026-11-30T11:10:00Z"],
        ),
        (
            "before 1970",
            every(10, 0),
            "1969-12-31T23:59:45Z",
            &["1969-12-31T23:59:50Z", "1970-01-01T00:00:00Z"],
        ),
        (
            "once",
            Timing::Once { at: at("2027-01-01T00:00:00Z") },
            "2026-12-31T23:59:59Z",
            &["2027-01-01T00:00:00Z"],
        ),
    ] {
        let calendar = Calendar::of(&timing).expect(name);
        let found: Vec<String> = calendar.upcoming(at(after)).take(expected.len()).map(text).collect();
        assert_eq!(found, expected, "{name}");
    }
    let once = Calendar::of(&Timing::Once { at: Time(5) }).expect("a time");
    assert_eq!(once.next(Time(5)), None);
    assert_eq!(Calendar::of(&every(1, 0)).expect("a second").next(Time(i64::MAX)), None, "the end of time");
}

/// However the clocks are changed, due times only grow, and each time on the wall is due once.
#[test]
fn each_time_of_the_wall_is_due_once() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"] {
        let calendar = Calendar::of(&cron("*/15 * * * *", zone)).expect(zone);
        let mut before = at("2018-01-01T00:00:00Z");
        let end = at("2019-01-01T00:00:00Z");
        let mut shown = std::collections::BTreeSet::new();
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).expect("a zone");
        for due in calendar.upcoming(before).take_while(|due| *due < end) {
            assert!(due > before, "{due:?} after {before:?}");
            let wall = zone.to_datetime(Timestamp::from_millisecond(due.0).expect("a time"));
            assert!(shown.insert(wall), "{wall} is due twice");
            before = due;
        }
        assert!(shown.len() > 365 * 95, "got {}", shown.len());
    }
}

#[test]
fn timings_are_refused_with_what_is_wrong() {
    let long = format!("{} * * * *", "1,".repeat(100));
    for (timing, expected) in [
        (
            cron("* * *", "UTC"),
            &["cron.expression: must have 5 fields (minute, hour, day of month, month, day of week), got 3"]
                [..],
        ),
        (cron("61 * * * *", "UTC"), &["cron.expression: the minute `61` cannot be read"]),
        (
            cron("0 24 32 * *", "UTC"),
            &[
                "cron.expression: the hour `24` cannot be read",
                "cron.expression: the day of month `32` cannot be read",
            ],
        ),
        (
            cron("0 0 * FOO MON", "Mars/Olympus"),
            &[
                "cron.expression: the month `FOO` cannot be read",
                "cron.time_zone: must be an IANA zone, as in `Europe/Berlin`, got `Mars/Olympus`",
            ],
        ),
        (cron("0 0 31 2 *", "UTC"), &["cron.expression: no day is ever like that, got `0 0 31 2 *`"]),
        (cron("@daily", "UTC"), &["cron.expression: must have 5 fields"]),
        (cron(&long, "UTC"), &["cron.expression: at most 200 bytes (CRON_BYTES), got 208"]),
        (
            every(0, 0),
            &["interval.every_seconds: must be a whole number from 1 to 31622400 (EVERY_SECONDS), got 0"],
        ),
        (every(60, 60), &["interval.offset_seconds: must be below `every_seconds`, which is 60, got 60"]),
    ] {
        let found = Calendar::of(&timing).expect_err("not a timing");
        let found: Vec<String> = found.iter().map(|v| format!("{}: {}", v.field, v.issue)).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "expected {expected}, found {found}");
        }
    }
}

const BEGIN: Time = Time(1_000_000_000_000);

/// `BEGIN` and so many seconds.
fn after(seconds: u64) -> Time {
    BEGIN.plus_ms(seconds * 1_000)
}

/// Every ten seconds, caught up within 25.
fn schedule(overlap: Overlap) -> (Schedule, Calendar) {
    let spec = Spec { timing: every(10, 0), overlap, catch_up_seconds: 25 };
    let calendar = Calendar::of(&spec.timing).expect("an interval");
    let mut new = Schedule::new(TenantNo::DEFAULT, "nightly".into(), spec, &calendar, BEGIN);
    new.no = ScheduleNo(7);
    (new, calendar)
}

/// Decides at a time; gives the due time of the order, in seconds since the beginning, and carries it out.
fn step(of: &mut Schedule, calendar: &Calendar, running: bool, seconds: u64) -> Option<u64> {
    let now = after(seconds);
    assert!(of.is_due(now), "due at {:?}, now {now:?}", of.wake_at);
    of.decide(calendar, running, now);
    let order = of.state.order.clone()?;
    assert_eq!(of.wake_at, Some(now.plus_ms(TAKE_OVER_MS)), "others take over after a while");
    of.carried_out(order.task_id(&of.name), now);
    Some(order.due.since_ms(BEGIN) / 1_000)
}

/// What has become of its due times, in seconds since the beginning.
fn told(of: &Schedule) -> Vec<(u64, Fired)> {
    of.state.firings.iter().map(|firing| (firing.due.since_ms(BEGIN) / 1_000, firing.outcome)).collect()
}

#[test]
fn a_due_time_is_fired_and_the_next_one_awaited() {
    let (mut it, calendar) = schedule(Overlap::Skip);
    assert_eq!((it.wake_at, it.is_due(after(9)), it.asks()), (Some(after(10)), false, None));
    assert_eq!(step(&mut it, &calendar, false, 10), Some(10));
    assert_eq!(it.wake_at, Some(after(20)));
    assert_eq!(it.asks().map(String::as_str), Some("nightly-20010909T014650Z"));
    assert_eq!(told(&it), [(10, Fired::Started)]);
}

#[test]
fn what_is_due_while_the_task_before_runs_goes_by_the_policy() {
    // At 10 the first one starts; at 20 and 30 it runs still, at 31 it has ended.
    for (overlap, orders, outcomes) in [
        (
            Overlap::Skip,
            [None, None, None],
            vec![(10, Fired::Started), (20, Fired::Skipped), (30, Fired::Skipped)],
        ),
        (
            Overlap::Queue,
            [None, None, Some(20)],
            vec![(10, Fired::Started), (30, Fired::Skipped), (20, Fired::Started)],
        ),
        (
            Overlap::CancelRunning,
            [Some(20), Some(30), None],
            vec![(10, Fired::Started), (20, Fired::Started), (30, Fired::Started)],
        ),
        (
            Overlap::Allow,
            [Some(20), Some(30), None],
            vec![(10, Fired::Started), (20, Fired::Started), (30, Fired::Started)],
        ),
    ] {
        let (mut it, calendar) = schedule(overlap);
        step(&mut it, &calendar, false, 10);
        assert_eq!(it.asks().is_some(), overlap != Overlap::Allow, "{overlap:?}");
        let found = [
            step(&mut it, &calendar, true, 20),
            step(&mut it, &calendar, true, 30),
            if it.is_due(after(32)) { step(&mut it, &calendar, false, 32) } else { None },
        ];
        assert_eq!((found, told(&it)), (orders, outcomes), "{overlap:?}");
        assert_eq!(it.wake_at, Some(after(40)), "{overlap:?}");
    }
}

#[test]
fn a_running_task_is_cancelled_before_the_next_one_starts() {
    let (mut it, calendar) = schedule(Overlap::CancelRunning);
    step(&mut it, &calendar, false, 10);
    it.decide(&calendar, true, after(20));
    let order = it.state.order.expect("an order");
    assert_eq!(order.cancels.as_deref(), Some("nightly-20010909T014650Z"));
}

#[test]
fn one_that_waits_looks_now_and_then() {
    let (mut it, calendar) = schedule(Overlap::Queue);
    step(&mut it, &calendar, false, 10);
    step(&mut it, &calendar, true, 20);
    let mut looks = Vec::new();
    for _ in 0..200 {
        let now = it.wake_at.expect("it waits");
        it.decide(&calendar, true, now);
        looks.push(it.wake_at.expect("it waits").since_ms(now));
    }
    assert_eq!((looks.iter().min(), looks.iter().max()), (Some(&1_000), Some(&10_000)), "{looks:?}");
}

#[test]
fn what_is_too_late_is_missed_and_counted() {
    let (mut it, calendar) = schedule(Overlap::Allow);
    // Everything was down from the beginning to 60.1: 10, 20 and 30 are too old by then.
    let now = after(60).plus_ms(100);
    for due in [40, 50, 60] {
        it.decide(&calendar, false, now);
        let order = it.state.order.clone().expect("an order");
        assert_eq!(order.due, after(due));
        it.carried_out(order.task_id("nightly"), now);
    }
    assert!(!it.is_due(now));
    assert_eq!((it.state.counts.missed, it.state.counts.started), (3, 3));
    let first = it.state.firings.front().expect("a firing");
    assert_eq!((first.outcome, first.due, first.count), (Fired::Missed, after(30), 3));
    // A long time: counted in steps, told in one line.
    let now = after(100_000);
    while it.is_due(now) && it.state.order.is_none() {
        it.decide(&calendar, false, now);
    }
    assert_eq!(it.state.counts.missed, 3 + 9_992 - 1);
    assert_eq!(
        it.state.firings.back().map(|firing| (firing.outcome, firing.count)),
        Some((Fired::Missed, 9_991))
    );
    assert_eq!(it.state.order.as_ref().map(|order| order.due), Some(after(99_980)));
}

#[test]
fn what_was_due_during_a_pause_never_was() {
    let (mut it, calendar) = schedule(Overlap::Queue);
    step(&mut it, &calendar, false, 10);
    step(&mut it, &calendar, true, 20);
    it.pause("ann".into(), "holidays".into(), after(25));
    assert_eq!((it.wake_at, it.state.next_due), (None, None));
    assert_eq!(told(&it), [(10, Fired::Started), (20, Fired::Skipped)]);
    it.resume(&calendar, after(95));
    assert_eq!((it.wake_at, it.state.counts.missed), (Some(after(100)), 0));
    let before = it.clone();
    it.resume(&calendar, after(99));
    assert_eq!(it, before, "it was resumed already");
}

#[test]
fn a_clock_that_goes_back_decides_nothing_twice() {
    let (mut it, calendar) = schedule(Overlap::Allow);
    step(&mut it, &calendar, false, 10);
    it.pause(String::new(), String::new(), after(11));
    it.resume(&calendar, after(5));
    assert_eq!(it.wake_at, Some(after(20)), "10 is decided");
    let other = Spec { timing: every(5, 0), ..it.spec.clone() };
    it.change(other.clone(), &Calendar::of(&other.timing).expect("an interval"), after(1));
    assert_eq!(it.wake_at, Some(after(15)));
}

#[test]
fn a_change_keeps_what_is_due_unless_the_timing_changes() {
    let (mut it, calendar) = schedule(Overlap::Skip);
    let spec = Spec { overlap: Overlap::Allow, catch_up_seconds: 100, ..it.spec.clone() };
    it.change(spec.clone(), &calendar, after(15));
    assert_eq!((&it.spec, it.wake_at), (&spec, Some(after(10))), "10 is late, and not forgotten");
    let spec = Spec { timing: every(60, 0), ..spec };
    let calendar = Calendar::of(&spec.timing).expect("an interval");
    it.change(spec, &calendar, after(15));
    assert_eq!(it.wake_at, calendar.next(after(15)));
}

#[test]
fn an_order_outlives_a_pause() {
    let (mut it, calendar) = schedule(Overlap::Skip);
    it.decide(&calendar, false, after(10));
    it.pause(String::new(), String::new(), after(11));
    assert!(it.state.order.is_some() && it.wake_at.is_some());
    it.refused("no such agent", after(12));
    assert_eq!((it.wake_at, told(&it)), (None, vec![(10, Fired::Refused)]));
    assert_eq!(it.state.firings[0].reason, "no such agent");
    assert_eq!(it.state.last_task, None);
}

#[test]
fn ids_follow_from_the_due_time_and_the_cause() {
    let (it, _) = schedule(Overlap::Skip);
    let order = |by: Cause, name: &str, due: Time| Order { due, cancels: None, by, name: name.into() };
    let (time, due) = (order(Cause::Time, "", BEGIN), Time(1_780_000_000_123));
    for (order, id) in [
        (time.clone(), "nightly-20010909T014640Z"),
        (order(Cause::Time, "", due), "nightly-20260528T202640.123Z"),
        (order(Cause::Trigger, "now", BEGIN), "nightly-now"),
        (order(Cause::Backfill, "may", BEGIN), "nightly-may-20010909T014640Z"),
    ] {
        assert_eq!(order.task_id("nightly"), id);
    }
    // Not the same task: another schedule under that name, or another cause that gives the same id.
    let (other, _) = schedule(Overlap::Skip);
    let other = Schedule { no: ScheduleNo(8), ..other };
    let named = order(Cause::Trigger, "20010909T014640Z", BEGIN);
    assert_eq!(named.task_id("nightly"), time.task_id("nightly"));
    assert_eq!(time.digest(&it), time.digest(&it));
    assert_ne!(time.digest(&it), time.digest(&other));
    assert_ne!(time.digest(&it), named.digest(&it));
}

#[test]
fn what_is_asked_for_twice_is_noted_once() {
    let (mut it, _) = schedule(Overlap::Skip);
    let order = Order { due: after(3), cancels: None, by: Cause::Trigger, name: "now".into() };
    it.note(&order, "nightly-now".into(), after(3));
    it.note(&order, "nightly-now".into(), after(4));
    assert_eq!((it.state.firings.len(), it.state.counts.started), (1, 1));
    assert_eq!(it.state.last_task.as_deref(), Some("nightly-now"));
    let order = Order { by: Cause::Backfill, name: "may".into(), ..order };
    it.note(&order, "nightly-may-1".into(), after(5));
    assert_eq!(it.state.last_task.as_deref(), Some("nightly-now"), "a backfill stands beside");
    assert_eq!(it.wake_at, Some(after(10)));
}

#[test]
fn the_newest_firings_are_kept() {
    let (mut it, calendar) = schedule(Overlap::Allow);
    for nth in 1..=100 {
        step(&mut it, &calendar, false, nth * 10);
    }
    assert_eq!((it.state.firings.len(), it.state.counts.started), (limits::FIRINGS, 100));
    assert_eq!(told(&it).last(), Some(&(1_000, Fired::Started)));
}
