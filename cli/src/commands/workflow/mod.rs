//! `downbeat workflow`: stored workflows. What each subcommand does is here or in a file of its own; how a workflow is
//! shown, in `show`.

mod run;
mod show;
mod store;
mod templates;

use clap::Subcommand;
use futures::TryStreamExt;
use serde_json::json;

use crate::{args::Connection, failure::Result, out::Out};

/// Keep plans by name and version, and start tasks from them
///
/// A version never changes: `update` adds one, and `rollback` adds one with the content of an older one. Tasks stay on
/// the version they began with.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A workflow:
  name: release
  description: Build one repository and deploy it
  parameters:                      JSON Schema; the properties are the parameters
    type: object
    properties:
      repo: {type: string}
      env: {enum: [staging, prod], default: staging}
    required: [repo]
  secrets: [DEPLOY_TOKEN]          names only: workers have DOWNBEAT_SECRET_DEPLOY_TOKEN
  plan:
    subtasks:
      - {key: build, agent: builder, input: {repo: {$param: repo}}}
      - key: deploy
        agent: deployer
        depends_on: [build]
        when: context.params.env == 'prod'
        input: {env: {$param: env}, token: {$secret: DEPLOY_TOKEN}}

{$param: NAME} stands for a whole value, in inputs and in place of texts, numbers and truth values. Texts are
never put together, and expressions find parameters as context.params.NAME.

Examples:
  downbeat workflow create release.yaml
  downbeat workflow run release release-42 --param repo=billing --execute --follow
  downbeat workflow update release.yaml --expected-version 1
  downbeat workflow diff release
  downbeat workflow rollback release 1
  downbeat workflow create --template map-reduce")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(store::Create),
    List(List),
    Get(Get),
    Versions(Versions),
    Diff(Diff),
    Update(store::Update),
    Rollback(store::Rollback),
    Delete(store::Delete),
    Run(run::Args),
    Templates(templates::Args),
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        match self.command {
            Command::Create(args) => args.run(out).await,
            Command::List(args) => args.run(out).await,
            Command::Get(args) => args.run(out).await,
            Command::Versions(args) => args.run(out).await,
            Command::Diff(args) => args.run(out).await,
            Command::Update(args) => args.run(out).await,
            Command::Rollback(args) => args.run(out).await,
            Command::Delete(args) => args.run(out).await,
            Command::Run(args) => args.run(out).await,
            Command::Templates(args) => args.run(out),
        }
    }
}

/// List workflows by name, each in its newest version
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    connection: Connection,
}

impl List {
    async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let all: Vec<_> = client.workflows().try_collect().await?;
        if out.json {
            return out.json(&json!({"workflows": all.iter().map(show::line).collect::<Vec<_>>()}));
        }
        if all.is_empty() {
            return out.line("no workflows; `downbeat workflow templates` lists some to begin with");
        }
        show::table(out, &all)
    }
}

/// Show a version of a workflow as the document it was written as
#[derive(Debug, clap::Args)]
struct Get {
    /// Its name
    #[arg(value_name = "WORKFLOW")]
    name: String,
    /// Another version than the newest
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

impl Get {
    async fn run(self, out: &mut Out) -> Result {
        let workflow = self.connection.client().await?.workflow(self.name, self.version).await?;
        out.either(|| show::whole(&workflow), |_| show::document(&workflow))
    }
}

/// List the versions of a workflow, newest first
#[derive(Debug, clap::Args)]
struct Versions {
    /// Its name
    #[arg(value_name = "WORKFLOW")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Versions {
    async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let all: Vec<_> = client.workflow_versions(self.name).try_collect().await?;
        if out.json {
            return out.json(&json!({"versions": all.iter().map(show::line).collect::<Vec<_>>()}));
        }
        show::table(out, &all)
    }
}

/// Show what has changed between two versions
#[derive(Debug, clap::Args)]
struct Diff {
    /// Its name
    #[arg(value_name = "WORKFLOW")]
    name: String,
    /// The older version; the one before the newer if not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    from: Option<u32>,
    /// The newer version; the newest if not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

impl Diff {
    async fn run(self, out: &mut Out) -> Result {
        let name = self.name;
        let answer = self.connection.client().await?.diff_workflow(&name, self.from, self.to).await?;
        let (from, to) = (answer.from, answer.to);
        out.either(
            || json!({"name": name, "from": from, "to": to, "diff": answer.diff}),
            |term| match answer.diff.is_empty() {
                true => vec![format!("versions {from} and {to} of {name} say the same")],
                false => answer.diff.lines().map(|line| show::changed(term, line)).collect(),
            },
        )
    }
}
