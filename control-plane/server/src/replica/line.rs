//! Who stands in line, as far as this replica knows: a window onto the ready queue in the database.
//!
//! Entries are hints: the batch loads their rows under the task's lock and finds out whether they still
//! hold. What this window misses is found by scans. They start where an earlier one found the first entry, so
//! that they need not step over what was taken long ago and cannot be cleaned up yet; what was put in line
//! before that and became visible after it is found by scans of the whole line, which are made seldom if they
//! take long.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    effect::Queued,
    id::{Index, RouteNo, TaskNo},
    task::Priority,
};
use downbeat_store::Places;

use super::{Mono, pace::Pace};

/// Entries kept per route: a few batches' worth; the rest stays in the database.
const WINDOW_MAX: usize = 4_096;
/// Below this, and with more in the database, the window is filled again: half a batch.
const WINDOW_LOW: usize = 256;
/// A route whose entries were locked elsewhere is looked at again after so long.
const RETRY_MS: u64 = 20;
/// A line that has no end is scanned as a whole once in so long.
const WHOLE_MS: u64 = 60_000;

/// A part of a route's line that is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    pub route: RouteNo,
    pub from: Places,
}

impl Scan {
    fn is_whole(&self) -> bool {
        self.from == Places::default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    windows: BTreeMap<RouteNo, Window>,
    places: BTreeMap<(TaskNo, Index), Queued>,
    /// The highest place in line that was seen.
    newest: i64,
}

#[derive(Debug, Default)]
struct Window {
    entries: BTreeSet<Queued>,
    /// The database may hold entries that are not here; look no sooner than the time given.
    more: Option<Mono>,
    /// Where the next scan starts: the first entry the last one found, or the newest place in line then.
    from: Places,
    /// When the whole line is scanned, if it is scanned at all.
    whole: Mono,
    pace: Pace,
}

impl Window {
    fn look_no_later(&mut self, at: Mono) {
        self.more = Some(self.more.map_or(at, |more| more.min(at)));
    }

    /// It is not here any more, and may still be in line.
    fn pass_over(&mut self, place: &Queued, look: Mono) {
        let from = &mut self.from[place.priority as usize];
        *from = place.queued.min(*from);
        self.look_no_later(look);
    }
}

impl Line {
    pub(super) fn add(&mut self, place: Queued) {
        self.newest = self.newest.max(place.queued);
        if let Some(old) = self.places.insert((place.task, place.index), place)
            && old != place
        {
            self.drop_entry(old);
        }
        let window = self.windows.entry(place.route).or_default();
        window.entries.insert(place);
        if window.entries.len() > WINDOW_MAX
            && let Some(last) = window.entries.pop_last()
        {
            window.pass_over(&last, Mono(0));
            self.places.remove(&(last.task, last.index));
        }
    }

    pub(super) fn remove(&mut self, task: TaskNo, index: Index) {
        if let Some(place) = self.places.remove(&(task, index)) {
            self.drop_entry(place);
        }
    }

    fn drop_entry(&mut self, place: Queued) {
        if let Some(window) = self.windows.get_mut(&place.route) {
            window.entries.remove(&place);
        }
    }

    /// The first entries of a route.
    pub(super) fn head(&self, route: RouteNo, limit: usize) -> impl Iterator<Item = &Queued> {
        self.windows.get(&route).into_iter().flat_map(move |window| window.entries.iter().take(limit))
    }

    /// Routes with somebody in the window.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteNo> + '_ {
        self.windows.iter().filter(|(_, window)| !window.entries.is_empty()).map(|(route, _)| *route)
    }

    /// These hints led to nothing: gone, or locked elsewhere for the moment.
    pub(super) fn missed(&mut self, missed: &[Queued], now: Mono) {
        for place in missed {
            self.remove(place.task, place.index);
            if let Some(window) = self.windows.get_mut(&place.route) {
                window.pass_over(place, Mono(now.0 + RETRY_MS));
            }
        }
    }

    /// The database has somebody in line for these, or may have.
    pub(super) fn look_again(&mut self, routes: impl IntoIterator<Item = RouteNo>) {
        for route in routes {
            self.windows.entry(route).or_default().look_no_later(Mono(0));
        }
    }

