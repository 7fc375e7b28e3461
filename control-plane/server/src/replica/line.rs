//! Who stands in line, as far as this replica knows: a window onto the ready queue in the database.
//!
//! Entries are hints: the batch loads their rows under the task's lock and finds out whether they still
//! hold. What this window misses is found by scans, which start where the last one found the first entry,
//! so that a scan need not step over what was taken long ago and cannot be cleaned up yet.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    effect::Queued,
    id::{Index, RouteNo, TaskNo},
};

use super::Mono;

/// Entries kept per route: a few batches' worth; the rest stays in the database.
const WINDOW_MAX: usize = 4_096;
/// Below this, and with more in the database, the window is filled again: half a batch.
const WINDOW_LOW: usize = 256;
/// A route whose entries were locked elsewhere is looked at again after so long.
const RETRY_MS: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct Line {
    windows: BTreeMap<RouteNo, Window>,
    places: BTreeMap<(TaskNo, Index), Queued>,
}

#[derive(Debug, Default)]
struct Window {
    entries: BTreeSet<Queued>,
    /// The database may hold entries that are not here; look no sooner than the time given.
    more: Option<Mono>,
    /// The queue number of the first entry the last scan found.
    from: i64,
}

impl Line {
    pub(super) fn add(&mut self, place: Queued) {
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
            window.more = Some(Mono(0));
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
                window.more.get_or_insert(Mono(now.0 + RETRY_MS));
            }
        }
    }

    /// The database has somebody in line for these, or may have.
    pub(super) fn look_again(&mut self, routes: impl IntoIterator<Item = RouteNo>) {
        for route in routes {
            self.windows.entry(route).or_default().more = Some(Mono(0));
        }
    }

    pub(super) fn wants(&self, now: Mono) -> impl Iterator<Item = (RouteNo, i64)> + '_ {
        self.windows
            .iter()
            .filter(move |(_, window)| {
                window.entries.len() < WINDOW_LOW && window.more.is_some_and(|at| at <= now)
            })
            .map(|(route, window)| (*route, window.from))
    }

    /// Windows that want to be filled, and when.
    pub(super) fn next_look(&self) -> impl Iterator<Item = (RouteNo, Mono)> + '_ {
        self.windows
            .iter()
            .filter(|(_, window)| window.entries.len() < WINDOW_LOW)
            .filter_map(|(route, window)| Some((*route, window.more?)))
    }

    /// Takes in what a scan found.
    pub(super) fn scanned(&mut self, route: RouteNo, from: i64, limit: usize, found: Vec<Queued>) {
        let complete = found.len() < limit;
        let first = found.iter().map(|place| place.queued).min();
        for place in found {
            self.add(place);
        }
        let window = self.windows.entry(route).or_default();
        if !complete {
            window.from = first.unwrap_or(0);
            window.more = Some(Mono(0));
        } else if from > 0 {
            // The end of the line: what an earlier scan passed over may still be there.
            window.from = 0;
            window.more = Some(Mono(0));
        } else {
            window.from = first.unwrap_or(0);
            window.more = None;
        }
    }
}
