//! Processes of tests: the real binary, its output, and signals to it. Whatever is started here ends with its
//! owner, and also when the test process is killed.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, Once, PoisonError},
    time::SystemTime,
};

use tokio::sync::mpsc;

use super::{Dir, dir::profile_dir, soon, until};

/// Kills what is still on its list once its standard input closes.
const REAPER: &str = r#"
pids=
while read -r change pid; do
    others=
    for known in $pids; do [ "$known" = "$pid" ] || others="$others $known"; done
    pids=$others
    [ "$change" = gone ] || pids="$pids $pid"
done
for pid in $pids; do kill -KILL "$pid" 2> /dev/null; done
"#;
/// Of a log, what is shown when a test fails.
const LOG_TAIL_LINES: usize = 60;

static REAPED: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let reaper = Command::new("sh").args(["-c", REAPER]).stdin(Stdio::piped()).spawn();
    Mutex::new(reaper.expect("a shell").stdin.expect("a pipe to it"))
});

/// A signal that a test sends.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Stop,
    Continue,
    Terminate,
}

/// A child of this test; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    log: PathBuf,
    /// Holds the log.
    _dir: Dir,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command. Its standard output is read line by line, its standard error goes to a log that is
    /// shown when the test fails.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command) -> Process {
        let dir = Dir::new(name);
        let log = dir.path().join("log");
        let stderr = fs::File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        reap("new", child.id());
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { name: name.to_owned(), child, lines, log, _dir: dir, ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output; `None` when there is none any more.
    pub async fn line(&mut self) -> Option<String> {
        soon(&format!("{} says something", self.name), self.lines.recv()).await
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until its log holds `text`.
    pub async fn logged(&self, text: &str) {
        until(&format!("{} logs {text:?}", self.name), || async { self.log().contains(text).then_some(()) })
            .await;
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            self.child.kill().expect("our own child");
            self.note_end();
        }
    }

    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
            Signal::Terminate => "TERM",
        };
        assert!(self.ended.is_none(), "{} has ended", self.name);
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &self.pid().to_string()])
            .status()
            .expect("a shell");
        assert!(sent.success(), "cannot send {name} to {}: {sent}", self.name);
    }

    /// Waits until it ends by itself.
    pub async fn end(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        let ended = until(&what, || {
            let ended = child.try_wait().expect("our own child");
            async move { ended }
        })
        .await;
        self.note_end();
        ended
    }

    fn note_end(&mut self) {
        self.ended = self.child.wait().ok();
        reap("gone", self.pid());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            // To where the test's own output goes.
            #[allow(clippy::print_stderr)]
            {
                eprintln!(
                    "--- the last of the log of {} (pid {})\n{}",
                    self.name,
                    self.pid(),
                    tail.join("\n")
                );
            }
        }
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.note_end();
        }
    }
}

fn reap(change: &str, pid: u32) {
    let mut reaper = REAPED.lock().unwrap_or_else(PoisonError::into_inner);
    // Without a reaper only a killed test leaves something behind.
    let _ = writeln!(reaper, "{change} {pid}");
}

/// The real binary, built when it is missing or older than this test.
///
/// # Panics
/// When it cannot be built.
pub fn downbeat() -> Command {
    static BUILT: Once = Once::new();
    let binary = profile_dir().join("downbeat");
    BUILT.call_once(|| {
        let test = std::env::current_exe().expect("the path of this test");
        if written(&binary) < written(&test) {
            build();
        }
    });
    Command::new(binary)
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--quiet", "-p", "downbeat"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_dir().ends_with("release") {
        command.arg("--release");
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "cannot build the binary `downbeat`: {built}");
}
