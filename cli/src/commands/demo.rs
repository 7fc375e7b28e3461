//! `downbeat demo`.

use std::path::PathBuf;

use crate::{demo::Demo, failure::Result, out::Out};

/// Audit a source tree with a team of workers on this machine
///
/// A control plane starts in this process, six workers as processes of their own: a survey, then marks left for
/// later, dependencies, tests and large files beside each other, then a synthesis into a Markdown report. The
/// report is printed and kept as an artifact. Nothing is asked of the network.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat demo
  downbeat demo ~/src/some-project --keep /tmp/audit
  downbeat demo --chaos         one worker is killed in the middle; the task still finishes
  downbeat demo --json | jq -r .report")]
pub(crate) struct Args {
    /// The source tree
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Kill a worker in the middle of its subtask
    #[arg(long)]
    chaos: bool,
    /// Keep database, logs and report in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        Demo { root: self.path, chaos: self.chaos, keep: self.keep }.run(out).await
    }
}
