//! Ports of servers that tests start, kill and start again where they were.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below what Linux gives to outgoing connections: one of those could take the port of a server that is just
/// being started again.
const FIRST: u16 = 16_384;
const COUNT: u16 = 16_384;

/// A port that nobody has right now, and that this process has not given before.
///
/// # Panics
/// When there is none.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(251);
    for _ in 0..COUNT {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)).wrapping_add(start);
        let port = FIRST + (next % u32::from(COUNT)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
