//! What was committed a moment ago to the tasks that somebody follows, or that are new: most are followed by who has
//! just submitted them. Only a help: who misses something here finds it in the store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use downbeat_core::{event::Event, id::TaskNo, rows::History};
use tokio::sync::watch;

/// Events kept of one task: enough for who reads as fast as they come.
const TAIL_EVENTS_MAX: usize = 256;
/// New tasks that are kept although nobody follows them yet: enough for a client's way back and forth.
const FRESH_MAX: usize = 256;

/// Tails by task.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Tails>);

#[derive(Debug, Default)]
struct Tails {
    by_task: BTreeMap<TaskNo, watch::Sender<Tail>>,
    /// New tasks, in the order of their creation, each with a receiver of its own that keeps the tail.
    fresh: VecDeque<(TaskNo, watch::Receiver<Tail>)>,
}

/// The newest events of a task that this replica committed, without gap.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    events: VecDeque<Event>,
    /// How often somebody else said that there is more in the store.
    pub(crate) hints: u64,
}

/// What a [`Tail`] knows of the events above a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Newer {
    /// Consecutive, from the next one on.
    Events(Vec<Event>),
    None,
    /// There are some, and the first of them are not here.
    Gap,
}

impl Watch {
    /// Changes whenever the task may have new events.
    pub(crate) fn subscribe(&self, task: TaskNo) -> watch::Receiver<Tail> {
        let mut tails = self.tails();
        tails.by_task.retain(|_, sender| sender.receiver_count() > 0);
        tails.of(task).subscribe()
    }

    /// These are durable now. Told in the order of the commits.
    pub(crate) fn committed(&self, history: Vec<History>) {
        let mut tails = self.tails();
        for more in history {
            if more.events.first().is_some_and(|event| event.number == 1) {
                tails.keep(more.task);
            }
            if let Some(sender) = tails.by_task.get(&more.task) {
                sender.send_modify(|tail| tail.add(more.events));
            }
        }
    }

    /// The task may have new events in the store.
    pub(crate) fn changed(&self, task: TaskNo) {
        if let Some(sender) = self.tails().by_task.get(&task) {
            sender.send_modify(|tail| tail.hints += 1);
        }
    }

    /// Any task may have.
    pub(crate) fn all_changed(&self) {
        for sender in self.tails().by_task.values() {
            sender.send_modify(|tail| tail.hints += 1);
        }
    }

    fn tails(&self) -> MutexGuard<'_, Tails> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tails {
    fn of(&mut self, task: TaskNo) -> &watch::Sender<Tail> {
        self.by_task.entry(task).or_insert_with(|| watch::channel(Tail::default()).0)
    }

    /// For a while, though nobody follows it.
    fn keep(&mut self, task: TaskNo) {
        let receiver = self.of(task).subscribe();
        self.fresh.push_back((task, receiver));
        if self.fresh.len() > FRESH_MAX
            && let Some((old, receiver)) = self.fresh.pop_front()
        {
            drop(receiver);
            if self.by_task.get(&old).is_some_and(|sender| sender.receiver_count() == 0) {
                self.by_task.remove(&old);
            }
        }
    }
}

impl Tail {
    fn add(&mut self, events: Vec<Event>) {
        let next = self.events.back().map(|last| last.number + 1);
        if next != events.first().map(|first| first.number) {
            // Another replica has written in between.
            self.events.clear();
        }
        self.events.extend(events);
        let excess = self.events.len().saturating_sub(TAIL_EVENTS_MAX);
        self.events.drain(..excess);
    }

    /// Events numbered above `after`, at most `limit`.
    pub(crate) fn newer(&self, after: u64, limit: u32) -> Newer {
        let (Some(first), Some(last)) = (self.events.front(), self.events.back()) else { return Newer::None };
        if last.number <= after {
            Newer::None
        } else if first.number > after + 1 {
            Newer::Gap
        } else {
            let newer = self.events.iter().filter(|event| event.number > after);
            Newer::Events(newer.take(limit as usize).cloned().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use downbeat_core::{event::What, id::TenantNo, task::TaskStatus, time::Time};

    use super::*;

    const TASK: TaskNo = TaskNo(7);

    fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<Event> {
        let what = What::Task { status: TaskStatus::Running, reason: String::new() };
        numbers.map(|number| Event { number, at: Time(0), what: what.clone() }).collect()
    }

    fn history(numbers: std::ops::RangeInclusive<u64>) -> Vec<History> {
        vec![History { tenant: TenantNo(1), task: TASK, events: events(numbers) }]
    }

    #[test]
    fn what_follows_without_gap_is_read_from_memory() {
        let watch = Watch::default();
        let followed = watch.subscribe(TASK);
        assert_eq!(followed.borrow().newer(0, 10), Newer::None);
        watch.committed(history(3..=4));
        watch.committed(history(5..=6));
        assert_eq!(followed.borrow().newer(2, 10), Newer::Events(events(3..=6)));
        assert_eq!(followed.borrow().newer(4, 1), Newer::Events(events(5..=5)));
        assert_eq!(followed.borrow().newer(6, 10), Newer::None);
        assert_eq!(followed.borrow().newer(1, 10), Newer::Gap);
    }

    #[test]
    fn what_another_replica_wrote_in_between_is_a_gap() {
        let watch = Watch::default();
        let followed = watch.subscribe(TASK);
        watch.committed(history(3..=4));
        watch.committed(history(7..=7));
        assert_eq!(followed.borrow().newer(4, 10), Newer::Gap);
        assert_eq!(followed.borrow().newer(6, 10), Newer::Events(events(7..=7)));
    }

    #[test]
    fn who_follows_a_new_task_finds_what_it_began_with() {
        let watch = Watch::default();
        watch.committed(history(1..=2));
        watch.committed(history(3..=3));
        watch.changed(TASK);
        let followed = watch.subscribe(TASK);
        assert_eq!(followed.borrow().newer(0, 10), Newer::Events(events(1..=3)));
        assert_eq!(followed.borrow().hints, 1);
    }

    #[test]
    fn few_of_the_new_tasks_are_kept_and_all_that_are_followed() {
        let watch = Watch::default();
        let submit = |no| {
            let events = events(1..=1);
            watch.committed(vec![History { tenant: TenantNo(1), task: TaskNo(no), events }]);
        };
        let knows = |no| watch.subscribe(TaskNo(no)).borrow().newer(0, 10) == Newer::Events(events(1..=1));
        submit(1);
        submit(2);
        let followed = watch.subscribe(TaskNo(2));
        let newer = 3..3 + FRESH_MAX as i64;
        newer.clone().for_each(submit);
        assert_eq!(watch.tails().by_task.len(), FRESH_MAX + 1);
        assert!(!knows(1));
        assert!(knows(2));
        newer.for_each(|no| assert!(knows(no)));
        drop(followed);
        watch.subscribe(TaskNo(1));
        assert!(!knows(2), "it is neither new nor followed");
    }

    #[test]
    fn the_tail_is_bounded() {
        let watch = Watch::default();
        let followed = watch.subscribe(TASK);
        let last = TAIL_EVENTS_MAX as u64 + 10;
        watch.committed(history(1..=last));
        assert_eq!(followed.borrow().newer(9, 1), Newer::Gap);
        assert_eq!(followed.borrow().newer(10, 1), Newer::Events(events(11..=11)));
        assert_eq!(followed.borrow().newer(10, u32::MAX), Newer::Events(events(11..=last)));
    }
}
