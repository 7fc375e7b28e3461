//! What each fuzz target does with its bytes. Called twice: by libFuzzer, which looks for new inputs
//! (`fuzz/fuzz_targets/`), and by an ordinary test, which replays the kept ones (`tests/fuzz.rs`).
//!
//! A target panics when something is not as it must be; it never panics for a strange input alone.

pub mod plan;
pub mod replica;
pub mod rules;
pub mod session;
pub mod wire;

/// A target's body.
pub type Run = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: [(&str, Run); 5] = [
    ("plan", plan::run),
    ("replica", replica::run),
    ("rules", rules::run),
    ("session", session::run),
    ("wire", wire::run),
];

/// One of a few, chosen by any number.
fn pick<T: Copy>(all: &[T], n: impl Into<usize>) -> Option<T> {
    all.get(n.into() % all.len().max(1)).copied()
}
