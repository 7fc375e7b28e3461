//! What the tests start, and how it ends: by the id of the process, whatever happens.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Nothing takes so long on a machine that works at all.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// The binary, without settings from outside.
pub(crate) fn binary() -> Command {
    without_settings(env!("CARGO_BIN_EXE_downbeat"))
}

/// Any program, without those settings.
pub(crate) fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in ["DOWNBEAT_ADDR", "DOWNBEAT_DATABASE_URL", "RUST_LOG", "LANG", "LC_ALL", "LC_CTYPE", "USER"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A new, empty directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

/// A process that does not outlive its test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        Process(command.spawn().unwrap())
    }

    pub(crate) fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the end of a process", || self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        thread::sleep(POLL);
    }
}

/// A control plane of one's own.
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) grpc: String,
    pub(crate) http: String,
}

impl Dev {
    pub(crate) fn new(name: &str) -> Dev {
        Dev::on(&scratch(name))
    }

    /// On a data directory that may have been used before.
    pub(crate) fn on(data: &Path) -> Dev {
        let mut command = binary();
        command.args(["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--json", "--data"]).arg(data);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Process(child);
        let bound: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| bound[name].as_str().unwrap().to_owned();
        Dev { process, grpc: text("grpc"), http: text("http") }
    }

    /// A client command.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.env("DOWNBEAT_ADDR", &self.grpc).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        Answer::of(self.command(args).output().unwrap())
    }

    /// With a text on standard input.
    pub(crate) fn feed(&self, args: &[&str], text: &str) -> Answer {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Answer::of(child.wait_with_output().unwrap())
    }

    /// A worker whose agents run a line of shell.
    pub(crate) fn worker(&self, agents: &[&str], shell: &str) -> Process {
        let mut args = vec!["worker", "--slots", "4"];
        args.extend(agents.iter().flat_map(|agent| ["--agent", agent]));
        args.extend(["--", "sh", "-c", shell]);
        Process::start(self.command(&args).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// The task as a document.
    pub(crate) fn task(&self, task_id: &str) -> Value {
        self.run(&["status", task_id, "--json"]).ok().json()
    }
}

/// What a command left behind.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn of(output: Output) -> Answer {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Answer { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Answer {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Answer {
        self.exits(0)
    }

    /// Standard error holds this.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Answer {
        assert!(self.stderr.contains(text), "expected {text:?} in: {}", self.stderr);
        self
    }

    /// Standard output holds this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Answer {
        assert!(self.stdout.contains(text), "expected {text:?} in: {}", self.stdout);
        self
    }

    /// The one document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "expected one document: {}", self.stdout);
        lines[0].clone()
    }

    /// The documents on standard output, one a line and nothing else.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
