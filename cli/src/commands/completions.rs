//! `downbeat completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{args::Cli, failure::Result, out::Out};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(downbeat completions bash)
  downbeat completions zsh > ~/.zfunc/_downbeat
  downbeat completions fish > ~/.config/fish/completions/downbeat.fish")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, out: &mut Out) -> Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "downbeat", &mut script);
        out.text(&String::from_utf8_lossy(&script))
    }
}
