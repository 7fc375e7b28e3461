//! Schedules: what starts tasks by time. Here are the row, and the rules of what becomes of a due time; when something
//! is due stands in [`calendar`].
//!
//! A due time is decided once, by whoever writes the row first: it is missed, skipped, waits, or becomes an
//! [`Order`]. An order is carried out by any replica and as often as it takes: the task's id follows from the due time
//! ([`Order::task_id`]), so that it is started once.

pub mod calendar;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    id::{ScheduleNo, TaskId, TenantNo},
    limits,
    time::Time,
};

pub use calendar::{Calendar, Timing, compact};

/// Due times missed that one step counts at most.
const MISSED_MAX: u32 = 1_000;
/// Whoever gave an order has so long to carry it out before others do.
pub const TAKE_OVER_MS: u64 = 10_000;
/// How often a waiting firing looks whether its turn has come: at first, and at most.
const LOOK_MS: (u64, u64) = (1_000, 60_000);
/// Of the time it has waited, until it looks again.
const LOOK_SHARE: u64 = 8;

/// A row. What it starts is kept beside it: only a start needs that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub no: ScheduleNo,
    pub tenant: TenantNo,
    pub name: String,
    /// Grows with every write: who writes has seen what is there.
    pub version: i64,
    /// When something is to be done about it.
    pub wake_at: Option<Time>,
    pub spec: Spec,
    pub state: State,
}

/// What people say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub timing: Timing,
    #[serde(default)]
    pub overlap: Overlap,
    /// Due times that are older are missed.
    pub catch_up_seconds: u32,
}

/// What a firing does while the task of the one before runs: has not ended, be it that it waits for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Overlap {
    /// Nothing.
    #[default]
    Skip = 1,
    /// Waits for its end; of several, the first.
    Queue = 2,
    /// Cancels it.
    CancelRunning = 3,
    /// Runs beside it.
    Allow = 4,
}

impl Overlap {
    pub const ALL: [Overlap; 4] = [Overlap::Skip, Overlap::Queue, Overlap::CancelRunning, Overlap::Allow];

    pub fn word(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::Queue => "queue",
            Overlap::CancelRunning => "cancel_running",
            Overlap::Allow => "allow",
        }
    }
}

/// What a schedule starts. JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Starts {
    /// The document of a task, without its id.
    Task(Box<serde_json::value::RawValue>),
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub created_at: Time,
    /// When people changed it last.
    pub changed_at: Time,
    /// Due times up to this one are decided, or were never to be.
    pub decided: Time,
    pub next_due: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Given, and not carried out as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The newest one started, but for backfills: whether it runs decides about the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_task: Option<TaskId>,
    #[serde(default)]
    pub counts: Counts,
    /// Oldest first.
    #[serde(default)]
    pub firings: VecDeque<Firing>,
}

/// Nothing is due until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub at: Time,
    pub by: String,
    pub reason: String,
}

/// A firing whose turn comes when the task of the one before has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub due: Time,
    pub since: Time,
}

/// A task to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub due: Time,
    /// A task to cancel before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancels: Option<TaskId>,
    #[serde(default)]
    pub by: Cause,
    /// What the caller calls a trigger or a backfill.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Why a task is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    /// Its time had come.
    #[default]
    Time = 1,
    /// Somebody asked for it.
    Trigger = 2,
    /// Somebody had a range of time filled in.
    Backfill = 3,
}

impl Cause {
    pub const ALL: [Cause; 3] = [Cause::Time, Cause::Trigger, Cause::Backfill];

    pub fn word(self) -> &'static str {
        match self {
            Cause::Time => "time",
            Cause::Trigger => "trigger",
            Cause::Backfill => "backfill",
        }
    }
}

/// How many due times became what, since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub started: u64,
    pub skipped: u64,
    pub missed: u64,
    pub refused: u64,
}

/// What became of a due time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// Of several that were missed: the last.
    pub due: Time,
    /// When that was decided, or the task started.
    pub at: Time,
    #[serde(default)]
    pub by: Cause,
    pub outcome: Fired,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task: TaskId,
    /// Why it was refused or skipped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Due times; more than one only where they were missed.
    pub count: u64,
}

/// What a due time became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Fired {
    /// A task.
    Started = 1,
    /// Nothing, because of the task before.
    Skipped = 2,
    /// Nothing: nobody was there within the catch-up window.
    Missed = 3,
    /// Nothing: the task was not accepted.
    Refused = 4,
}

