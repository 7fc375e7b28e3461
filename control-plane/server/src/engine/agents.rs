//! Who can do the work: agents, and the workers that serve them.

use std::collections::BTreeMap;

use downbeat_core::{
    command::Command,
    id::{SessionNo, TenantNo},
    session::{Session, SessionState},
};

use super::Engine;
use crate::{
    committer::Input,
    failure::Failure,
    view::{AgentView, Health, WorkerView},
};

impl Engine {
    /// All agents ever registered, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn agents(&self, tenant: TenantNo) -> Result<Vec<AgentView>, Failure> {
        let seen = self.store.agents(tenant).await?;
        let workers = self.workers(tenant).await?;
        let live = |worker: &&WorkerView| worker.session.state != SessionState::Expired;
        let views = seen.into_iter().map(|seen| {
            let serving: Vec<&WorkerView> = workers
                .iter()
                .filter(live)
                .filter(|w| w.session.declaration.agents.iter().any(|a| a.name == seen.declaration.name))
                .collect();
            let open = serving.iter().filter(|w| w.session.state == SessionState::Open);
            let health = match (open.count(), serving.len()) {
                (0, 0) => Health::Offline,
                (0, _) => Health::Degraded,
                (_, _) => Health::Healthy,
            };
            AgentView {
                declaration: seen.declaration,
                health,
                workers: u32::try_from(serving.len()).unwrap_or(u32::MAX),
                slots: serving.iter().map(|w| w.session.declaration.slots).sum(),
                busy: serving.iter().map(|w| w.busy).sum(),
                last_seen: seen.at,
            }
        });
        Ok(views.collect())
    }

    /// One agent.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn agent(&self, tenant: TenantNo, name: &str) -> Result<AgentView, Failure> {
        let found = self.agents(tenant).await?.into_iter().find(|agent| agent.declaration.name == name);
        found.ok_or_else(|| Failure::NotFound { what: "agent", name: name.to_owned() })
    }

    /// All sessions of the tenant.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn workers(&self, tenant: TenantNo) -> Result<Vec<WorkerView>, Failure> {
        let busy: BTreeMap<SessionNo, u32> = self.store.lease_counts(tenant).await?.into_iter().collect();
        let sessions = self.store.sessions().await?.into_iter().filter(|row| row.tenant == tenant);
        let view =
            |session: Session| WorkerView { busy: busy.get(&session.no).copied().unwrap_or(0), session };
        Ok(sessions.map(view).collect())
    }

    /// One session.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn worker(&self, tenant: TenantNo, session: SessionNo) -> Result<WorkerView, Failure> {
        let found = self.workers(tenant).await?.into_iter().find(|worker| worker.session.no == session);
        found.ok_or_else(|| Failure::NotFound { what: "worker", name: session.to_string() })
    }

    /// Lets a worker finish what it has and go.
    ///
    /// # Errors
    /// `NotFound`, `Reject(SessionUnknown)` when it is not connected, `Unavailable`.
    pub async fn drain_worker(&self, tenant: TenantNo, session: SessionNo) -> Result<WorkerView, Failure> {
        self.worker(tenant, session).await?;
        self.decide(Command::DrainSession { session }).await?;
        self.send(Input::LookAtSessions).await?;
        self.worker(tenant, session).await
    }
}
