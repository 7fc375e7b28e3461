//! A command as an agent: one process group per attempt, the brief on stdin, the output on stdout, progress on
//! stderr.
//!
//! When an attempt is over, so is its process group, whatever is left in it: nothing may go on under a lease that
//! has ended. Only a worker that is killed itself (SIGKILL) cannot see to that.

mod group;
mod pipes;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use downbeat_sdk::{Context, HandlerError, Output};
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::group::Group;
use crate::{
    Error,
    brief::{self, Said},
    output_bytes_max, output_too_large,
};

/// How long a command has between SIGTERM and SIGKILL when the configuration says nothing.
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// `EX_DATAERR` of sysexits.h: the input is wrong, and will be the next time.
const EXIT_NOT_RETRYABLE: i32 = 65;

/// A command that does the work.
///
/// It gets the brief as JSON on stdin, and `DOWNBEAT_TASK_ID`, `DOWNBEAT_SUBTASK_ID`, `DOWNBEAT_LEASE_ID` and
/// `DOWNBEAT_ATTEMPT` in its environment. What it writes to stdout is the output, in JSON; each line on stderr is a
/// progress message. Exit status 0 completes the attempt, 65 fails it for good, any other fails it so that it may be
/// tried again. Beside its output it may write to the shared context, ask for children and ask to be run again, with
/// `$context`, `$spawn` and `$suspend`; see the top of the crate. When the attempt shall stop, its whole process group gets SIGTERM, and SIGKILL after the grace.
#[derive(Debug, Clone)]
pub struct Exec {
    /// A path, or a name on the `PATH`.
    pub command: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How long it has between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
}

impl Exec {
    /// A command and its arguments, with the default grace of 10 s.
    pub fn new<A: Into<OsString>>(command: impl Into<OsString>, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { command: command.into(), args, kill_grace: KILL_GRACE_DEFAULT }
    }
}

/// A command that exists.
pub(crate) struct Prepared {
    path: PathBuf,
    args: Vec<OsString>,
    kill_grace: Duration,
}

/// Everything that a process left behind.
struct Remains {
    status: std::io::Result<ExitStatus>,
    /// `None`: it wrote more than the limit.
    stdout: Option<Vec<u8>>,
    /// The last of it.
    stderr: String,
}

impl Prepared {
    pub(crate) fn new(exec: Exec) -> Result<Self, Error> {
        let Exec { command, args, kill_grace } = exec;
        let path = find(Path::new(&command)).ok_or(Error::CommandNotFound { command: command.into() })?;
        Ok(Self { path, args, kill_grace })
    }

    pub(crate) async fn attempt(&self, context: &Context) -> Result<Output, HandlerError> {
        let brief = brief::to_json(context).await?;
        let limit = output_bytes_max(context);
        let mut child = self.command(context).spawn().map_err(|error| {
            let path = self.path.display();
            HandlerError::retryable("SPAWN_FAILED", format!("cannot start {path}: {error}"))
        })?;
        let group = Group::led_by(&child);
        let exited = CancellationToken::new();
        let remains = {
            let mut run = pin!(run(&mut child, &group, &brief, limit, context, &exited));
            tokio::select! {
                remains = &mut run => remains,
                () = context.cancelled() => {
                    group.terminate();
                    match timeout(self.kill_grace, &mut run).await {
                        Ok(remains) => remains,
                        Err(_) => {
                            group.kill();
                            exited.cancel();
                            run.await
                        }
                    }
                }
            }
        };
        group.end();
        remains.read(limit)?.done(context).await
    }

    fn command(&self, context: &Context) -> Command {
        let brief = context.brief();
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .env("DOWNBEAT_TASK_ID", &brief.task_id)
            .env("DOWNBEAT_SUBTASK_ID", &brief.subtask_id)
            .env("DOWNBEAT_LEASE_ID", context.lease_id().to_string())
            .env("DOWNBEAT_ATTEMPT", context.attempt().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own, so that a Ctrl-C at the terminal drains the worker and leaves the attempt alone.
            .process_group(0);
        command
    }
}

/// Waits for the process, and moves its input and output meanwhile.
async fn run(
    child: &mut Child,
    group: &Group,
    brief: &[u8],
    limit: usize,
    context: &Context,
    exited: &CancellationToken,
) -> Remains {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let wait = async {
        let status = child.wait().await;
        // What it left running in the background would hold the pipes open, and go on under an ended lease. But when
        // all of the group was asked to stop, all of it has the grace to do so.
        if !context.is_cancelled() {
            group.end();
            exited.cancel();
        }
        status
    };
    let (status, (), stdout, stderr) = tokio::join!(
        wait,
        pipes::feed(stdin, brief, exited),
        pipes::collect(stdout, limit, || group.kill(), exited),
        pipes::follow(stderr, |line| context.progress(line, None), exited),
    );
    Remains { status, stdout, stderr }
}

impl Remains {
    fn read(self, limit: usize) -> Result<Said, HandlerError> {
        let Self { status, stdout, stderr } = self;
        let Some(stdout) = stdout else { return Err(output_too_large(limit)) };
        let status = match status {
            Ok(status) => status,
            Err(error) => return Err(HandlerError::retryable("WAIT_FAILED", error.to_string())),
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => brief::read(&stdout).map_err(|problem| {
                let message = format!(
                    "the command exited with 0, and what it wrote to stdout is no output: {problem}; write logs to \
                     stderr, and only the output to stdout"
                );
                HandlerError::retryable("INVALID_OUTPUT", message)
            }),
            (Some(code), _) => Err(HandlerError {
                code: format!("EXIT_{code}"),
                message: last_words(&format!("the command exited with {code}"), &stderr),
                retryable: code != EXIT_NOT_RETRYABLE,
            }),
            (None, Some(signal)) => {
                let message = last_words(&format!("the command was ended by signal {signal}"), &stderr);
                Err(HandlerError::retryable(format!("SIGNAL_{signal}"), message))
            }
            (None, None) => Err(HandlerError::retryable("WAIT_FAILED", format!("unknown exit status {status}"))),
        }
    }
}

fn last_words(what: &str, stderr: &str) -> String {
    match stderr.trim() {
        "" => format!("{what} and wrote nothing to stderr"),
        stderr => format!("{what}: {stderr}"),
    }
}

/// The executable file that a command names.
fn find(command: &Path) -> Option<PathBuf> {
    if command.components().count() > 1 {
        return executable(command.to_owned());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find_map(|directory| executable(directory.join(command)))
}

fn executable(path: PathBuf) -> Option<PathBuf> {
    let metadata = fs::metadata(&path).ok()?;
    let runs = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    // Absolute: the name must mean the same file for every attempt.
    runs.then(|| std::path::absolute(path).ok()).flatten()
}
