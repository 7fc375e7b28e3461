//! How often something is looked at whose cost nobody bounds.
//!
//! An index scan walks over entries that are dead and cannot be cleaned up while some transaction, of whoever it
//! is, might still see them. A look that takes long for that reason must not take the database from the work.

use super::Mono;

/// A look may take one part in so many of the time,
const SHARE: u64 = 50;
/// but nothing is left unseen for longer than this.
const REST_MAX_MS: u64 = 60_000;

/// Of one look. The first is allowed at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(Mono);

impl Pace {
    /// It took so long.
    pub(crate) fn took(&mut self, began: Mono, ended: Mono) {
        let rest = (SHARE - 1).saturating_mul(ended.since_ms(began)).min(REST_MAX_MS);
        self.0 = Mono(ended.0 + rest);
    }

    /// When the next one is allowed, at the earliest.
    pub(crate) fn next(self) -> Mono {
        self.0
    }
}
