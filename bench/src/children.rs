//! Child processes, and that none outlives us: not a panic, not Ctrl-C, not SIGKILL. Only processes started
//! here are ever stopped, each by its pid.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

/// Reads who lives and who is gone, and once its standard input closes stops who is left and clears up.
const REAPER: &str = r#"
pids=
while read -r change pid; do
    others=
    for known in $pids; do [ "${known#*:}" = "$pid" ] || others="$others $known"; done
    pids=$others
    [ "$change" = gone ] || pids="$pids $change:$pid"
done
for known in $pids; do kill -s "${known%:*}" "${known#*:}" 2> /dev/null; done
for known in $pids; do
    tries=0
    while kill -0 "${known#*:}" 2> /dev/null && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
done
rm -rf "$1"
"#;

/// How long a process may take to say its first line, or to end.
const WAIT: Duration = Duration::from_secs(60);
/// Of a log, what is shown when something fails.
const TAIL_LINES: usize = 15;

/// A directory for data and logs, and the shell that removes it and whoever is left when we are gone.
#[derive(Debug)]
pub(crate) struct Nursery {
    dir: PathBuf,
    reaper: std::process::Child,
    lifeline: Arc<Mutex<Option<ChildStdin>>>,
}

impl Nursery {
    /// A new directory below `parent`.
    ///
    /// # Errors
    /// When it cannot be made, or there is no shell.
    pub(crate) fn new(parent: &Path, name: &str) -> Result<Nursery> {
        let dir = parent.join(format!("downbeat-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut reaper = Command::new("sh")
            .args(["-c", REAPER, "reaper"])
            .arg(&dir)
            .stdin(Stdio::piped())
            // Ctrl-C is for the whole group of a terminal; this one stays to clear up.
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let lifeline = Arc::new(Mutex::new(reaper.stdin.take()));
        Ok(Nursery { dir, reaper, lifeline })
    }

    /// Where data and logs are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a process; its standard error goes to `<dir>/<name>.log`. `end` is the signal that stops it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(&self, name: &str, mut command: Command, end: Signal) -> Result<Process> {
        let log = self.dir.join(format!("{name}.log"));
        let stderr = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
        let mut command = tokio::process::Command::from(command);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().context("a new process has a pid")?;
        let stdout = BufReader::new(child.stdout.take().context("a pipe")?);
        let process = Process {
            name: name.to_owned(),
            pid,
            child,
            stdout,
            log,
            end,
            lifeline: Arc::clone(&self.lifeline),
        };
        process.note(if end == Signal::INT { "INT" } else { "KILL" });
        Ok(process)
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop(self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.reaper.wait();
    }
}

/// A child of ours. Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    pid: u32,
    child: tokio::process::Child,
    stdout: BufReader<tokio::process::ChildStdout>,
    log: PathBuf,
    end: Signal,
    lifeline: Arc<Mutex<Option<ChildStdin>>>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line of its standard output.
    ///
    /// # Errors
    /// When it ends instead, or says nothing for a minute.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = timeout(WAIT, self.stdout.read_line(&mut line)).await;
        if read.with_context(|| format!("{} says nothing", self.name))?? == 0 {
            bail!("{} has ended:\n{}", self.name, self.log_tail());
        }
        Ok(line)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Sends it its last signal and waits until it is gone.
    ///
    /// # Errors
    /// When it stays for a minute.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal();
        let ended = timeout(WAIT, self.child.wait()).await;
        ended.with_context(|| format!("{} does not end", self.name))??;
        Ok(())
    }

    fn signal(&mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Until it is waited for, its pid is nobody else's.
        if let (Some(pid), false) = (pid, self.has_ended()) {
            let _ = rustix::process::kill_process(pid, self.end);
        }
    }

    fn note(&self, change: &str) {
        if let Some(lifeline) = &mut *self.lifeline.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without a reaper only our own sudden death leaves something behind.
            let _ = writeln!(lifeline, "{change} {}", self.pid);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal();
        if self.has_ended() || self.end == Signal::KILL {
            self.note("gone");
        }
    }
}
