//! Why a command ends without success: what is told to people, and the exit code told to scripts.

use std::{io, process::ExitCode};

use downbeat_sdk::Error;

use crate::{out, term};

/// What a subcommand returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// The exit codes; `downbeat --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nobody reads the output any more; no reason to complain.
    Quiet = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    Unreachable = 4,
    NeedsPerson = 5,
}

/// A reason to end, read aloud on standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    details: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// The message says what was expected and what came; empty when everything has been said.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), details: Vec::new(), hint: None }
    }

    /// The caller's command line, or a file of his, cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Something on this machine went wrong.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    /// Adds lines below the message.
    pub(crate) fn details(mut self, details: impl IntoIterator<Item = String>) -> Failure {
        self.details.extend(details);
        self
    }

    /// Says first what could not be done, where nobody answered.
    pub(crate) fn in_vain(mut self, what: &str) -> Failure {
        if self.exit == Exit::Unreachable {
            self.message = format!("cannot {what} without a control plane: {}", self.message);
        }
        self
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Tells it, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            let mut text = format!("downbeat: {}\n", term::printable(&self.message));
            for detail in &self.details {
                text.push_str(&format!("  {}\n", term::printable(detail)));
            }
            if let Some(hint) = &self.hint {
                text.push_str(&format!("  hint: {hint}\n"));
            }
            out::complain(&text);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Rejected { reason, message, fields, .. } => {
                let code = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                let (exit, what) = if error.is_retryable() {
                    (Exit::Unreachable, "the control plane cannot answer now")
                } else {
                    (Exit::Refused, "the control plane refused")
                };
                let count = fields.len();
                let message =
                    if count == 0 { message.clone() } else { format!("{count} problem(s) with the request") };
                let mut failure = Failure::new(exit, format!("{what}: {message}{code}"))
                    .details(fields.iter().map(|bad| format!("{}: {}", bad.field, bad.issue)));
                failure.hint = hint(reason).map(str::to_owned);
                failure
            }
            Error::Unavailable { addr, .. } | Error::DeadlineExceeded { addr, .. } => {
                let hint = format!("name another than {addr} with --addr or DOWNBEAT_ADDR");
                Failure::new(Exit::Unreachable, error.to_string()).hint(hint)
            }
            Error::InvalidAddress { .. }
            | Error::TooLarge { .. }
            | Error::InvalidJson { .. }
            | Error::InvalidDocument { .. }
            | Error::InvalidWorker { .. } => Failure::usage(error.to_string()),
            _ => Failure::failed(error.to_string()),
        }
    }
}

/// What to do about a refusal, by its stable reason.
fn hint(reason: &str) -> Option<&'static str> {
    match reason {
        "TASK_UNKNOWN" => Some("`downbeat tasks` lists the tasks there are"),
        "SUBTASK_UNKNOWN" => Some("`downbeat status TASK` shows the subtasks; a key or a full id will do"),
        "WORKFLOW_UNKNOWN" => Some("`downbeat workflow list` lists the workflows there are"),
        "WORKFLOW_EXISTS" => Some("`downbeat workflow update FILE` adds a version"),
        "WORKFLOW_VERSION_CONFLICT" => {
            Some("`downbeat workflow diff WORKFLOW` shows what the newest changed")
        }
        "TASK_CONFLICT" => Some("`downbeat status TASK` shows the one that exists"),
        "DIGEST_MISMATCH" => Some("what is to be approved has changed: look at it again"),
        "NOT_AN_APPROVER" => {
            Some("`--by` and `--role` say who you are; `downbeat status TASK` shows who may decide")
        }
        "TASK_NOT_STARTED" => Some("start it with `downbeat execute TASK`"),
        "SUBTASK_STATE" => Some("`downbeat status TASK` shows the state of every subtask"),
        _ => None,
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::Quiet, "");
        }
        Failure::failed(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        match error.downcast::<Error>() {
            Ok(error) => Failure::from(error),
            Err(error) => Failure::failed(format!("{error:#}")),
        }
    }
}
