//! The wall clock of one process, which a test can put forward and back while it runs. Its monotonic clock goes
//! right, as the kernel's does whatever happens to the time of day.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{Dir, Process};

/// The wall clock of the processes that are started with it.
#[derive(Debug)]
pub struct WallClock(Dir);

impl WallClock {
    /// One that goes right.
    pub fn new() -> WallClock {
        let clock = WallClock(Dir::new("clock"));
        clock.set("+0");
        clock
    }

    /// How much it is ahead (`+10m`) or behind (`-10m`), from now on.
    ///
    /// # Panics
    /// When it cannot be written down.
    pub fn set(&self, offset: &str) {
        // At once: nobody ever reads half of it.
        let new = self.0.path().join("new");
        fs::write(&new, offset).expect("a file for the clock");
        fs::rename(new, self.file()).expect("a file for the clock");
    }

    /// What to start a process with that is to live by this clock; a command that runs its arguments.
    pub fn wrapper(&self) -> Command {
        let mut env = Command::new("env");
        env.arg(format!("LD_PRELOAD={}", library().display()));
        env.arg(format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display()));
        // The file is read each time, and the monotonic clock left alone.
        env.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
        env
    }

    /// The time of day by this clock, in seconds since 1970.
    ///
    /// # Panics
    /// When no process can be started by it.
    pub fn seconds(&self) -> i64 {
        let said = self.wrapper().args(["date", "+%s"]).output().expect("date runs");
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        text.parse().unwrap_or_else(|_| panic!("seconds and not {text:?}"))
    }

    /// Whether a process lives by a clock of a test.
    pub fn rules(process: &Process) -> bool {
        let mapped = fs::read_to_string(format!("/proc/{}/maps", process.pid()));
        mapped.is_ok_and(|mapped| mapped.contains("libfaketime"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }
}

impl Default for WallClock {
    fn default() -> WallClock {
        WallClock::new()
    }
}

/// What stands between a process and the clock; installed when it is missing.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts").join("faketime");
        let found = Command::new(script).output().expect("scripts/faketime runs");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        PathBuf::from(String::from_utf8_lossy(&found.stdout).trim())
    })
}
