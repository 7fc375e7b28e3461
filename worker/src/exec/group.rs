//! The process group of an attempt: signals to all of it, and its certain end.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// A process group. Dropped, it is killed, unless it has ended before.
pub(super) struct Group {
    /// `None`: the leader had ended before it could be asked for its id.
    leader: Option<Pid>,
    ended: AtomicBool,
}

impl Group {
    /// The group that was made for `child`, with `process_group(0)`.
    pub(super) fn led_by(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader, ended: AtomicBool::new(false) }
    }

    /// Asks all of it to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends all of it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends what is left of it after its leader has. Nothing is signalled from then on: the system may give the id
    /// to somebody else.
    pub(super) fn end(&self) {
        self.kill();
        self.ended.store(true, Ordering::Relaxed);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader.filter(|_| !self.ended.load(Ordering::Relaxed)) {
            // Fails when nobody is left, and that is as good.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
