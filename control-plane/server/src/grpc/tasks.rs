//! `TaskService`: submit, execute and follow tasks.

use downbeat_core::task::TaskStatus;
use downbeat_proto::v1::{
    self as pb,
    task_service_server::{TaskService, TaskServiceServer},
};
use futures::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{answer, error::status, tenant};
use crate::{
    engine::Engine,
    failure::{Failure, RETRY_AFTER_MS},
    follow::Follower,
    view::EventPage,
    wire::{check, context, past, proto, request, words::Word},
};

/// Events read at once for a follower.
const WATCH_PAGE: u32 = 200;

/// The service, ready to be routed.
pub(super) fn service(engine: Engine) -> TaskServiceServer<TaskFace> {
    TaskServiceServer::new(TaskFace { engine })
        .max_decoding_message_size(super::DECODE_BYTES_MAX)
        .max_encoding_message_size(super::ENCODE_BYTES_MAX)
}

/// Serves tasks.
pub(super) struct TaskFace {
    engine: Engine,
}

#[tonic::async_trait]
impl TaskService for TaskFace {
    async fn submit_task(
        &self,
        request: Request<pb::SubmitTaskRequest>,
    ) -> Result<Response<pb::SubmitTaskResponse>, Status> {
        let tenant = tenant(&request);
        let submission = request::submission(tenant, request.into_inner()).map_err(status)?;
        let submitted = self.engine.submit(submission).await.map_err(status)?;
        let task = Some(proto::task(&submitted.view));
        answer(pb::SubmitTaskResponse { task, existed: submitted.existed })
    }

