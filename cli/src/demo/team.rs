//! The demo's workers: this very binary, once per specialist, each a process of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use downbeat_sdk::{Client, proto::WorkerState};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{HOLD_ENV, audit::Kind};
use crate::failure::{Failure, Result};

/// Starting six processes takes moments, and longer on a machine that is busy otherwise.
const START_WAIT: Duration = Duration::from_secs(60);
/// A drained worker is gone at once; one that is not is killed.
const END_WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// All worker processes. Dropped, they are killed.
pub(crate) struct Team {
    binary: PathBuf,
    addr: String,
    logs: PathBuf,
    members: Vec<Member>,
}

struct Member {
    name: String,
    process: Child,
}

impl Team {
    pub(crate) fn new(addr: String, logs: &Path) -> Result<Team> {
        fs::create_dir_all(logs)?;
        Ok(Team { binary: std::env::current_exe()?, addr, logs: logs.to_owned(), members: Vec::new() })
    }

    /// Starts a worker for one specialist. One that holds stops in the middle of its work, and waits for its end.
    pub(crate) fn hire(&mut self, name: &str, kind: Kind, hold: bool) -> Result {
        let log = self.log(name);
        let mut command = Command::new(&self.binary);
        command
            .args(["worker", "--addr", &self.addr, "--name", name, "--agent", kind.name()])
            .args(["--capability", "audit", "--domain", "source", "--skill", kind.skill()])
            .args(["--slots", "1", "--log-format", "human", "--log", "info", "--"])
            .arg(&self.binary)
            .args(["demo-agent", kind.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true);
        if hold {
            command.env(HOLD_ENV, "1");
        }
        let process = command
            .spawn()
            .map_err(|error| Failure::failed(format!("cannot start the worker {name}: {error}")))?;
        self.members.push(Member { name: name.to_owned(), process });
        Ok(())
    }

    /// Waits until every worker is connected.
    pub(crate) async fn assembled(&mut self, client: &Client) -> Result {
        let end = Instant::now() + START_WAIT;
        loop {
            let workers = client.workers("").await?;
            let connected = |name: &str| {
                workers.iter().any(|worker| worker.name == name && worker.state() == WorkerState::Connected)
            };
            if self.members.iter().all(|member| connected(&member.name)) {
                return Ok(());
            }
            if let Some(failure) = self.deserted() {
                return Err(failure);
            }
            if Instant::now() >= end {
                let missing: Vec<&str> = self
                    .members
                    .iter()
                    .map(|member| member.name.as_str())
                    .filter(|name| !connected(name))
                    .collect();
                let message = format!("no connection from {} within {START_WAIT:?}", missing.join(", "));
                return Err(self.complaint(missing.first().copied().unwrap_or_default(), &message));
            }
            sleep(POLL).await;
        }
    }

    /// Why the team is no longer complete, if a worker ended by itself.
    pub(crate) fn deserted(&mut self) -> Option<Failure> {
        let (name, status) = self.members.iter_mut().find_map(|member| {
            let status = member.process.try_wait().ok().flatten()?;
            Some((member.name.clone(), status))
        })?;
        Some(self.complaint(&name, &format!("the worker {name} ended: {status}")))
    }

    /// Ends a worker without any warning.
    pub(crate) async fn kill(&mut self, name: &str) -> Result {
        let Some(at) = self.members.iter().position(|member| member.name == name) else {
            return Err(Failure::failed(format!("there is no worker {name} to kill")));
        };
        let mut member = self.members.remove(at);
        Ok(member.process.kill().await?)
    }

    /// Lets all go home.
    pub(crate) async fn dismiss(mut self, client: &Client) {
        for worker in client.workers("").await.unwrap_or_default() {
            // One that cannot be drained is killed below.
            let _ = client.drain_worker(worker.session_id).await;
        }
        for member in &mut self.members {
            let _ = timeout(END_WAIT, member.process.wait()).await;
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// With the last of what the worker logged.
    fn complaint(&self, name: &str, message: &str) -> Failure {
        let log = fs::read_to_string(self.log(name)).unwrap_or_default();
        let last: Vec<String> = log.lines().rev().take(5).map(str::to_owned).collect();
        Failure::failed(message).details(last.into_iter().rev())
    }
}
