//! Who can do the work: agents and the workers that serve them.

use tonic::transport::Channel;

use crate::{
    Client, Error, ListAgents,
    client::RESPONSE_BYTES_MAX,
    proto::{
        Agent, DrainWorkerRequest, GetAgentRequest, GetWorkerRequest, ListWorkersRequest,
        RouteSubtaskRequest, Worker, agent_service_client::AgentServiceClient,
    },
};

impl Client {
    /// The agents that the filter lets through, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and the like; an empty list is not an error.
    pub async fn agents(&self, filter: ListAgents) -> Result<Vec<Agent>, Error> {
        let request = filter.request;
        let answer =
            self.call(request, |to, request| async { agents(to).list_agents(request).await }).await?;
        Ok(answer.agents)
    }

    /// One agent by name.
    ///
    /// # Errors
    /// [`Error::Rejected`] when no worker ever declared it.
    pub async fn agent(&self, name: impl Into<String>) -> Result<Agent, Error> {
        let request = GetAgentRequest { name: name.into() };
        let answer = self.call(request, |to, request| async { agents(to).get_agent(request).await }).await?;
        answer.agent.ok_or(Error::Incomplete { rpc: "GetAgent", missing: "the agent" })
    }

    /// The workers that serve `agent`; all of them when it is empty.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and the like; an empty list is not an error.
    pub async fn workers(&self, agent: impl Into<String>) -> Result<Vec<Worker>, Error> {
        let request = ListWorkersRequest { agent: agent.into() };
        let answer =
            self.call(request, |to, request| async { agents(to).list_workers(request).await }).await?;
        Ok(answer.workers)
    }

    /// One worker by the id of its session.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such session.
    pub async fn worker(&self, session_id: i64) -> Result<Worker, Error> {
        let request = GetWorkerRequest { session_id };
        let answer = self.call(request, |to, request| async { agents(to).get_worker(request).await }).await?;
        answer.worker.ok_or(Error::Incomplete { rpc: "GetWorker", missing: "the worker" })
    }

    /// Drains a worker: it gets nothing new, finishes what it has, and says goodbye.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such session.
    pub async fn drain_worker(&self, session_id: i64) -> Result<Worker, Error> {
        let request = DrainWorkerRequest { session_id };
        let answer =
            self.call(request, |to, request| async { agents(to).drain_worker(request).await }).await?;
        answer.worker.ok_or(Error::Incomplete { rpc: "DrainWorker", missing: "the worker" })
    }

    /// Sends a ready or blocked subtask, named by id or key, to `agent`, whatever its capabilities. Answers with
    /// the id of the subtask.
    ///
    /// # Errors
    /// [`Error::Rejected`], for example when the subtask is running or has ended.
    pub async fn route_subtask(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
        agent: impl Into<String>,
    ) -> Result<String, Error> {
        let request =
            RouteSubtaskRequest { task_id: task_id.into(), subtask_id: subtask.into(), agent: agent.into() };
        let answer =
            self.call(request, |to, request| async { agents(to).route_subtask(request).await }).await?;
        Ok(answer.subtask_id)
    }
}

/// The generated client of the agent service, with our limits.
pub(crate) fn agents(to: Channel) -> AgentServiceClient<Channel> {
    AgentServiceClient::new(to).max_decoding_message_size(RESPONSE_BYTES_MAX)
}
