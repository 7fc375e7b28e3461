//! The one binary: `downbeat dev` and `serve` run the control plane, `worker` an agent, everything else is a
//! client of them over gRPC.
//!
//! Here are only the start, the logs and the exit code. Each subcommand is a file in `commands`; what they
//! print comes from `words` (names of states), `json` (documents), `board` and `view` (the graph, for people)
//! and `table`. Nothing in this crate decides anything about tasks: the control plane does.

mod args;
mod board;
mod commands;
mod decision;
mod demo;
mod failure;
mod follow;
mod json;
mod logs;
mod out;
mod review;
mod server;
mod table;
mod task_file;
mod term;
mod timing;
mod view;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Cli, out::Out};

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    logs::init(&global, command.is_server());
    let mut out = Out::new(global.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::from(error).report(),
    };
    let result = runtime.block_on(command.run(&mut out));
    // Whatever still reads standard input on a blocking thread must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
