//! The command line as a whole: what all subcommands share.

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use downbeat_sdk::{ADDR_DEFAULT, ADDR_ENV, Client};

use crate::{commands::Command, failure::Result};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; a followed task has completed
  1  the followed task failed or was cancelled, or the command itself failed
  2  usage: bad arguments, or a file that cannot be read as what it should be
  3  refused by the control plane: bad request, conflict, not found
  4  the control plane cannot be reached, or gave no answer in time
  5  the followed task waits for a person: approval, review, held subtasks, pause

Start here:
  downbeat demo            audit the current directory with six workers, all on this machine
  downbeat dev             a control plane with an embedded database
  downbeat submit --help   how a task is written";

/// A control plane for teams of specialist agents.
#[derive(Debug, Parser)]
#[command(name = "downbeat", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every subcommand understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// One JSON document, or JSON lines, on standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What is logged to standard error, such as `info` or `downbeat_server=debug`; servers and workers log
    /// `info`, clients `warn`
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG")]
    pub(crate) log: Option<String>,
    /// How it is logged; `human` on a terminal, else `json`
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// For whom logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// Where the control plane is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The control plane's gRPC address; several separated by commas are tried in turn
    #[arg(long, value_name = "URL", env = ADDR_ENV, default_value = ADDR_DEFAULT)]
    pub(crate) addr: String,
    /// How long one call may take, retries included
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

impl Connection {
    /// A client that has reached the control plane.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::builder().addr(&self.addr).deadline(self.timeout).connect().await?)
    }
}

/// Reads a positive number of seconds, such as `30` or `0.5`.
pub(crate) fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let issue = || format!("expected a positive number of seconds such as 30 or 0.5, got {text:?}");
    let seconds: f64 = text.parse().map_err(|_| issue())?;
    if seconds > 0.0 { Duration::try_from_secs_f64(seconds).map_err(|_| issue()) } else { Err(issue()) }
}
