//! The subcommands, one file each: what it is called with, its help, and what it does.

mod agents;
mod approve;
mod cancel;
mod complete;
mod completions;
mod context;
mod demo;
mod demo_agent;
mod dev;
mod drain;
mod events;
mod execute;
mod fail;
mod follow;
mod fork;
mod lint;
mod migrate;
mod output;
mod pause;
mod reject;
mod release;
mod rerun;
mod restore;
mod retry;
mod route;
mod schedule;
mod serve;
mod signal;
mod skip;
mod snapshot;
mod status;
mod submit;
mod tasks;
mod worker;
mod workers;
mod workflow;

use clap::Subcommand;

use crate::{failure::Result, out::Out};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Dev(dev::Args),
    Serve(serve::Args),
    Migrate(migrate::Args),
    Worker(worker::Args),
    Submit(submit::Args),
    Lint(lint::Args),
    Workflow(workflow::Args),
    Execute(execute::Args),
    Status(status::Args),
    Follow(follow::Args),
    Tasks(tasks::Args),
    Agents(agents::Args),
    Workers(workers::Args),
    Cancel(cancel::Args),
    Pause(pause::Args),
    Approve(approve::Args),
    Reject(reject::Args),
    Signal(signal::Args),
    Retry(retry::Args),
    Skip(skip::Args),
    Fail(fail::Args),
    Complete(complete::Args),
    Release(release::Args),
    Rerun(rerun::Args),
    Context(context::Args),
    Snapshot(snapshot::Args),
    Restore(restore::Args),
    Fork(fork::Args),
    Route(route::Args),
    Schedule(schedule::Args),
    Drain(drain::Args),
    Events(events::Args),
    Output(output::Args),
    Completions(completions::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoAgent(demo_agent::Args),
}

impl Command {
    /// Whether it stays and serves others: its log is then its voice.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Command::Dev(_) | Command::Serve(_) | Command::Migrate(_) | Command::Worker(_))
    }

    pub(crate) async fn run(self, out: &mut Out) -> Result {
        match self {
            Command::Dev(args) => args.run(out).await,
            Command::Serve(args) => args.run(out).await,
            Command::Migrate(args) => args.run(out).await,
            Command::Worker(args) => args.run().await,
            Command::Submit(args) => args.run(out).await,
            Command::Execute(args) => args.run(out).await,
            Command::Status(args) => args.run(out).await,
            Command::Follow(args) => args.run(out).await,
            Command::Tasks(args) => args.run(out).await,
            Command::Agents(args) => args.run(out).await,
            Command::Workers(args) => args.run(out).await,
            Command::Cancel(args) => args.run(out).await,
            Command::Pause(args) => args.run(out).await,
            Command::Retry(args) => args.run(out).await,
            Command::Skip(args) => args.run(out).await,
            Command::Fail(args) => args.run(out).await,
            Command::Complete(args) => args.run(out).await,
            Command::Release(args) => args.run(out).await,
            Command::Route(args) => args.run(out).await,
            Command::Schedule(args) => args.run(out).await,
            Command::Drain(args) => args.run(out).await,
            Command::Events(args) => args.run(out).await,
            Command::Output(args) => args.run(out).await,
            Command::Lint(args) => args.run(out).await,
            Command::Workflow(args) => args.run(out).await,
            Command::Approve(args) => args.run(out).await,
            Command::Reject(args) => args.run(out).await,
            Command::Signal(args) => args.run(out).await,
            Command::Rerun(args) => args.run(out).await,
            Command::Context(args) => args.run(out).await,
            Command::Snapshot(args) => args.run(out).await,
            Command::Restore(args) => args.run(out).await,
            Command::Fork(args) => args.run(out).await,
            Command::Completions(args) => args.run(out),
            Command::Demo(args) => args.run(out).await,
            Command::DemoAgent(args) => args.run(out),
        }
    }
}
