//! A private Postgres for tests: its own data directory, port and socket, with `fsync` on, gone when it is
//! dropped and also when the test process dies, whichever way.
//!
//! It may have a standby that takes over, and a disk of its own that can be filled.
//!
//! Needs Postgres' programs under `/usr/lib/postgresql/*/bin` (Debian's place); takes the newest. As root it
//! runs the server as the user `postgres`, because Postgres refuses to be root.

mod disk;
mod standby;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::disk::Disk;
use crate::port;

/// How long a server may take to start; it may have a crash to recover from.
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
const USER: &str = "postgres";

/// Stops the server and clears up once its standard input is closed: when the fixture is dropped, or when the
/// test process is gone.
const REAPER: &str = r#"
cat > /dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null)
ours() { [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; }
if ours "$1"; then kill -INT "$pid"; fi
while ours "$1"; do sleep 0.05; done
if mountpoint -q "$1"; then umount --lazy "$1"; fi
rm -rf "$1"
"#;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running server, and the way to hurt it.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    home: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    settings: Vec<String>,
    disk: Disk,
    server: Option<Child>,
    databases: AtomicU32,
    reaper: Child,
    /// Closing it wakes the reaper.
    lifeline: Option<ChildStdin>,
}

impl Postgres {
    /// Creates a cluster and starts it.
    ///
    /// # Panics
    /// When there is no Postgres on this machine, or it does not start.
    pub fn start() -> Postgres {
        Postgres::start_with(&["max_connections=200"])
    }

    /// One with settings of the test's own.
    ///
    /// # Panics
    /// As [`start`](Postgres::start).
    pub fn start_with(settings: &[&str]) -> Postgres {
        let mut postgres = Postgres::prepare(settings);
        postgres.init();
        postgres.restart();
        postgres
    }

    /// A place for a server, empty.
    fn prepare(settings: &[&str]) -> Postgres {
        let programs = programs();
        let owner = is_root().then(|| user(USER));
        let name = format!("downbeat-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(name);
        fs::create_dir(&home).expect("a new directory for Postgres");
        if let Some((uid, gid)) = owner {
            chown(&home, Some(uid), Some(gid)).expect("root gives a directory away");
        }
        let mut reaper = Command::new("sh")
            .args(["-c", REAPER, "reaper"])
            .arg(&home)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let lifeline = reaper.stdin.take();
        Postgres {
            programs,
            home,
            owner,
            port: port::free(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            disk: Disk::Everybodys,
            server: None,
            databases: AtomicU32::new(0),
            reaper,
            lifeline,
        }
    }

    /// The server that all tests of this process share. Each takes a database of its own.
    pub fn shared() -> &'static Postgres {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// The URL of an existing database.
    pub fn url(&self, database: &str) -> String {
        Postgres::url_of(&[self], database)
    }

    /// The URL of a database that several servers have, to be tried in this order.
    pub fn url_of(servers: &[&Postgres], database: &str) -> String {
        let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("postgres://{USER}@{}/{database}", hosts.join(","))
    }

    /// Creates an empty database and gives its URL.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn create_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let created = self.client("createdb").arg(&name).status().expect("createdb runs");
        assert!(created.success(), "createdb: {created}; see {}", self.log().display());
        self.url(&name)
    }

    /// The schema of a database as `pg_dump` states it, without comments and what depends on its release.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn dump_schema(&self, url: &str) -> String {
        let dump = self
            .program("pg_dump")
            .args(["--schema-only", "--no-owner", "--no-privileges", "--dbname", url])
            .output()
            .expect("pg_dump runs");
        assert!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
        let noise = |line: &&str| {
            !["--", "SET ", "SELECT pg_catalog.set_config", "\\"].iter().any(|start| line.starts_with(start))
        };
        let text = String::from_utf8(dump.stdout).expect("a dump is UTF-8");
        let mut lines: Vec<&str> = text.lines().filter(noise).collect();
        lines.dedup_by(|next, line| next.is_empty() && line.is_empty());
        lines.join("\n").trim().to_owned() + "\n"
    }

    /// Kills the server as a power cut would: nobody is told, nothing is flushed. `restart` recovers it.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("our own child");
            server.wait().expect("our own child");
        }
    }

    /// Stops the server as an operator does who does not wait for clients.
    ///
    /// # Panics
    /// When it does not run, or does not stop.
    pub fn stop(&mut self) {
        let server = self.server.as_mut().expect("a running server");
        let pid = server.id().to_string();
        let told = Command::new("sh").args(["-c", "kill -s INT \"$1\"", "kill", &pid]).status();
        assert!(told.is_ok_and(|told| told.success()), "cannot signal Postgres");
        server.wait().expect("our own child");
        self.server = None;
    }

    /// Runs one statement and gives the first column of its first row.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", database]);
        let done = psql.args(["--command", statement]).output().expect("psql runs");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Starts the server anew, on the same port with the same data; kills it first where it runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        self.revive();
    }

    /// Starts the server where it does not run, and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn revive(&mut self) {
        let deadline = Instant::now() + START;
        // Orphans of a killed server hold on to its memory for a moment, and a new one refuses meanwhile.
        while Instant::now() < deadline {
            let mut server = self.server.take().unwrap_or_else(|| self.spawn());
            loop {
                let ended = server.try_wait().expect("our own child").is_some();
                if !ended && self.serves() {
                    self.server = Some(server);
                    return;
                }
                if ended || Instant::now() > deadline {
                    break;
                }
                thread::sleep(LOOK);
            }
            let _ = server.kill();
            let _ = server.wait();
            thread::sleep(LOOK);
        }
        panic!("Postgres does not start; see {}", self.log().display());
    }

    fn serves(&self) -> bool {
        self.client("pg_isready").arg("--quiet").status().is_ok_and(|ready| ready.success())
    }

    fn init(&self) {
        let made = self
            .as_owner("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", USER])
            .arg("--pgdata")
            .arg(self.data())
            .stdout(Stdio::null())
            .status()
            .expect("initdb runs");
        assert!(made.success(), "initdb: {made}");
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.home.display()),
            "fsync=on".to_owned(),
        ];
        let mut server = self.as_owner("postgres");
        server.arg("-D").arg(self.data()).process_group(0).stdin(Stdio::null());
        for setting in settings.iter().chain(&self.settings) {
            server.args(["-c", setting]);
        }
        server.stdout(log.try_clone().expect("a log file")).stderr(log).spawn().expect("postgres runs")
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// A client program, pointed at this server.
    fn client(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.env("PGPORT", self.port.to_string()).env("PGUSER", USER).env("PGHOST", "127.0.0.1");
        command
    }

    fn as_owner(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.current_dir(&self.home);
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Some(mut server) = self.server.take() {
            // The reaper has told it to stop, by its pid.
            let _ = server.wait();
        }
        let _ = self.reaper.wait();
    }
}

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
        .expect("Postgres in /usr/lib/postgresql: apt-get install postgresql")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// User and group number of a user.
fn user(name: &str) -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
        .and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
        .unwrap_or_else(|| panic!("no user `{name}` to run Postgres as"))
}
