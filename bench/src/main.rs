//! Measures Downbeat end to end: real processes, a real database, gRPC on loopback, and in the same run the
//! fewest row writes that the same database could do the same with.
//!
//! Here are the command line and the order of things. `workloads` holds what is measured, `lab` and `bed` what
//! it runs on, `run` what a client does and how its results are checked, `ceiling` the raw database.

mod bed;
mod ceiling;
mod children;
mod database;
mod figures;
mod lab;
mod postgres;
mod proc;
mod run;
mod worker;
mod workloads;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::{
    figures::Report,
    lab::{Engine, Lab},
    workloads::{WORKLOADS, Workload},
};

/// Measures Downbeat end to end, each figure beside what the bare database can do
///
/// Starts a Postgres of its own, control planes and workers as processes, and stops them all. The binary
/// `downbeat` is the one beside this one.
#[derive(Debug, Parser)]
#[command(name = "downbeat-bench", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// One of the worker processes
    #[command(hide = true)]
    Worker(worker::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which workloads; all of them when none is named
    #[arg(long = "workload", value_name = "NAME", value_delimiter = ',')]
    workloads: Vec<String>,
    /// On which database; both when none is named
    #[arg(long = "engine", value_enum, value_name = "ENGINE", value_delimiter = ',')]
    engines: Vec<Engine>,
    /// Measure on this Postgres instead of a private one; its user must be allowed to create databases
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Small amounts and a few seconds: shows that everything works, and says nothing about speed
    #[arg(long)]
    short: bool,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Where data and logs are kept while it runs; on a real disk [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Another binary than the one beside this one
    #[arg(long, value_name = "FILE")]
    downbeat: Option<PathBuf>,
    /// A setting of the private Postgres, such as `shared_buffers=1GB`
    #[arg(long = "postgres-set", value_name = "NAME=VALUE")]
    postgres_settings: Vec<String>,
}

fn main() -> ExitCode {
    let Cli { part, options } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let done = match part {
        Some(Part::Worker(args)) => runtime.block_on(worker::run(args)),
        None => runtime.block_on(async { tokio::spawn(measure(options)).await? }),
    };
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

#[allow(clippy::print_stderr)]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("downbeat-bench: {error:#}");
    ExitCode::FAILURE
}

async fn measure(options: Options) -> Result<()> {
    let chosen = chosen(&options.workloads)?;
    let engines = match (&options.engines[..], &options.database_url) {
        ([], Some(_)) => vec![Engine::Postgres],
        ([], None) => vec![Engine::Postgres, Engine::Sqlite],
        (named, _) => named.to_vec(),
    };
    let mut report = Report::new(options.json);
    for engine in engines {
        let lab = Lab::open(engine, &options).await?;
        report.preface(&lab.about().await?)?;
        for workload in &chosen {
            let measured = tokio::time::timeout(lab.limit(), (workload.run)(&lab)).await;
            let measured =
                measured.unwrap_or_else(|_| Err(anyhow::anyhow!("not done within {:?}", lab.limit())));
            let measured =
                measured.with_context(|| format!("{} on {engine}{}", workload.name, lab.log_tails()));
            for figures in measured? {
                report.add(figures)?;
            }
        }
        lab.close().await?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Workload>> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let named = |name: &String| match WORKLOADS.iter().find(|workload| workload.name == name) {
        Some(workload) => Ok(workload),
        None => {
            let known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            bail!("no workload {name:?}; there are {}", known.join(", "))
        }
    };
    names.iter().map(named).collect()
}
