//! What waits for a time, as far as this replica knows. The rows' `wake_at` is the truth; a timer that is
//! lost or never learned is found when the ticker looks for what is overdue.

use std::collections::BTreeSet;

use downbeat_core::{effect::Wake, time::Time};

/// More than this are left to the ticks: 100,000 timers are about 5 MB.
const TIMERS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Time, Wake)>);

impl Timers {
    pub(super) fn arm(&mut self, at: Time, wake: Wake) {
        self.0.insert((at, wake));
        if self.0.len() > TIMERS_MAX {
            self.0.pop_last();
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    pub(super) fn due(&mut self, now: Time, limit: usize) -> Vec<Wake> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(&(at, wake)) = self.0.first()
            && at <= now
        {
            self.0.pop_first();
            due.push(wake);
        }
        due
    }
}
