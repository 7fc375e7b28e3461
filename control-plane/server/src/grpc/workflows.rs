//! `WorkflowService`: stored workflows.

use downbeat_proto::v1::{
    self as pb,
    workflow_service_server::{WorkflowService, WorkflowServiceServer},
};
use tonic::{Request, Response, Status};

use super::{answer, error::status, tenant};
use crate::{
    engine::Engine,
    wire::{proto, workflow::proto as wire},
};

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> WorkflowServiceServer<WorkflowFace> {
    WorkflowServiceServer::new(WorkflowFace { engine })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves stored workflows.
pub(super) struct WorkflowFace {
    engine: Engine,
}

#[tonic::async_trait]
impl WorkflowService for WorkflowFace {
    async fn create_workflow(
        &self,
        request: Request<pb::CreateWorkflowRequest>,
    ) -> Result<Response<pb::CreateWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let new = wire::creation(request.into_inner()).map_err(status)?;
        let stored = self.engine.create_workflow(tenant, new).await.map_err(status)?;
        let workflow = Some(wire::workflow(&stored.view));
        answer(pb::CreateWorkflowResponse { workflow, existed: stored.existed })
    }

    async fn get_workflow(
        &self,
        request: Request<pb::GetWorkflowRequest>,
    ) -> Result<Response<pb::GetWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let pb::GetWorkflowRequest { name, version } = request.into_inner();
        wire::named(&name).map_err(status)?;
        let view = self.engine.workflow(tenant, &name, wire::given(version)).await.map_err(status)?;
        answer(pb::GetWorkflowResponse { workflow: Some(wire::workflow(&view)) })
    }

    async fn list_workflows(
        &self,
        request: Request<pb::ListWorkflowsRequest>,
    ) -> Result<Response<pb::ListWorkflowsResponse>, Status> {
        let tenant = tenant(&request);
        let (after, limit) = wire::workflows(&request.into_inner()).map_err(status)?;
        let page = self.engine.workflows(tenant, &after, limit).await.map_err(status)?;
        answer(wire::workflows_page(&page))
    }

    async fn list_workflow_versions(
        &self,
        request: Request<pb::ListWorkflowVersionsRequest>,
    ) -> Result<Response<pb::ListWorkflowVersionsResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let (before, limit) = wire::versions(&request).map_err(status)?;
        let page = self.engine.workflow_versions(tenant, &request.name, before, limit).await;
        answer(wire::versions_page(&page.map_err(status)?))
    }

    async fn update_workflow(
        &self,
        request: Request<pb::UpdateWorkflowRequest>,
    ) -> Result<Response<pb::UpdateWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let new = wire::update(request.into_inner()).map_err(status)?;
        let stored = self.engine.update_workflow(tenant, new).await.map_err(status)?;
        let workflow = Some(wire::workflow(&stored.view));
        answer(pb::UpdateWorkflowResponse { workflow, existed: stored.existed })
    }

    async fn roll_back_workflow(
        &self,
        request: Request<pb::RollBackWorkflowRequest>,
    ) -> Result<Response<pb::RollBackWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let name = request.name.clone();
        let to = wire::rollback(request).map_err(status)?;
        let stored = self.engine.roll_back_workflow(tenant, &name, to).await.map_err(status)?;
        let workflow = Some(wire::workflow(&stored.view));
        answer(pb::RollBackWorkflowResponse { workflow, existed: stored.existed })
    }

    async fn diff_workflow(
        &self,
        request: Request<pb::DiffWorkflowRequest>,
    ) -> Result<Response<pb::DiffWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let pb::DiffWorkflowRequest { name, from, to } = request.into_inner();
        wire::named(&name).map_err(status)?;
        let found = self.engine.diff_workflow(tenant, &name, wire::given(from), wire::given(to)).await;
        let found = found.map_err(status)?;
        answer(pb::DiffWorkflowResponse { from: found.from, to: found.to, diff: found.diff })
    }

    async fn delete_workflow(
        &self,
        request: Request<pb::DeleteWorkflowRequest>,
    ) -> Result<Response<pb::DeleteWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let name = request.into_inner().name;
        wire::named(&name).map_err(status)?;
        let version = self.engine.delete_workflow(tenant, &name).await.map_err(status)?;
        answer(pb::DeleteWorkflowResponse { version })
    }

    async fn run_workflow(
        &self,
        request: Request<pb::RunWorkflowRequest>,
    ) -> Result<Response<pb::RunWorkflowResponse>, Status> {
        let tenant = tenant(&request);
        let start = wire::run(tenant, request.into_inner()).map_err(status)?;
        let submitted = self.engine.start(start).await.map_err(status)?;
        let task = Some(proto::task(&submitted.view));
        answer(pb::RunWorkflowResponse { task, existed: submitted.existed })
    }
}
