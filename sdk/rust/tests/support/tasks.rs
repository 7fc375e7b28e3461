//! The task service, scripted: every call is handed to the test, which answers it.

use downbeat_sdk::proto::{
    CancelTaskRequest, CancelTaskResponse, DiffSnapshotsRequest, DiffSnapshotsResponse, ExecuteTaskRequest,
    ExecuteTaskResponse, ForkTaskRequest, ForkTaskResponse, GetOutputRequest, GetOutputResponse,
    GetTaskRequest, GetTaskResponse, LintPlanRequest, LintPlanResponse, ListEventsRequest,
    ListEventsResponse, ListSnapshotsRequest, ListSnapshotsResponse, ListTasksRequest, ListTasksResponse,
    PauseTaskRequest, PauseTaskResponse, RerunTaskRequest, RerunTaskResponse, RestoreTaskRequest,
    RestoreTaskResponse, SignalTaskRequest, SignalTaskResponse, SnapshotTaskRequest, SnapshotTaskResponse,
    SubmitTaskRequest, SubmitTaskResponse, WatchTaskRequest, WatchTaskResponse,
    task_service_server::{TaskService, TaskServiceServer},
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{serve, soon};

type Reply<T> = oneshot::Sender<Result<T, Status>>;
type Events = mpsc::Receiver<Result<WatchTaskResponse, Status>>;

/// One call, and where its answer goes.
#[derive(Debug)]
pub enum Call {
    Submit(SubmitTaskRequest, Reply<SubmitTaskResponse>),
    Get(GetTaskRequest, Reply<GetTaskResponse>),
    List(ListTasksRequest, Reply<ListTasksResponse>),
    Watch(WatchTaskRequest, Reply<Events>),
    Output(GetOutputRequest, Reply<GetOutputResponse>),
    Signal(SignalTaskRequest, Reply<SignalTaskResponse>),
    Rerun(RerunTaskRequest, Reply<RerunTaskResponse>),
    Lint(LintPlanRequest, Reply<LintPlanResponse>),
}

/// The calls, in order.
pub struct Calls {
    calls: mpsc::Receiver<Call>,
}

impl Calls {
    /// A server of its own; answers with its address, too.
    pub async fn serve() -> (Self, String) {
        let (service, calls) = service();
        (calls, serve(|routes| routes.add_service(service)).await)
    }

    pub async fn next(&mut self) -> Call {
        soon(self.calls.recv()).await.expect("the server runs")
    }

    pub async fn submit(&mut self) -> (SubmitTaskRequest, Reply<SubmitTaskResponse>) {
        match self.next().await {
            Call::Submit(request, reply) => (request, reply),
            other => panic!("expected a submit, got {other:?}"),
        }
    }

    pub async fn get(&mut self) -> (GetTaskRequest, Reply<GetTaskResponse>) {
        match self.next().await {
            Call::Get(request, reply) => (request, reply),
            other => panic!("expected a get, got {other:?}"),
        }
    }

    pub async fn list(&mut self) -> (ListTasksRequest, Reply<ListTasksResponse>) {
        match self.next().await {
            Call::List(request, reply) => (request, reply),
            other => panic!("expected a list, got {other:?}"),
        }
    }

    pub async fn output(&mut self) -> (GetOutputRequest, Reply<GetOutputResponse>) {
        match self.next().await {
            Call::Output(request, reply) => (request, reply),
            other => panic!("expected a get output, got {other:?}"),
        }
    }

    pub async fn signal(&mut self) -> (SignalTaskRequest, Reply<SignalTaskResponse>) {
        match self.next().await {
            Call::Signal(request, reply) => (request, reply),
            other => panic!("expected a signal, got {other:?}"),
        }
    }

    pub async fn rerun(&mut self) -> (RerunTaskRequest, Reply<RerunTaskResponse>) {
        match self.next().await {
            Call::Rerun(request, reply) => (request, reply),
            other => panic!("expected a rerun, got {other:?}"),
        }
    }

    pub async fn lint(&mut self) -> (LintPlanRequest, Reply<LintPlanResponse>) {
        match self.next().await {
            Call::Lint(request, reply) => (request, reply),
            other => panic!("expected a lint, got {other:?}"),
        }
    }

    /// Opens the stream of a watch; answers with the number it goes on after.
    pub async fn watch(&mut self) -> (u64, mpsc::Sender<Result<WatchTaskResponse, Status>>) {
        match self.next().await {
            Call::Watch(request, reply) => {
                let (events_tx, events) = mpsc::channel(16);
                reply.send(Ok(events)).unwrap();
                (request.after, events_tx)
            }
            other => panic!("expected a watch, got {other:?}"),
        }
    }
}

/// The service, to be served with others.
pub fn service() -> (TaskServiceServer<Tasks>, Calls) {
    let (calls_tx, calls) = mpsc::channel(16);
    (TaskServiceServer::new(Tasks { calls: calls_tx }), Calls { calls })
}

pub struct Tasks {
    calls: mpsc::Sender<Call>,
}

impl Tasks {
    async fn ask<Q, A>(
        &self,
        request: Request<Q>,
        call: impl FnOnce(Q, Reply<A>) -> Call,
    ) -> Result<A, Status> {
        let (reply, answer) = oneshot::channel();
        let over = || Status::aborted("the test is over");
        self.calls.send(call(request.into_inner(), reply)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}

#[tonic::async_trait]
impl TaskService for Tasks {
    type WatchTaskStream = ReceiverStream<Result<WatchTaskResponse, Status>>;

    async fn submit_task(
        &self,
        request: Request<SubmitTaskRequest>,
    ) -> Result<Response<SubmitTaskResponse>, Status> {
        self.ask(request, Call::Submit).await.map(Response::new)
    }

    async fn get_task(&self, request: Request<GetTaskRequest>) -> Result<Response<GetTaskResponse>, Status> {
        self.ask(request, Call::Get).await.map(Response::new)
    }

    async fn list_tasks(
        &self,
        request: Request<ListTasksRequest>,
    ) -> Result<Response<ListTasksResponse>, Status> {
        self.ask(request, Call::List).await.map(Response::new)
    }

    async fn watch_task(
        &self,
        request: Request<WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let events = self.ask(request, Call::Watch).await?;
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn get_output(
        &self,
        request: Request<GetOutputRequest>,
    ) -> Result<Response<GetOutputResponse>, Status> {
        self.ask(request, Call::Output).await.map(Response::new)
    }

    async fn signal_task(
        &self,
        request: Request<SignalTaskRequest>,
    ) -> Result<Response<SignalTaskResponse>, Status> {
        self.ask(request, Call::Signal).await.map(Response::new)
    }

    async fn rerun_task(
        &self,
        request: Request<RerunTaskRequest>,
    ) -> Result<Response<RerunTaskResponse>, Status> {
        self.ask(request, Call::Rerun).await.map(Response::new)
    }

    async fn lint_plan(
        &self,
        request: Request<LintPlanRequest>,
    ) -> Result<Response<LintPlanResponse>, Status> {
        self.ask(request, Call::Lint).await.map(Response::new)
    }

    async fn snapshot_task(
        &self,
        _: Request<SnapshotTaskRequest>,
    ) -> Result<Response<SnapshotTaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn list_snapshots(
        &self,
        _: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn diff_snapshots(
        &self,
        _: Request<DiffSnapshotsRequest>,
    ) -> Result<Response<DiffSnapshotsResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn restore_task(
        &self,
        _: Request<RestoreTaskRequest>,
    ) -> Result<Response<RestoreTaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn fork_task(&self, _: Request<ForkTaskRequest>) -> Result<Response<ForkTaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn execute_task(
        &self,
        _: Request<ExecuteTaskRequest>,
    ) -> Result<Response<ExecuteTaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn cancel_task(
        &self,
        _: Request<CancelTaskRequest>,
    ) -> Result<Response<CancelTaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn pause_task(&self, _: Request<PauseTaskRequest>) -> Result<Response<PauseTaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn list_events(
        &self,
        _: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}
