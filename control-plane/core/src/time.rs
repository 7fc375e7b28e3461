//! Time and new ids enter the core here, as values.

use serde::{Deserialize, Serialize};

use crate::{
    id::{LeaseId, SessionNo, TaskNo},
    policy::Policy,
};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// This time plus `ms` milliseconds, saturating.
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this time; 0 when `earlier` is later.
    pub fn since_ms(self, earlier: Time) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// How many ids one batch can mint: the low [`MINT_BITS`] bits of an id.
pub const MINTS_MAX: u32 = 1 << MINT_BITS;
const MINT_BITS: u32 = 12;

/// What a batch is decided with: the database's time, and one number drawn from its ever-growing sequence
/// *after* the batch's rows were written last, so that ids minted for the same row only ever grow.
#[derive(Debug)]
pub struct Frame<'a> {
    pub now: Time,
    pub policy: &'a Policy,
    stamp: i64,
    minted: u32,
}

impl<'a> Frame<'a> {
    /// A frame for one batch. `stamp` is the number drawn from the sequence, at least 1.
    pub fn new(now: Time, stamp: i64, policy: &'a Policy) -> Frame<'a> {
        assert!(stamp > 0, "stamps start at 1, got {stamp}");
        Frame { now, policy, stamp, minted: 0 }
    }

    /// The place in line of what becomes ready in this batch: later batches sort later.
    pub fn stamp(&self) -> i64 {
        self.stamp
    }

    /// How many more ids this batch can mint.
    pub fn mints_left(&self) -> u32 {
        MINTS_MAX - self.minted
    }

    pub(crate) fn mint_task(&mut self) -> Option<TaskNo> {
        self.mint().map(TaskNo)
    }

    pub(crate) fn mint_session(&mut self) -> Option<SessionNo> {
        self.mint().map(SessionNo)
    }

    pub(crate) fn mint_lease(&mut self) -> Option<LeaseId> {
        self.mint().map(LeaseId)
    }

    fn mint(&mut self) -> Option<i64> {
        if self.mints_left() == 0 {
            return None;
        }
        let id = (self.stamp << MINT_BITS) | i64::from(self.minted);
        self.minted += 1;
        Some(id)
    }
}