impl Fired {
    pub const ALL: [Fired; 4] = [Fired::Started, Fired::Skipped, Fired::Missed, Fired::Refused];

    pub fn word(self) -> &'static str {
        match self {
            Fired::Started => "started",
            Fired::Skipped => "skipped",
            Fired::Missed => "missed",
            Fired::Refused => "refused",
        }
    }
}

impl Order {
    /// A task that is started because its time has come.
    fn timely(due: Time, cancels: Option<TaskId>) -> Order {
        Order { due, cancels, by: Cause::Time, name: String::new() }
    }

    /// The id of the task: the same for the same due time, whoever carries it out.
    pub fn task_id(&self, schedule: &str) -> TaskId {
        let Order { due, by, name, .. } = self;
        match by {
            Cause::Time => format!("{schedule}-{}", compact(*due)),
            Cause::Trigger => format!("{schedule}-{name}"),
            Cause::Backfill => format!("{schedule}-{name}-{}", compact(*due)),
        }
    }

    /// Tells its task from any other of the same id: of another schedule, of one that had the name before, or a
    /// client's own. Not what is started, which may be edited while somebody starts it.
    pub fn digest(&self, schedule: &Schedule) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("downbeat 2026 firing 1");
        hasher.update(&schedule.no.0.to_le_bytes());
        hasher.update(self.by.word().as_bytes());
        hasher.update(self.task_id(&schedule.name).as_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl State {
    fn new(now: Time) -> State {
        State {
            created_at: now,
            changed_at: now,
            decided: now,
            next_due: None,
            paused: None,
            order: None,
            waiting: None,
            last_task: None,
            counts: Counts::default(),
            firings: VecDeque::new(),
        }
    }
}

/// What people do with it.
impl Schedule {
    /// A new one, to be numbered by the store.
    pub fn new(tenant: TenantNo, name: String, spec: Spec, calendar: &Calendar, now: Time) -> Schedule {
        let (no, version) = (ScheduleNo(0), 1);
        let mut new = Schedule { no, tenant, name, version, wake_at: None, spec, state: State::new(now) };
        new.plan(calendar, now);
        new
    }

    /// Another spec. What was due before stays decided.
    pub fn change(&mut self, spec: Spec, calendar: &Calendar, now: Time) {
        let same = self.spec.timing == spec.timing;
        self.spec = spec;
        self.state.changed_at = now;
        if !same {
            self.plan(calendar, now);
        }
    }

    /// Nothing is due any more, and nothing waits; an order that was given is carried out.
    pub fn pause(&mut self, by: String, reason: String, now: Time) {
        if let Some(Waiting { due, .. }) = self.state.waiting.take() {
            self.tell(Fired::Skipped, due, 1, "the schedule was paused", now);
        }
        self.state.paused = Some(Paused { at: now, by, reason });
        self.state.changed_at = now;
        self.state.next_due = None;
        self.rest(now);
    }

    /// Goes on with the next due time after now; those of the pause were never to be.
    pub fn resume(&mut self, calendar: &Calendar, now: Time) {
        if self.state.paused.take().is_some() {
            self.state.changed_at = now;
            self.plan(calendar, now);
        }
    }

    /// What was started beside its times.
    pub fn note(&mut self, order: &Order, task: TaskId, now: Time) {
        if self.state.firings.iter().all(|firing| firing.task != task) {
            self.started(order, task, now);
        }
    }

    fn plan(&mut self, calendar: &Calendar, now: Time) {
        let after = self.state.decided.max(now);
        self.state.next_due = if self.state.paused.is_some() { None } else { calendar.next(after) };
        self.rest(now);
    }
}

/// What time does with it.
impl Schedule {
    pub fn is_due(&self, now: Time) -> bool {
        self.wake_at.is_some_and(|at| at <= now)
    }

    /// The task whose end the next decision depends on.
    pub fn asks(&self) -> Option<&TaskId> {
        let waits = self.state.waiting.is_some() || self.spec.overlap != Overlap::Allow;
        self.state.last_task.as_ref().filter(|_| waits)
    }

    /// Decides what is due: at most one due time within the catch-up window, so that the next one sees what became of
    /// it. `running`: the task that this [asks](Schedule::asks) about has not ended. There is no order.
    pub fn decide(&mut self, calendar: &Calendar, running: bool, now: Time) {
        if !running && let Some(Waiting { due, .. }) = self.state.waiting.take() {
            self.state.order = Some(Order::timely(due, None));
        } else {
            self.count_missed(calendar, now);
            if let Some(due) = self.state.next_due.filter(|due| *due <= now && !self.is_missed(*due, now)) {
                self.step_over(due, calendar);
                self.fire(due, running, now);
            }
        }
        self.rest(now);
    }

    fn fire(&mut self, due: Time, running: bool, now: Time) {
        let cancels = match (self.spec.overlap, running) {
            (Overlap::Allow, _) | (Overlap::Skip | Overlap::Queue | Overlap::CancelRunning, false) => None,
            (Overlap::CancelRunning, true) => self.state.last_task.clone(),
            (Overlap::Queue, true) if self.state.waiting.is_none() => {
                self.state.waiting = Some(Waiting { due, since: now });
                return;
            }
            (Overlap::Skip | Overlap::Queue, true) => {
                let why = match &self.state.waiting {
                    Some(_) => "another one waits already",
                    None => "the task before had not ended",
                };
                self.tell(Fired::Skipped, due, 1, why, now);
                return;
            }
        };
        self.state.order = Some(Order::timely(due, cancels));
    }

    /// The order was carried out: its task is there.
    pub fn carried_out(&mut self, task: TaskId, now: Time) {
        if let Some(order) = self.state.order.take() {
            self.started(&order, task, now);
            self.rest(now);
        }
    }

    /// The order cannot be carried out: its task was not accepted.
    pub fn refused(&mut self, reason: &str, now: Time) {
        if let Some(order) = self.state.order.take() {
            self.tell(Fired::Refused, order.due, 1, reason, now);
            self.rest(now);
        }
    }

    fn is_missed(&self, due: Time, now: Time) -> bool {
        now.since_ms(due) > u64::from(self.spec.catch_up_seconds) * 1_000
    }

    fn count_missed(&mut self, calendar: &Calendar, now: Time) {
        let mut missed = 0;
        while let Some(due) = self.state.next_due.filter(|due| self.is_missed(*due, now)) {
            if missed == MISSED_MAX {
                break;
            }
            missed += 1;
            self.step_over(due, calendar);
        }
        if missed > 0 {
            self.tell(Fired::Missed, self.state.decided, missed.into(), "", now);
        }
    }

    fn step_over(&mut self, due: Time, calendar: &Calendar) {
        self.state.decided = due;
        self.state.next_due = calendar.next(due);
    }

    fn started(&mut self, order: &Order, task: TaskId, now: Time) {
        match order.by {
            Cause::Time | Cause::Trigger => self.state.last_task = Some(task.clone()),
            Cause::Backfill => {}
        }
        self.keep(Firing {
            due: order.due,
            at: now,
            by: order.by,
            outcome: Fired::Started,
            task,
            reason: String::new(),
            count: 1,
        });
    }

    fn tell(&mut self, outcome: Fired, due: Time, count: u64, reason: &str, at: Time) {
        // What was missed in one go stands in one line, however many steps counted it.
        if let Some(last) = self.state.firings.back_mut()
            && (outcome, last.outcome) == (Fired::Missed, Fired::Missed)
        {
            (last.due, last.at, last.count) = (due, at, last.count + count);
            self.state.counts.missed += count;
            return;
        }
        let (by, task, reason) = (Cause::Time, TaskId::new(), reason.to_owned());
        self.keep(Firing { due, at, by, outcome, task, reason, count });
    }

    fn keep(&mut self, firing: Firing) {
        let counts = &mut self.state.counts;
        *match firing.outcome {
            Fired::Started => &mut counts.started,
            Fired::Skipped => &mut counts.skipped,
            Fired::Missed => &mut counts.missed,
            Fired::Refused => &mut counts.refused,
        } += firing.count;
        self.state.firings.push_back(firing);
        while self.state.firings.len() > limits::FIRINGS {
            self.state.firings.pop_front();
        }
    }

    /// When something is to be done next.
    fn rest(&mut self, now: Time) {
        let look = self.state.waiting.map(|Waiting { since, .. }| {
            now.plus_ms((now.since_ms(since) / LOOK_SHARE).clamp(LOOK_MS.0, LOOK_MS.1))
        });
        self.wake_at = match &self.state.order {
            Some(_) => Some(now.plus_ms(TAKE_OVER_MS)),
            None => self.state.next_due.into_iter().chain(look).min(),
        };
    }
}
