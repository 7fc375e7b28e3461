//! Which agents and workers a list shows.

use crate::view::{AgentView, Health, WorkerView};

/// Agents by what they declare and how they are; what is not given matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFilter {
    pub domain: String,
    pub capability: String,
    pub health: Option<Health>,
}

impl AgentFilter {
    pub(crate) fn matches(&self, agent: &AgentView) -> bool {
        let declared = &agent.declaration;
        (self.domain.is_empty() || self.domain == declared.domain)
            && (self.capability.is_empty() || declared.capabilities.contains(&self.capability))
            && self.health.is_none_or(|health| health == agent.health)
    }
}

/// Whether a worker serves the agent; an empty name matches all.
pub(crate) fn serves(worker: &WorkerView, agent: &str) -> bool {
    agent.is_empty() || worker.session.declaration.agents.iter().any(|declared| declared.name == agent)
}
