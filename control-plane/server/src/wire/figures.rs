//! Figures that both faces compute alike.

use crate::view::AgentView;

/// The share of an agent's slots that is in use; 0 without slots.
pub(crate) fn load(view: &AgentView) -> f64 {
    if view.slots == 0 { 0.0 } else { f64::from(view.busy) / f64::from(view.slots) }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
