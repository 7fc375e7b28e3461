//! `downbeat worker`.

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use clap::ArgGroup;
use downbeat_sdk::{Agent, Ended};
use downbeat_worker::{Config, Error, Exec, Executor, Http};

use crate::{
    args::seconds,
    failure::{Failure, Result},
    task_file,
};

/// Serve an agent: run a command, or call a URL, for each subtask
///
/// For each subtask the command gets the brief as JSON on standard input: input, outputs of dependencies, shared
/// context. What it prints is the result, in JSON; a member "$artifacts" of an object names artifacts. Each line
/// on its standard error is progress. Exit code 65 is a failure that is not worth retrying, any other than 0 a
/// failed attempt; the last of standard error says why. To stop it, SIGTERM is sent, and after the grace time
/// SIGKILL. With `--http` the brief is posted instead, and the answer is the result.
///
/// A result object may write to the shared context of the task: "$context", a list of {"key", "value"}, or "delete": true
/// instead of a value, each perhaps with an "expected_version". A subtask that says `context: [keys]` in its plan finds
/// those in the brief as they are, under "context", and their versions under "context_versions".
///
/// A result object may make the graph grow: "$spawn", a list of subtasks as a plan has them, adds children to the
/// subtask. With "$suspend": true beside it there is no result yet: the command is run again when the children have
/// ended, and finds what they delivered in the brief, under "children". In maps and loops the brief has the "item" and
/// "nth", its place.
///
/// A secret that the input names, {"$secret": "TOKEN"}, is put in from the worker's environment: the variable
/// DOWNBEAT_SECRET_TOKEN, and no variable without that prefix.
///
/// SIGTERM or Ctrl-C drains the worker: it takes nothing new and finishes what it has. A second one ends it.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("executor").args(["http", "command"]).required(true)))]
#[command(after_help = "\
Examples:
  downbeat worker --agent word-count -- sh -c 'jq -r .input.text | wc -w'
  downbeat worker --agent code-review --capability python --slots 4 -- ./review.py --strict
  downbeat worker --agent research --sla 600 --http http://127.0.0.1:8000/research")]
pub(crate) struct Args {
    /// The agent to serve; may be given several times
    #[arg(long = "agent", value_name = "NAME", required = true)]
    agents: Vec<String>,
    /// A capability tag that it has; may be given several times
    #[arg(long = "capability", value_name = "TAG")]
    capabilities: Vec<String>,
    /// How many subtasks it does at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    slots: usize,
    /// A name for people; without it the host's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A label such as zone=a; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// A skill, for people and planners; may be given several times
    #[arg(long = "skill", value_name = "TEXT")]
    skills: Vec<String>,
    /// The domain it works in
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    domain: String,
    /// What it does, for people and planners
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// What it takes, as JSON Schema: the text itself, or @FILE; plans that hand it something else are refused
    #[arg(long, value_name = "SCHEMA")]
    input_schema: Option<String>,
    /// What it delivers, as JSON Schema: the text itself, or @FILE; expressions over its output are checked against it
    #[arg(long, value_name = "SCHEMA")]
    output_schema: Option<String>,
    /// How long an attempt may take, where the plan says nothing
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    sla: Option<Duration>,
    /// An attempt that reports no progress for so long has timed out
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    progress_timeout: Option<Duration>,
    /// How long a draining worker waits for what is in flight
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    drain_timeout: Option<Duration>,
    /// How long a command has between SIGTERM and SIGKILL
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "http")]
    kill_grace: Option<Duration>,
    /// Post the brief to this URL instead of running a command
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// A header such as 'Authorization: Bearer x' to post with; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header, requires = "http")]
    headers: Vec<(String, String)>,
    /// The control plane's gRPC address; several separated by commas are tried in turn
    #[arg(long, value_name = "URL", env = downbeat_sdk::ADDR_ENV, default_value = downbeat_sdk::ADDR_DEFAULT)]
    addr: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) async fn run(self) -> Result {
        let ended = downbeat_worker::run(self.config()?).await.map_err(|error| match error {
            Error::Sdk(error) => Failure::from(error),
            error => Failure::usage(error.to_string()),
        })?;
        match ended {
            Ended::Shutdown | Ended::Drained => Ok(()),
            Ended::TimedOut { unfinished } => Err(Failure::failed(format!(
                "{unfinished} attempt(s) were given up; other workers will take them"
            ))),
        }
    }

    fn config(self) -> Result<Config> {
        let executor = match self.http {
            Some(url) => {
                let http = Http::new(url);
                Executor::Http(
                    self.headers.into_iter().fold(http, |http, (name, value)| http.header(name, value)),
                )
            }
            None => {
                let mut words = self.command.into_iter();
                let command = words.next().ok_or_else(|| Failure::usage("expected a command after `--`"))?;
                let mut exec = Exec::new(command, words);
                exec.kill_grace = self.kill_grace.unwrap_or(exec.kill_grace);
                Executor::Exec(exec)
            }
        };
        let schema = |option: &str, said: &Option<String>| {
            said.as_deref().map(|said| task_file::json(option, said)).transpose()
        };
        let input_schema = schema("--input-schema", &self.input_schema)?;
        let output_schema = schema("--output-schema", &self.output_schema)?;
        let agents = self.agents.iter().map(|name| {
            let agent = Agent::new(name).domain(&self.domain).description(&self.description);
            let agent = self.capabilities.iter().fold(agent, Agent::capability);
            let agent = self.skills.iter().fold(agent, Agent::skill);
            let agent = input_schema.iter().fold(agent, Agent::input_schema);
            let agent = output_schema.iter().fold(agent, Agent::output_schema);
            let agent = self.sla.into_iter().fold(agent, Agent::sla);
            self.progress_timeout.into_iter().fold(agent, Agent::progress_timeout)
        });
        let agents: Vec<Agent> = agents.collect();
        let first = agents.first().cloned().ok_or_else(|| Failure::usage("expected at least one --agent"))?;
        let mut config = Config::new(first, executor);
        config.agents = agents;
        config.addrs = vec![self.addr];
        config.name = self.name;
        config.slots = self.slots;
        config.labels = self.labels.into_iter().collect::<BTreeMap<_, _>>();
        config.build_id = env!("CARGO_PKG_VERSION").to_owned();
        config.drain_timeout = self.drain_timeout.unwrap_or(config.drain_timeout);
        Ok(config)
    }
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected KEY=VALUE such as zone=a, got {text:?}")),
    }
}

fn header(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected NAME: VALUE such as 'Authorization: Bearer x'".to_owned()),
    }
}
