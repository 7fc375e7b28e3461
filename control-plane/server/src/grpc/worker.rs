//! The worker's stream over gRPC. What a session is stands in `session`.

use std::pin::Pin;

use downbeat_proto::v1::{
    self,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use futures::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::session::Sessions;
use crate::engine::Engine;

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> WorkerServiceServer<WorkerFace> {
    WorkerServiceServer::new(WorkerFace { sessions: Sessions::new(engine) })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves worker sessions.
pub(super) struct WorkerFace {
    sessions: Sessions,
}

type Responses = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for WorkerFace {
    type SessionStream = Responses;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let tenant = super::tenant(&request);
        let accepted = self.sessions.accept(tenant, request.into_inner()).await?;
        let (responses, session) = accepted.start();
        tokio::spawn(session);
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}
