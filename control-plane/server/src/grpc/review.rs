//! `ReviewService`: what a person does with one subtask.

use downbeat_core::{command::Action, id::TenantNo};
use downbeat_proto::v1::{
    self as pb,
    review_service_server::{ReviewService, ReviewServiceServer},
};
use tonic::{Request, Response, Status};

use super::{answer, error::status, tenant};
use crate::{
    engine::Engine,
    wire::{check, request, words::Word},
};

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> ReviewServiceServer<ReviewFace> {
    ReviewServiceServer::new(ReviewFace { engine })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves reviews.
pub(super) struct ReviewFace {
    engine: Engine,
}

impl ReviewFace {
    /// Gives the number of the subtask's new state.
    async fn act(
        &self,
        tenant: TenantNo,
        task: &str,
        subtask: &str,
        action: Action,
        by: &str,
    ) -> Result<i32, Status> {
        let by = request::by(by).map_err(status)?;
        let state = self.engine.review(tenant, task, subtask, action, by).await.map_err(status)?;
        Ok(state.proto())
    }
}

#[tonic::async_trait]
impl ReviewService for ReviewFace {
    async fn retry_subtask(
        &self,
        request: Request<pb::RetrySubtaskRequest>,
    ) -> Result<Response<pb::RetrySubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::RetrySubtaskRequest { task_id, subtask_id, by } = request.into_inner();
        check::names(&task_id, Some(&subtask_id)).map_err(status)?;
        let state = self.act(tenant, &task_id, &subtask_id, Action::Retry, &by).await?;
        answer(pb::RetrySubtaskResponse { state })
    }

    async fn skip_subtask(
        &self,
        request: Request<pb::SkipSubtaskRequest>,
    ) -> Result<Response<pb::SkipSubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::SkipSubtaskRequest { task_id, subtask_id, reason, by } = request.into_inner();
        let reason = request::subtask_reason(&task_id, &subtask_id, &reason).map_err(status)?;
        let state = self.act(tenant, &task_id, &subtask_id, Action::Skip { reason }, &by).await?;
        answer(pb::SkipSubtaskResponse { state })
    }

    async fn fail_subtask(
        &self,
        request: Request<pb::FailSubtaskRequest>,
    ) -> Result<Response<pb::FailSubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::FailSubtaskRequest { task_id, subtask_id, reason, by } = request.into_inner();
        let reason = request::subtask_reason(&task_id, &subtask_id, &reason).map_err(status)?;
        let state = self.act(tenant, &task_id, &subtask_id, Action::Fail { reason }, &by).await?;
        answer(pb::FailSubtaskResponse { state })
    }

    async fn complete_subtask(
        &self,
        request: Request<pb::CompleteSubtaskRequest>,
    ) -> Result<Response<pb::CompleteSubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let output = request::completion(&request).map_err(status)?;
        let action = Action::Complete { output };
        let state = self.act(tenant, &request.task_id, &request.subtask_id, action, &request.by).await?;
        answer(pb::CompleteSubtaskResponse { state })
    }

    async fn release_subtask(
        &self,
        request: Request<pb::ReleaseSubtaskRequest>,
    ) -> Result<Response<pb::ReleaseSubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::ReleaseSubtaskRequest { task_id, subtask_id, by } = request.into_inner();
        check::names(&task_id, Some(&subtask_id)).map_err(status)?;
        let state = self.act(tenant, &task_id, &subtask_id, Action::Release, &by).await?;
        answer(pb::ReleaseSubtaskResponse { state })
    }

    async fn decide_subtask(
        &self,
        request: Request<pb::DecideSubtaskRequest>,
    ) -> Result<Response<pb::DecideSubtaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let (task, subtask) = (request.task_id.clone(), request.subtask_id.clone());
        let decision = request::decision(request).map_err(status)?;
        let state = self.engine.decide_subtask(tenant, &task, &subtask, decision).await.map_err(status)?;
        answer(pb::DecideSubtaskResponse { state: state.proto() })
    }
}
