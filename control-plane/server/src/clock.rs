//! The process's own clock: it only goes forward, and says nothing about the time of day.

use tokio::time::Instant;

use crate::replica::Mono;

/// Copies agree: they have the same zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Its zero is now.
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(self) -> Mono {
        Mono(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
