//! A private Postgres: its own data directory and port, durable, gone with us.
//!
//! Needs Postgres' programs under `/usr/lib/postgresql/*/bin` (Debian's place) or on the path, and takes the
//! newest. As root it runs the server as the user `postgres`, because Postgres refuses to be root.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::children::{Nursery, Process};

const USER: &str = "postgres";
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    process: Process,
    /// Of its database `postgres`.
    pub(crate) url: String,
}

impl Postgres {
    /// Creates a cluster in the nursery's directory and starts it. `settings` are `name=value`.
    ///
    /// # Errors
    /// When there is no Postgres on this machine, or it does not start.
    pub(crate) async fn start(nursery: &Nursery, settings: &[String]) -> Result<Postgres> {
        let programs = programs();
        let owner = if is_root() { Some(user(USER)?) } else { None };
        let home = nursery.dir().join("postgres");
        fs::create_dir(&home)?;
        if let Some((uid, gid)) = owner {
            chown(&home, Some(uid), Some(gid))?;
        }
        let as_owner = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(&home);
            if let Some((uid, gid)) = owner {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = home.join("data");
        let made = as_owner("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--username", USER, "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .context("cannot run initdb; `apt-get install postgresql` brings it")?;
        ensure!(made.success(), "initdb: {made}");
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = as_owner("postgres");
        command.arg("-D").arg(&data).args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            &format!("port={port}"),
        ]);
        command.args(["-c", &format!("unix_socket_directories={}", home.display())]);
        command.args(["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let process = nursery.spawn("postgres", command, Signal::INT)?;
        let mut postgres = Postgres { process, url: format!("postgres://{USER}@127.0.0.1:{port}/postgres") };
        postgres.answers().await?;
        Ok(postgres)
    }

    /// The process all others of the server are children of.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// # Errors
    /// When it does not end.
    pub(crate) async fn stop(self) -> Result<()> {
        self.process.stop().await
    }

    async fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.is_ok() {
                return Ok(());
            }
            if self.process.has_ended() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("Postgres does not start:\n{}", self.process.log_tail())
    }
}

/// The newest release's directory; empty when the programs are on the path, if anywhere.
fn programs() -> PathBuf {
    let release = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((release(&entry.path())?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists())
        .max()
        .map(|(_, programs)| programs)
        .unwrap_or_default()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// User and group number of a user.
fn user(name: &str) -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
        .and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
        .with_context(|| format!("no user {name:?} to run Postgres as"))
}
