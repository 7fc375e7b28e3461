//! `ContextService`: a task's shared context.

use downbeat_proto::v1::{
    self as pb,
    context_service_server::{ContextService, ContextServiceServer},
};
use tonic::{Request, Response, Status};

use super::{answer, error::status, tenant};
use crate::{
    engine::Engine,
    wire::{check, context},
};

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> ContextServiceServer<ContextFace> {
    ContextServiceServer::new(ContextFace { engine })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves shared contexts.
pub(super) struct ContextFace {
    engine: Engine,
}

#[tonic::async_trait]
impl ContextService for ContextFace {
    async fn get_context(
        &self,
        request: Request<pb::GetContextRequest>,
    ) -> Result<Response<pb::GetContextResponse>, Status> {
        let tenant = tenant(&request);
        let pb::GetContextRequest { task_id, key } = request.into_inner();
        context::named(&task_id, &key).map_err(status)?;
        let mut entries = self.engine.context(tenant, &task_id, Some(&key)).await.map_err(status)?;
        answer(pb::GetContextResponse { entry: entries.pop().map(context::entry) })
    }

    async fn list_context(
        &self,
        request: Request<pb::ListContextRequest>,
    ) -> Result<Response<pb::ListContextResponse>, Status> {
        let tenant = tenant(&request);
        let task_id = request.into_inner().task_id;
        check::names(&task_id, None).map_err(status)?;
        let entries = self.engine.context(tenant, &task_id, None).await.map_err(status)?;
        answer(pb::ListContextResponse { entries: entries.into_iter().map(context::entry).collect() })
    }

    async fn put_context(
        &self,
        request: Request<pb::PutContextRequest>,
    ) -> Result<Response<pb::PutContextResponse>, Status> {
        let tenant = tenant(&request);
        let (task_id, change) = context::put(request.into_inner()).map_err(status)?;
        let version = self.engine.write_context(tenant, &task_id, change).await.map_err(status)?;
        answer(pb::PutContextResponse { version })
    }

    async fn delete_context(
        &self,
        request: Request<pb::DeleteContextRequest>,
    ) -> Result<Response<pb::DeleteContextResponse>, Status> {
        let tenant = tenant(&request);
        let (task_id, change) = context::delete(request.into_inner()).map_err(status)?;
        let version = self.engine.write_context(tenant, &task_id, change).await.map_err(status)?;
        answer(pb::DeleteContextResponse { version })
    }
}
