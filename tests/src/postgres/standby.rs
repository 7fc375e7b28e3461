//! Streaming replication: a second server that has everything the first one has acknowledged, and takes over.

use std::{fs, process::Stdio, thread, time::Instant};

use super::{LOOK, Postgres, START, USER};

impl Postgres {
    /// A standby of this server; see [`follow`](Postgres::follow).
    ///
    /// # Panics
    /// As `follow`.
    pub fn standby(&self) -> Postgres {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let mut standby = Postgres::prepare(&settings);
        standby.follow(self);
        standby
    }

    /// Becomes a standby: forgets its own data for a copy of the primary's, and streams from it. From now on the
    /// primary acknowledges no commit that is not durable here too.
    ///
    /// # Panics
    /// When one of them does not do as told.
    pub fn follow(&mut self, primary: &Postgres) {
        self.kill();
        let _ = fs::remove_dir_all(self.data());
        let copied = self
            .as_owner("pg_basebackup")
            .args(["--host=127.0.0.1", "--username", USER, "--port", &primary.port.to_string()])
            .args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"])
            .arg("--pgdata")
            .arg(self.data())
            .stdout(Stdio::null())
            .status()
            .expect("pg_basebackup runs");
        assert!(copied.success(), "pg_basebackup: {copied}");
        self.restart();
        primary.sql(USER, "alter system set synchronous_standby_names = '*'");
        primary.sql(USER, "select pg_reload_conf()");
        let deadline = Instant::now() + START;
        while primary.sql(USER, "select count(*) from pg_stat_replication where sync_state = 'sync'") != "1" {
            assert!(Instant::now() < deadline, "the standby does not stream; see {}", self.log().display());
            thread::sleep(LOOK);
        }
    }

    /// Makes a primary of a standby. Whoever was the primary must not run any more.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        assert_eq!(self.sql(USER, "select pg_promote()"), "t", "a standby becomes the primary");
    }

    pub fn runs(&self) -> bool {
        self.server.is_some()
    }
}
