//! Stock workers: processes of the real binary that run a shell script for each attempt. What the scripts do
//! is written to a file, line by line, which outlives every kill.

use std::fs;

use super::{
    Dir, Process,
    history::{Run, Runs},
    process::{Signal, downbeat},
    until,
};

/// Notes the attempt, then does what the test wants done, then delivers the lease as its output.
const NOTE: &str = r#"
cat > /dev/null
printf '%s %s %s %s\n' "$DOWNBEAT_TASK_ID" "$DOWNBEAT_SUBTASK_ID" "$DOWNBEAT_LEASE_ID" "$DOWNBEAT_ATTEMPT" >> "$LEDGER"
"#;
const DELIVER: &str = r#"
printf '{"lease":%s}' "$DOWNBEAT_LEASE_ID"
"#;

/// A stock worker.
#[derive(Debug)]
pub struct WorkerProcess {
    pub process: Process,
}

/// The file that scripts write to. One line is one write, so several workers may share it.
#[derive(Debug)]
pub struct Notes(Dir);

impl Notes {
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Notes {
        Notes(Dir::new("notes"))
    }

    /// Waits until so many attempts have begun.
    pub async fn begun(&self, attempts: usize) {
        let what = format!("{attempts} attempts begin");
        until(&what, || async { (self.runs().len() >= attempts).then_some(()) }).await;
    }

    /// Where it is.
    pub fn path(&self) -> std::path::PathBuf {
        self.0.path().join("runs")
    }
}

impl Runs for Notes {
    /// # Panics
    /// When a line is not as it was written.
    fn runs(&self) -> Vec<Run> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let run = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [task, subtask, lease, attempt] = words[..] else { panic!("a note of four words: {line:?}") };
            Run {
                task: task.to_owned(),
                subtask: subtask.to_owned(),
                lease: lease.parse().expect("a lease"),
                attempt: attempt.parse().expect("an attempt"),
            }
        };
        text.lines().map(run).collect()
    }
}

impl WorkerProcess {
    /// A worker for one agent; `script` is what each attempt does before it delivers `{"lease": ...}`.
    pub fn start(addr: &str, agent: &str, slots: usize, notes: &Notes, script: &str) -> WorkerProcess {
        let script = format!("{NOTE}{script}{DELIVER}");
        WorkerProcess::start_script(addr, agent, &["--slots", &slots.to_string()], notes, &script)
    }

    /// A worker whose script is all the test's own; `more` are arguments of `downbeat worker`.
    pub fn start_script(
        addr: &str,
        agent: &str,
        more: &[&str],
        notes: &Notes,
        script: &str,
    ) -> WorkerProcess {
        let mut command = downbeat();
        command.args(["worker", "--addr", addr, "--agent", agent]).args(more);
        command.args(["--", "sh", "-c", script]).env("LEDGER", notes.path()).env_remove("RUST_LOG");
        WorkerProcess { process: Process::start("worker", command) }
    }

    /// SIGKILL. What its scripts have begun goes on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: the process stands still, and its sockets stay open.
    pub fn freeze(&self) {
        self.process.signal(Signal::Stop);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.signal(Signal::Continue);
    }
}
