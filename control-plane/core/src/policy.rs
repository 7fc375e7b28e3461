//! The numbers an operator may set. One value per control plane; tests and the simulation pass their own.

use crate::draft::Retry;

/// Times and counts that the rules use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts of a subtask whose plan says nothing.
    pub attempts_max: u16,
    /// Lost leases (worker gone) after which a subtask needs review instead of another worker.
    pub losses_max: u16,
    /// Wait before the second attempt; doubles with each further one.
    pub backoff_base_ms: u64,
    /// The longest wait between attempts.
    pub backoff_max_ms: u64,
    /// How long leases outlive a dropped stream.
    pub grace_ms: u64,
    /// Age at which a ready subtask that no live worker can do becomes `blocked`.
    pub schedule_to_start_ms: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            attempts_max: 3,
            losses_max: 10,
            backoff_base_ms: 1_000,
            backoff_max_ms: 60_000,
            grace_ms: 15_000,
            schedule_to_start_ms: 30_000,
        }
    }
}

impl Policy {
    /// The wait after the `failures`-th failure (1, 2, ...), as the subtask asks for it or else as is set here, with
    /// up to a fifth of jitter that `salt` (the lease id) decides, so that the core stays free of randomness.
    pub fn backoff_ms(&self, retry: &Retry, failures: u16, salt: i64) -> u64 {
        let ms = |seconds: u32| u64::from(seconds) * 1_000;
        let (base, longest) = match retry.backoff_seconds.map(ms) {
            Some(asked) => (asked, self.backoff_max_ms.max(asked)),
            None => (self.backoff_base_ms, self.backoff_max_ms),
        };
        let most = retry.max_backoff_seconds.map_or(longest, ms);
        let doublings = u32::from(failures.saturating_sub(1)).min(30);
        let full = base.saturating_mul(1 << doublings).min(most);
        // Fibonacci hashing spreads neighbouring lease ids over the whole range.
        let spread = (salt as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        full - (full / 5).saturating_mul(spread) / (1 << 32)
    }
}
