//! The account of schedules: each due time is decided once, in its order, and each order is one task. Due times are
//! reckoned here anew.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    id::{ScheduleNo, TaskId, TenantNo},
    schedule::{Cause, Fired, Schedule, State, Timing},
    time::Time,
};
use downbeat_store::{ListTasks, Store};

use super::{Auditor, look};

impl Auditor {
    /// A new schedule is durable.
    pub fn schedule_created(&mut self, no: ScheduleNo, row: &Schedule) {
        self.schedules.created(no, row);
    }

    /// A schedule is durable as it is now.
    pub fn schedule_changed(&mut self, row: &Schedule, database_now: Time) {
        self.schedules.changed(row, (!self.clock_jumps).then_some(database_now));
    }

    /// A client asks a schedule for a task beside its times.
    pub fn triggering(&mut self, task: TaskId) {
        self.schedules.triggered.insert(task);
    }
}

#[derive(Default)]
pub(super) struct Schedules {
    pub(super) found: Vec<String>,
    /// Tasks ordered by time.
    pub(super) ordered: u64,
    rows: BTreeMap<ScheduleNo, Seen>,
    /// Triggered, as a client was told, or may have happened.
    triggered: BTreeSet<TaskId>,
}

struct Seen {
    row: Schedule,
    /// Of the tasks that were ordered.
    ordered: BTreeSet<TaskId>,
}

impl Schedules {
    fn created(&mut self, no: ScheduleNo, row: &Schedule) {
        let row = Schedule { no, ..row.clone() };
        self.rows.insert(no, Seen { row, ordered: BTreeSet::new() });
    }

    /// A row is durable. `now`: by the database, unless its clock jumps.
    fn changed(&mut self, row: &Schedule, now: Option<Time>) {
        let Some(seen) = self.rows.get_mut(&row.no) else {
            self.found.push(format!("schedule {} is written, and is not there", row.no));
            return;
        };
        let (old, new) = (&seen.row.state, &row.state);
        let mut say = |what: String| self.found.push(format!("schedule {}: {what}", row.name));
        let due = due_between(&row.spec.timing, old.decided, new.decided);
        let decided = decided(old, new);
        if new.decided < old.decided || due != decided {
            say(format!("{due} due from {:?} to {:?}, {decided} decided", old.decided, new.decided));
        }
        let window_ms = u64::from(row.spec.catch_up_seconds) * 1_000;
        let missed = new.counts.missed.saturating_sub(old.counts.missed);
        if let Some(firing) = new.firings.back().filter(|f| f.outcome == Fired::Missed && missed > 0)
            && firing.at.since_ms(firing.due) <= window_ms
        {
            say(format!("missed within the catch-up window: {firing:?}"));
        }
        if new.counts.refused > 0 {
            say(format!("refused: {:?}", new.firings.back()));
        }
        if let Some(order) = new.order.as_ref().filter(|order| old.order.as_ref() != Some(order)) {
            if now.is_some_and(|now| order.due > now) {
                say(format!("fires before its time: {order:?} at {now:?}"));
            }
            self.ordered += 1;
            if !seen.ordered.insert(order.task_id(&row.name)) {
                say(format!("ordered twice: {order:?}"));
            }
        }
        seen.row = row.clone();
    }

    /// Every order is a task, and every task was ordered.
    pub(super) fn close(&mut self, store: &dyn Store) {
        for seen in self.rows.values() {
            let list = ListTasks {
                tenant: TenantNo::DEFAULT,
                statuses: Vec::new(),
                id_prefix: format!("{}-", seen.row.name),
                before: None,
                limit: u32::MAX - 1,
            };
            match look(store.list_tasks(&list)) {
                Ok(page) => {
                    let tasks: BTreeSet<TaskId> = page.tasks.into_iter().map(|task| task.id).collect();
                    let timely: BTreeSet<TaskId> = tasks.difference(&self.triggered).cloned().collect();
                    if timely != seen.ordered {
                        let (name, ordered) = (&seen.row.name, &seen.ordered);
                        self.found.push(format!("schedule {name}: ordered {ordered:?}, started {timely:?}"));
                    }
                }
                Err(error) => self.found.push(error),
            }
        }
    }
}

/// Due times that one write decides: missed, skipped, waiting, or ordered.
fn decided(old: &State, new: &State) -> u64 {
    let passed = |state: &State| state.counts.missed + state.counts.skipped;
    let waits = |state: &State| u64::from(state.waiting.is_some());
    let ordered = |state: &State| u64::from(state.order.as_ref().is_some_and(|o| o.by == Cause::Time));
    // What waited was decided before: it is ordered, or skipped by a pause.
    let ends = if old.order.is_none() { ordered(new) } else { 0 };
    (passed(new) + ends + waits(new)).saturating_sub(passed(old) + waits(old))
}

/// Due times above the one and up to the other.
fn due_between(timing: &Timing, above: Time, up_to: Time) -> u64 {
    let past = |time: Time, every: u32, offset: u32| {
        (time.0 - i64::from(offset) * 1_000).div_euclid(i64::from(every) * 1_000)
    };
    let count = match timing {
        Timing::Interval { every_seconds, offset_seconds } => {
            past(up_to, *every_seconds, *offset_seconds) - past(above, *every_seconds, *offset_seconds)
        }
        // Those of the simulation are due each minute.
        Timing::Cron { .. } => past(up_to, 60, 0) - past(above, 60, 0),
        Timing::Once { at } => i64::from(above < *at && *at <= up_to),
    };
    u64::try_from(count).unwrap_or(0)
}