    pub(super) fn wants(&self, now: Mono) -> impl Iterator<Item = Scan> + '_ {
        let due = self.low().filter(move |(_, window)| window.more.is_some_and(|at| at <= now));
        due.map(move |(route, window)| {
            let from = if window.whole <= now { Places::default() } else { window.from };
            Scan { route: *route, from }
        })
    }

    /// Windows that want to be filled, and when.
    pub(super) fn next_look(&self) -> impl Iterator<Item = (RouteNo, Mono)> + '_ {
        self.low().filter_map(|(route, window)| Some((*route, window.more?)))
    }

    fn low(&self) -> impl Iterator<Item = (&RouteNo, &Window)> {
        self.windows.iter().filter(|(_, window)| window.entries.len() < WINDOW_LOW)
    }

    /// Takes in what a scan found.
    pub(super) fn scanned(&mut self, scan: Scan, limit: usize, found: Vec<Queued>, began: Mono, ended: Mono) {
        let complete = found.len() < limit;
        let window = self.windows.entry(scan.route).or_default();
        if complete {
            window.from = [self.newest; Priority::ALL.len()];
        }
        for place in found.iter().rev() {
            window.from[place.priority as usize] = place.queued;
        }
        if scan.is_whole() {
            window.pace.took(began, ended);
            window.whole = window.pace.next().max(Mono(ended.0 + WHOLE_MS));
        } else if complete {
            // What earlier scans passed over may still be there.
            window.whole = window.pace.next();
        }
        window.more = match (complete, scan.is_whole()) {
            (false, _) => Some(Mono(0)),
            (true, false) => Some(window.whole),
            (true, true) => None,
        };
        for place in found {
            self.add(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: RouteNo = RouteNo(1);
    const LIMIT: usize = 3;

    fn place(queued: i64, priority: Priority) -> Queued {
        Queued { route: ROUTE, priority, queued, task: TaskNo(queued), index: 0 }
    }

    fn normal(queued: i64) -> Queued {
        place(queued, Priority::Normal)
    }

    /// The only scan that is wanted now.
    fn wanted(line: &Line, now: u64) -> Scan {
        let scans: Vec<Scan> = line.wants(Mono(now)).collect();
        assert_eq!(scans.len(), 1, "{scans:?}");
        scans[0]
    }

    /// A line whose first scan began at 0 and took so long; it found these.
    fn scanned(found: &[Queued], took: u64) -> Line {
        let mut line = Line::default();
        line.look_again([ROUTE]);
        let scan = wanted(&line, 0);
        assert!(scan.is_whole());
        line.scanned(scan, LIMIT, found.to_vec(), Mono(0), Mono(took));
        line
    }

    #[test]
    fn a_line_that_goes_on_is_scanned_from_the_first_of_each_priority() {
        let line = scanned(&[place(70, Priority::High), normal(40), normal(50)], 2);
        assert_eq!(wanted(&line, 2).from, [0, 40, 70, 0]);
    }

    #[test]
    fn the_whole_of_a_line_that_goes_on_is_scanned_once_a_minute() {
        let line = scanned(&[normal(40), normal(50), normal(60)], 2);
        assert!(!wanted(&line, WHOLE_MS).is_whole());
        assert!(wanted(&line, WHOLE_MS + 2).is_whole());
    }

    #[test]
    fn after_its_end_the_whole_line_is_scanned_again_as_soon_as_that_is_cheap() {
        let mut line = scanned(&[normal(40), normal(50), normal(60)], 10);
        let scan = wanted(&line, 10);
        line.scanned(scan, LIMIT, vec![normal(60)], Mono(10), Mono(11));
        // A hint comes before that: only what is new is looked at.
        assert_eq!(line.next_look().collect::<Vec<_>>(), [(ROUTE, Mono(500))]);
        line.look_again([ROUTE]);
        let scan = wanted(&line, 20);
        assert_eq!(scan.from, [60; 4]);
        line.scanned(scan, LIMIT, Vec::new(), Mono(20), Mono(21));

        let scan = wanted(&line, 500);
        assert!(scan.is_whole());
        line.scanned(scan, LIMIT, Vec::new(), Mono(500), Mono(510));
        assert_eq!(line.next_look().count(), 0, "there is nothing to be found");
    }

    #[test]
    fn however_slow_it_was_the_whole_line_is_scanned_within_a_minute() {
        let mut line = scanned(&[normal(40)], 30_000);
        line.look_again([ROUTE]);
        let scan = wanted(&line, 30_000);
        line.scanned(scan, LIMIT, Vec::new(), Mono(30_000), Mono(30_001));
        assert_eq!(line.next_look().collect::<Vec<_>>(), [(ROUTE, Mono(90_000))]);
    }

    #[test]
    fn what_was_locked_elsewhere_is_found_again() {
        let mut line = scanned(&[normal(40), normal(50)], 1);
        line.missed(&[normal(40)], Mono(5));
        assert_eq!(line.next_look().collect::<Vec<_>>(), [(ROUTE, Mono(5 + RETRY_MS))]);
        assert_eq!(wanted(&line, 30).from[Priority::Normal as usize], 40);
    }

    #[test]
    fn what_the_window_has_no_room_for_is_found_again() {
        let mut line = scanned(&[normal(9_000)], 1);
        (0..=WINDOW_MAX as i64).for_each(|n| line.add(place(100 + n, Priority::High)));
        // The last of all made room, though it came first.
        assert!(line.head(ROUTE, usize::MAX).all(|place| place.priority == Priority::High));
        for n in 0..=WINDOW_MAX as i64 {
            line.remove(TaskNo(100 + n), 0);
        }
        assert!(wanted(&line, 2).from[Priority::Normal as usize] <= 9_000);
    }
}