    async fn execute_task(
        &self,
        request: Request<pb::ExecuteTaskRequest>,
    ) -> Result<Response<pb::ExecuteTaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let id = request.task_id.clone();
        let execution = request::execution(request).map_err(status)?;
        let executed = self.engine.execute(tenant, &id, execution.mode, &execution.checkpoints).await;
        answer(proto::executed(&executed.map_err(status)?))
    }

    async fn get_task(
        &self,
        request: Request<pb::GetTaskRequest>,
    ) -> Result<Response<pb::GetTaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        check::names(&request.task_id, None).map_err(status)?;
        let mut view =
            self.engine.task(tenant, &request.task_id, request.omit_outputs).await.map_err(status)?;
        view.with_replaced = request.replaced;
        answer(pb::GetTaskResponse { task: Some(proto::task(&view)) })
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Result<Response<pb::ListTasksResponse>, Status> {
        let tenant = tenant(&request);
        let list = request::tasks(tenant, request.into_inner()).map_err(status)?;
        let page = self.engine.list(&list).await.map_err(status)?;
        answer(proto::tasks(&page))
    }

    async fn cancel_task(
        &self,
        request: Request<pb::CancelTaskRequest>,
    ) -> Result<Response<pb::CancelTaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let reason = request::task_reason(&request.task_id, &request.reason).map_err(status)?;
        let now = self.engine.cancel(tenant, &request.task_id, reason, request.compensate).await;
        let now = now.map_err(status)?;
        answer(pb::CancelTaskResponse { status: TaskStatus::proto(now) })
    }

    async fn pause_task(
        &self,
        request: Request<pb::PauseTaskRequest>,
    ) -> Result<Response<pb::PauseTaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        check::names(&request.task_id, None).map_err(status)?;
        let now = self.engine.pause(tenant, &request.task_id).await.map_err(status)?;
        answer(pb::PauseTaskResponse { status: TaskStatus::proto(now) })
    }

    type WatchTaskStream = BoxStream<'static, Result<pb::WatchTaskResponse, Status>>;

    async fn watch_task(
        &self,
        request: Request<pb::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        request::watch(&request).map_err(status)?;
        let (id, after) = (&request.task_id, request.after);
        let follower = Follower::new(&self.engine, tenant, id, after, WATCH_PAGE).await.map_err(status)?;
        Ok(Response::new(events(follower, self.engine.stop.clone()).boxed()))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let limit = request::events(&request).map_err(status)?;
        let page = self.engine.events(tenant, &request.task_id, request.after, limit).await;
        answer(proto::events(&page.map_err(status)?, limit))
    }

    async fn get_output(
        &self,
        request: Request<pb::GetOutputRequest>,
    ) -> Result<Response<pb::GetOutputResponse>, Status> {
        let tenant = tenant(&request);
        let pb::GetOutputRequest { task_id, subtask_id } = request.into_inner();
        check::names(&task_id, Some(&subtask_id)).map_err(status)?;
        let delivered = self.engine.output(tenant, &task_id, &subtask_id).await.map_err(status)?;
        answer(proto::output(delivered))
    }

    async fn signal_task(
        &self,
        request: Request<pb::SignalTaskRequest>,
    ) -> Result<Response<pb::SignalTaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let id = request.task_id.clone();
        let signal = request::signal(request).map_err(status)?;
        let taken = self.engine.signal(tenant, &id, signal).await.map_err(status)?;
        answer(pb::SignalTaskResponse { taken })
    }

    async fn rerun_task(
        &self,
        request: Request<pb::RerunTaskRequest>,
    ) -> Result<Response<pb::RerunTaskResponse>, Status> {
        let tenant = tenant(&request);
        let request = request.into_inner();
        let id = request.task_id.clone();
        let rerun = request::rerun(request).map_err(status)?;
        let (now, subtask_ids) = self.engine.rerun(tenant, &id, rerun).await.map_err(status)?;
        answer(pb::RerunTaskResponse { status: TaskStatus::proto(now), subtask_ids })
    }

    async fn snapshot_task(
        &self,
        request: Request<pb::SnapshotTaskRequest>,
    ) -> Result<Response<pb::SnapshotTaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::SnapshotTaskRequest { task_id, name, by } = request.into_inner();
        let by = past::snapshot(&task_id, &name, &by).map_err(status)?;
        let taken = self.engine.snapshot(tenant, &task_id, &name, by).await.map_err(status)?;
        answer(pb::SnapshotTaskResponse { snapshot: Some(proto::snapshot(&taken)) })
    }

    async fn list_snapshots(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let tenant = tenant(&request);
        let task_id = request.into_inner().task_id;
        check::names(&task_id, None).map_err(status)?;
        let kept = self.engine.snapshots(tenant, &task_id).await.map_err(status)?;
        answer(pb::ListSnapshotsResponse { snapshots: kept.iter().map(proto::snapshot).collect() })
    }

    async fn diff_snapshots(
        &self,
        request: Request<pb::DiffSnapshotsRequest>,
    ) -> Result<Response<pb::DiffSnapshotsResponse>, Status> {
        let tenant = tenant(&request);
        let pb::DiffSnapshotsRequest { task_id, from, to } = request.into_inner();
        context::diff(&task_id, &from, &to).map_err(status)?;
        let to = Some(to.as_str()).filter(|to| !to.is_empty());
        let found = self.engine.diff(tenant, &task_id, &from, to).await.map_err(status)?;
        answer(context::difference(found))
    }

    async fn restore_task(
        &self,
        request: Request<pb::RestoreTaskRequest>,
    ) -> Result<Response<pb::RestoreTaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::RestoreTaskRequest { task_id, snapshot, by } = request.into_inner();
        let by = past::restoration(&task_id, &snapshot, &by).map_err(status)?;
        let (now, subtask_ids) =
            self.engine.restore(tenant, &task_id, &snapshot, by).await.map_err(status)?;
        answer(pb::RestoreTaskResponse { status: TaskStatus::proto(now), subtask_ids })
    }

    async fn fork_task(
        &self,
        request: Request<pb::ForkTaskRequest>,
    ) -> Result<Response<pb::ForkTaskResponse>, Status> {
        let tenant = tenant(&request);
        let pb::ForkTaskRequest { task_id, new_task_id, at, execute } = request.into_inner();
        let point = past::fork(&task_id, &new_task_id, at).map_err(status)?;
        let forked = self.engine.fork(tenant, &task_id, &new_task_id, &point, execute).await;
        let forked = forked.map_err(status)?;
        answer(pb::ForkTaskResponse { task: Some(proto::task(&forked.view)), existed: forked.existed })
    }

    async fn lint_plan(
        &self,
        request: Request<pb::LintPlanRequest>,
    ) -> Result<Response<pb::LintPlanResponse>, Status> {
        let tenant = tenant(&request);
        let found = self.engine.lint(tenant, request::lint(request.into_inner())).await.map_err(status)?;
        answer(proto::linted(&found))
    }
}

/// A task's events, page by page, as fast as the client reads. Ends after the final event; a client that goes
/// away only drops the stream.
fn events(
    follower: Follower,
    stop: CancellationToken,
) -> impl Stream<Item = Result<pb::WatchTaskResponse, Status>> {
    let pages = stream::try_unfold((Some(follower), stop), async |(follower, stop)| -> Result<_, Status> {
        let Some(mut follower): Option<Follower> = follower else { return Ok(None) };
        let page = stop.run_until_cancelled(follower.next()).await.unwrap_or_else(|| {
            Err(Failure::Unavailable {
                message: "this control plane is stopping; watch again from the last event".into(),
                retry_after_ms: RETRY_AFTER_MS,
            })
        });
        let page = page.map_err(status)?;
        let more = (!page.end).then_some(follower);
        Ok(Some((page, (more, stop))))
    });
    let told = |page: EventPage| {
        let told = |event| Ok(pb::WatchTaskResponse { event: Some(proto::event(&event)) });
        stream::iter(page.events.into_iter().map(told))
    };
    pages.map_ok(told).try_flatten()
}
