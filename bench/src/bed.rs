//! What one workload runs on: an empty database, control planes and workers as processes.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use downbeat_sdk::{Client, Retry, proto::WorkerState};
use rustix::process::Signal;
use serde_json::Value;

use crate::{children::Process, database::Database, lab::Lab, proc};

/// How long workers may take to connect, all together.
const CONNECT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
const CALL: Duration = Duration::from_secs(60);

/// A running installation.
pub(crate) struct Bed<'a> {
    lab: &'a Lab,
    pub(crate) database: Database,
    planes: Vec<Plane>,
    workers: Vec<Process>,
    sessions: usize,
}

struct Plane {
    process: Process,
    grpc: String,
}

/// Worker processes to start.
#[derive(Clone, Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) processes: usize,
    /// Of each process.
    pub(crate) sessions: usize,
    /// Of each session.
    pub(crate) slots: usize,
    pub(crate) agents: &'a [&'a str],
    /// Keep every lease and finish nothing.
    pub(crate) hold: bool,
}

impl Crew<'static> {
    /// One process with one session that does nothing as fast as it can.
    pub(crate) fn idle(slots: usize) -> Crew<'static> {
        Crew { processes: 1, sessions: 1, slots, agents: &["noop"], hold: false }
    }
}

/// Processor time used so far, in seconds, and what the database did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) server_s: f64,
    pub(crate) workers_s: f64,
    pub(crate) client_s: f64,
    pub(crate) database_s: Option<f64>,
    pub(crate) counters: Option<crate::database::Counters>,
}

impl<'a> Bed<'a> {
    /// Replicas on an empty database; `more` are arguments of each.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) async fn start(lab: &'a Lab, replicas: usize, more: &[&str]) -> Result<Bed<'a>> {
        let database = lab.database().await?;
        let mut bed = Bed { lab, database, planes: Vec::new(), workers: Vec::new(), sessions: 0 };
        for number in 0..replicas {
            let mut command = Command::new(&lab.downbeat);
            command.args(bed.database.args()).args(more);
            command.args(["--json", "--log", "warn", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]);
            for (name, _) in
                std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOWNBEAT_"))
            {
                command.env_remove(name);
            }
            let mut process = lab.nursery.spawn(&format!("control-plane-{number}"), command, Signal::KILL)?;
            let said: Value = serde_json::from_str(&process.line().await?)?;
            let grpc = said["grpc"].as_str().context("a control plane says where it is")?.to_owned();
            bed.planes.push(Plane { process, grpc });
        }
        Ok(bed)
    }

    /// Starts workers, spread over the replicas, and waits until all are connected.
    ///
    /// # Errors
    /// When they are not connected in time.
    pub(crate) async fn hire(&mut self, crew: &Crew<'_>) -> Result<()> {
        for _ in 0..crew.processes {
            let number = self.workers.len();
            // Each knows all replicas, and begins with another one.
            let mut addrs: Vec<&str> = self.planes.iter().map(|plane| plane.grpc.as_str()).collect();
            let first = number % addrs.len();
            addrs.rotate_left(first);
            let mut command = Command::new(&self.lab.bench);
            command.args(["worker", "--addr", &addrs.join(",")]);
            command.args(["--slots", &crew.slots.to_string(), "--sessions", &crew.sessions.to_string()]);
            for agent in crew.agents {
                command.args(["--agent", agent]);
            }
            if crew.hold {
                command.arg("--hold");
            }
            self.workers.push(self.lab.nursery.spawn(&format!("worker-{number}"), command, Signal::KILL)?);
        }
        self.sessions += crew.processes * crew.sessions;
        tokio::time::timeout(CONNECT, self.connected()).await.context("the workers do not connect")?
    }

    async fn connected(&self) -> Result<()> {
        let client = self.client()?;
        loop {
            let workers = client.workers("").await?;
            let connected = workers.iter().filter(|worker| worker.state() == WorkerState::Connected);
            if connected.count() == self.sessions {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A client of the first replica.
    ///
    /// # Errors
    /// None that a running control plane gives.
    pub(crate) fn client(&self) -> Result<Client> {
        self.clients()?.into_iter().next().context("a replica")
    }

    /// A client of each replica.
    ///
    /// # Errors
    /// None that a running control plane gives.
    pub(crate) fn clients(&self) -> Result<Vec<Client>> {
        let client = |plane: &Plane| {
            let client = Client::builder().addr(&plane.grpc).deadline(CALL).retry(Retry::none());
            Ok(client.connect_lazy()?)
        };
        self.planes.iter().map(client).collect()
    }

    /// Ends the first replica without a word.
    ///
    /// # Errors
    /// When it has ended before.
    pub(crate) async fn kill_first(&mut self) -> Result<()> {
        let mut first = self.planes.remove(0).process;
        if first.has_ended() {
            bail!("a process ended before it was killed:\n{}", first.log_tail());
        }
        first.stop().await
    }

    /// Where the first replica serves gRPC.
    pub(crate) fn grpc(&self) -> &str {
        &self.planes[0].grpc
    }

    /// The process of the first replica.
    pub(crate) fn server_pid(&self) -> u32 {
        self.planes[0].process.pid()
    }

    /// What was used so far.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        Ok(Usage {
            server_s: self.planes.iter().map(|plane| proc::cpu_s(plane.process.pid())).sum(),
            workers_s: self.workers.iter().map(|worker| proc::cpu_s(worker.pid())).sum(),
            client_s: proc::cpu_s(std::process::id()),
            database_s: self.lab.database_cpu_s(),
            counters: self.database.counters().await?,
        })
    }

    /// Stops everything and removes the database.
    ///
    /// # Errors
    /// When a process has ended before: a workload that lost one has measured something else.
    pub(crate) async fn stop(self) -> Result<()> {
        let planes = self.planes.into_iter().map(|plane| plane.process);
        for mut process in self.workers.into_iter().chain(planes) {
            if process.has_ended() {
                bail!("a process ended before it was stopped:\n{}", process.log_tail());
            }
            process.stop().await?;
        }
        self.database.remove().await
    }
}
