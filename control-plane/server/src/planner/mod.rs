//! The planner port: how a request without a plan is decomposed. Behind it stand rules; a model comes later.
//! Whatever a planner returns passes the same validator as a client's own plan.

pub mod rules;

use downbeat_core::{check::Violation, draft::Draft, session::AgentDeclaration, task::Priority};
use futures::future::BoxFuture;

/// What a planner sees.
#[derive(Clone, Debug)]
pub struct PlanRequest<'a> {
    pub task_id: &'a str,
    pub title: &'a str,
    pub description: &'a str,
    pub priority: Priority,
    /// A JSON object.
    pub metadata: &'a [u8],
    /// Registered agents, by name.
    pub agents: &'a [AgentDeclaration],
}

/// Decomposes a request into subtasks.
pub trait Planner: Send + Sync + 'static {
    /// # Errors
    /// Violations that tell the client what to change.
    fn plan<'a>(&'a self, request: &'a PlanRequest<'a>) -> BoxFuture<'a, Result<Vec<Draft>, Vec<Violation>>>;
}
