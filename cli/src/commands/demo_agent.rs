//! `downbeat demo-agent`.

use std::{io, os::unix::process::parent_id, thread, time::Duration};

use crate::{
    demo::{HOLD_ENV, HOLD_WORDS, audit::Kind, brief::Brief},
    failure::{Exit, Failure, Result},
    out::{self, Out},
};

/// How often an agent that holds looks whether its worker is still there.
const LOOK: Duration = Duration::from_millis(20);
/// It holds no longer than this, should nobody come to kill its worker.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// What the demo's workers run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
}

impl Args {
    /// Reads the brief, does the work, prints the result; each line on standard error is progress.
    pub(crate) fn run(self, out: &mut Out) -> Result {
        let brief: Brief = serde_json::from_reader(io::stdin().lock())
            .map_err(|error| Failure::usage(format!("expected a brief on standard input: {error}")))?;
        let mut progress = |message: &str| out::complain(&format!("{message}\n"));
        if brief.attempt == 1 && std::env::var_os(HOLD_ENV).is_some() {
            hold(&mut progress);
        }
        let result = self.kind.run(&brief, &mut progress);
        let result = result.map_err(|problem| Failure::new(Exit::Failed, problem))?;
        out.json(&result)
    }
}

/// Stops in the middle until the worker is gone.
fn hold(progress: &mut dyn FnMut(&str)) {
    let worker = parent_id();
    progress(HOLD_WORDS);
    let mut held = Duration::ZERO;
    while parent_id() == worker && held < HOLD_MAX {
        thread::sleep(LOOK);
        held += LOOK;
    }
    // Whoever killed the worker got what he wanted; this attempt counts for nothing.
    if parent_id() != worker {
        std::process::exit(1);
    }
}
