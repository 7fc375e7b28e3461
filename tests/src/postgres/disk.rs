//! A server whose disk is full, and has room again.

use std::{
    fs,
    io::Write,
    os::unix::{fs::chown, process::CommandExt},
    process::Command,
};

use super::Postgres;

/// Written into the filler until nothing fits.
const FILL_BYTES: usize = 64 * 1024;
/// Where files may not grow, they may not grow beyond this.
const LIMITED_BYTES: u64 = 8 * 1024;

/// Where a server keeps its files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disk {
    /// Where everybody does.
    Everybodys,
    /// On a small file system that nobody else uses.
    Small,
    /// As everybody, but this process may not mount: limits on the size of its files do instead.
    Limited,
}

impl Postgres {
    /// A server on a disk of this size (`192m`), which the test can fill.
    ///
    /// # Panics
    /// As [`start`](Postgres::start).
    pub fn start_on_small_disk(size: &str) -> Postgres {
        // Few and small enough that the disk is full of data, not of log to recycle.
        let mut postgres = Postgres::prepare(&["max_wal_size=48MB", "min_wal_size=32MB"]);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&postgres.home)
            .output()
            .is_ok_and(|done| done.status.success());
        if let Some((uid, gid)) = postgres.owner.filter(|_| mounted) {
            chown(&postgres.home, Some(uid), Some(gid)).expect("root gives a directory away");
        }
        postgres.disk = if mounted { Disk::Small } else { Disk::Limited };
        postgres.init();
        postgres.restart();
        postgres
    }

    /// Takes all the room that is left; again and again, because the server may find some.
    ///
    /// # Panics
    /// When the disk is everybody's.
    pub fn fill_disk(&self) {
        match self.disk {
            Disk::Everybodys => panic!("this would fill everybody's disk"),
            Disk::Small => {
                let filler = fs::File::options().create(true).append(true).open(self.filler());
                // Not even a name fits: then it is full.
                let Ok(mut filler) = filler else { return };
                for size in [FILL_BYTES, 512] {
                    while filler.write_all(&vec![0; size]).is_ok() {}
                }
            }
            Disk::Limited => self.limit_files(&format!("{LIMITED_BYTES}:")),
        }
    }

    /// Makes room, and does what an operator then does: starts the server again where it gave up.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn free_disk(&mut self) {
        match self.disk {
            Disk::Everybodys => {}
            Disk::Small => fs::remove_file(self.filler()).expect("the filler is there"),
            Disk::Limited => self.limit_files("unlimited:"),
        }
        self.revive();
    }

    fn filler(&self) -> std::path::PathBuf {
        self.home.join("filler")
    }

    /// The soft limit of the server and all that it has started.
    fn limit_files(&self, limit: &str) {
        let Some(server) = &self.server else { return };
        let pid = server.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for pid in children.split_whitespace().chain([pid.to_string().as_str()]) {
            let mut prlimit = Command::new("prlimit");
            prlimit.args(["--pid", pid, &format!("--fsize={limit}")]);
            // Not even root may do it to others everywhere, and everybody may do it to their own.
            if let Some((uid, gid)) = self.owner {
                prlimit.uid(uid).gid(gid);
            }
            // Some may have ended meanwhile.
            let _ = prlimit.output();
        }
    }
}
