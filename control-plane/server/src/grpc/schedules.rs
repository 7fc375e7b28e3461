//! `ScheduleService`: what starts tasks by time.

use downbeat_proto::v1::{
    self as pb,
    schedule_service_server::{ScheduleService, ScheduleServiceServer},
};
use tonic::{Request, Response, Status};

use super::{answer, error::status, tenant};
use crate::{
    engine::Engine,
    wire::{
        proto,
        schedule::{self, Previewed},
    },
};

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> ScheduleServiceServer<ScheduleFace> {
    ScheduleServiceServer::new(ScheduleFace { engine })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves schedules.
pub(super) struct ScheduleFace {
    engine: Engine,
}

#[tonic::async_trait]
impl ScheduleService for ScheduleFace {
    async fn create_schedule(
        &self,
        request: Request<pb::CreateScheduleRequest>,
    ) -> Result<Response<pb::CreateScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let pb::CreateScheduleRequest { name, spec } = request.into_inner();
        let wanted = schedule::request(name, spec).map_err(status)?;
        let (record, existed) = self.engine.create_schedule(tenant, wanted).await.map_err(status)?;
        answer(pb::CreateScheduleResponse { schedule: Some(proto::schedule(&record)), existed })
    }

    async fn get_schedule(
        &self,
        request: Request<pb::GetScheduleRequest>,
    ) -> Result<Response<pb::GetScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let name = request.into_inner().name;
        schedule::named(&name).map_err(status)?;
        let record = self.engine.schedule(tenant, &name).await.map_err(status)?;
        answer(pb::GetScheduleResponse { schedule: Some(proto::schedule(&record)) })
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Result<Response<pb::ListSchedulesResponse>, Status> {
        let tenant = tenant(&request);
        let (after, limit) = schedule::list(request.into_inner()).map_err(status)?;
        let (found, more) = self.engine.schedules(tenant, &after, limit).await.map_err(status)?;
        answer(proto::schedules(&found, more))
    }

    async fn update_schedule(
        &self,
        request: Request<pb::UpdateScheduleRequest>,
    ) -> Result<Response<pb::UpdateScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let pb::UpdateScheduleRequest { name, spec } = request.into_inner();
        let wanted = schedule::request(name, spec).map_err(status)?;
        let record = self.engine.update_schedule(tenant, wanted).await.map_err(status)?;
        answer(pb::UpdateScheduleResponse { schedule: Some(proto::schedule(&record)) })
    }

    async fn pause_schedule(
        &self,
        request: Request<pb::PauseScheduleRequest>,
    ) -> Result<Response<pb::PauseScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let name = request.name.clone();
        let (by, reason) = schedule::pause(request).map_err(status)?;
        let record = self.engine.pause_schedule(tenant, &name, by, reason).await.map_err(status)?;
        answer(pb::PauseScheduleResponse { schedule: Some(proto::schedule(&record)) })
    }

    async fn resume_schedule(
        &self,
        request: Request<pb::ResumeScheduleRequest>,
    ) -> Result<Response<pb::ResumeScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let name = request.into_inner().name;
        schedule::named(&name).map_err(status)?;
        let record = self.engine.resume_schedule(tenant, &name).await.map_err(status)?;
        answer(pb::ResumeScheduleResponse { schedule: Some(proto::schedule(&record)) })
    }

    async fn trigger_schedule(
        &self,
        request: Request<pb::TriggerScheduleRequest>,
    ) -> Result<Response<pb::TriggerScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let pb::TriggerScheduleRequest { name, trigger_id } = request.into_inner();
        let id = schedule::trigger(&name, trigger_id).map_err(status)?;
        let task_id = self.engine.trigger_schedule(tenant, &name, id).await.map_err(status)?;
        answer(pb::TriggerScheduleResponse { task_id })
    }

    async fn backfill_schedule(
        &self,
        request: Request<pb::BackfillScheduleRequest>,
    ) -> Result<Response<pb::BackfillScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let name = request.name.clone();
        let backfill = schedule::backfill(request).map_err(status)?;
        let task_ids = self.engine.backfill_schedule(tenant, &name, backfill).await.map_err(status)?;
        answer(pb::BackfillScheduleResponse { task_ids })
    }

    async fn preview_schedule(
        &self,
        request: Request<pb::PreviewScheduleRequest>,
    ) -> Result<Response<pb::PreviewScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let (of, count) = schedule::preview(request.into_inner()).map_err(status)?;
        let due = match of {
            Previewed::Named(name) => self.engine.preview_schedule(tenant, &name, count).await,
            Previewed::Timing(timing) => self.engine.preview_timing(timing, count),
        };
        let due = due.map_err(status)?.into_iter().map(|due| due.0);
        answer(pb::PreviewScheduleResponse { due_ms: due.collect() })
    }

    async fn delete_schedule(
        &self,
        request: Request<pb::DeleteScheduleRequest>,
    ) -> Result<Response<pb::DeleteScheduleResponse>, Status> {
        let tenant = tenant(&request);
        let name = request.into_inner().name;
        schedule::named(&name).map_err(status)?;
        self.engine.delete_schedule(tenant, &name).await.map_err(status)?;
        answer(pb::DeleteScheduleResponse {})
    }
}
