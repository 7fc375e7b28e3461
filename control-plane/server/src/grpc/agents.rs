//! `AgentService`: agents, the workers that serve them, and routing by hand.

use downbeat_proto::v1::{
    self as pb,
    agent_service_server::{AgentService, AgentServiceServer},
};
use tonic::{Request, Response, Status};

use super::{answer, error::status, tenant};
use crate::{
    engine::Engine,
    wire::{filter::serves, proto, request},
};

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> AgentServiceServer<AgentFace> {
    AgentServiceServer::new(AgentFace { engine })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves agents and workers.
pub(super) struct AgentFace {
    engine: Engine,
}

#[tonic::async_trait]
impl AgentService for AgentFace {
    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        let tenant = tenant(&request);
        let filter = request::agents(request.into_inner()).map_err(status)?;
        let agents = self.engine.agents(tenant).await.map_err(status)?;
        let agents = agents.iter().filter(|agent| filter.matches(agent)).map(proto::agent).collect();
        answer(pb::ListAgentsResponse { agents })
    }

    async fn get_agent(
        &self,
        request: Request<pb::GetAgentRequest>,
    ) -> Result<Response<pb::GetAgentResponse>, Status> {
        let tenant = tenant(&request);
        let name = request.into_inner().name;
        request::agent(&name).map_err(status)?;
        let agent = self.engine.agent(tenant, &name).await.map_err(status)?;
        answer(pb::GetAgentResponse { agent: Some(proto::agent(&agent)) })
    }

    async fn list_workers(
        &self,
        request: Request<pb::ListWorkersRequest>,
    ) -> Result<Response<pb::ListWorkersResponse>, Status> {
        let tenant = tenant(&request);
        let agent = request.into_inner().agent;
        let workers = self.engine.workers(tenant).await.map_err(status)?;
        let workers = workers.iter().filter(|worker| serves(worker, &agent)).map(proto::worker).collect();
        answer(pb::ListWorkersResponse { workers })
    }

    async fn get_worker(
        &self,
        request: Request<pb::GetWorkerRequest>,
    ) -> Result<Response<pb::GetWorkerResponse>, Status> {
        let tenant = tenant(&request);
        let session = request::session(request.into_inner().session_id).map_err(status)?;
        let worker = self.engine.worker(tenant, session).await.map_err(status)?;
        answer(pb::GetWorkerResponse { worker: Some(proto::worker(&worker)) })
    }

    async fn drain_worker(
        &self,
        request: Request<pb::DrainWorkerRequest>,
    ) -> Result<Response<pb::DrainWorkerResponse>, Status> {
        let tenant = tenant(&request);
        let session = request::session(request.into_inner().session_id).map_err(status)?;
        let worker = self.engine.drain_worker(tenant, session).await.map_err(status)?;
        answer(pb::DrainWorkerResponse { worker: Some(proto::worker(&worker)) })
    }

    async fn route_subtask(
        &self,
        request: Request<pb::RouteSubtaskRequest>,
    ) -> Result<Response<pb::RouteSubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        request::route(&request).map_err(status)?;
        let pb::RouteSubtaskRequest { task_id, subtask_id, agent } = request;
        let subtask_id = self.engine.route_subtask(tenant, &task_id, &subtask_id, &agent).await;
        answer(pb::RouteSubtaskResponse { subtask_id: subtask_id.map_err(status)? })
    }
}
