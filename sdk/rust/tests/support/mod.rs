//! A control plane that does what the test says, on a real socket; and a wire to it that can be cut.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod tasks;

use std::{future::Future, sync::Arc, time::Duration};

use downbeat_sdk::proto::{
    AgentDeclaration, Assign, AssignAck, Brief, ContextAnswer, ContextWrite, DrainWorkerRequest,
    DrainWorkerResponse, GetAgentRequest, GetAgentResponse, GetWorkerRequest, GetWorkerResponse, Heartbeat,
    Hello, LeaseRef, ListAgentsRequest, ListAgentsResponse, ListWorkersRequest, ListWorkersResponse,
    Result as AttemptResult, ResultAck, ResultAcks, RouteSubtaskRequest, RouteSubtaskResponse,
    SessionRequest, SessionResponse, Spawn, SpawnAck, Welcome, Worker as WorkerRow,
    agent_service_server::{AgentService, AgentServiceServer},
    context_answer,
    result_ack::Verdict,
    session_request, session_response,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder, transport::Server};

/// Longer than anything here takes on any machine; only a hanging test meets it.
const HANGS: Duration = Duration::from_secs(120);

/// Awaits `future`, and fails the test instead of hanging.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(HANGS, future).await.expect("the test hangs")
}

/// Serves what `routes` adds on a free port; answers with the address. The task lives as long as the runtime.
pub async fn serve(routes: impl FnOnce(&mut RoutesBuilder) -> &mut RoutesBuilder) -> String {
    let mut builder = RoutesBuilder::default();
    routes(&mut builder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_routes(builder.routes());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    addr
}

/// The worker service, scripted: every stream a worker opens is handed to the test.
pub struct ControlPlane {
    pub addr: String,
    streams: mpsc::Receiver<Stream>,
    /// Sessions that were asked to drain.
    pub drains: mpsc::Receiver<i64>,
}

/// One stream, from the side of the control plane.
pub struct Stream {
    incoming: Streaming<SessionRequest>,
    outgoing: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl ControlPlane {
    pub async fn start() -> Self {
        Self::start_with(|routes| routes).await
    }

    /// With more services than those of a worker.
    pub async fn start_with(more: impl FnOnce(&mut RoutesBuilder) -> &mut RoutesBuilder) -> Self {
        let (streams_tx, streams) = mpsc::channel(16);
        let (drains_tx, drains) = mpsc::channel(16);
        let addr = serve(|routes| {
            routes.add_service(WorkerServiceServer::new(Workers { streams: streams_tx }));
            routes.add_service(AgentServiceServer::new(Agents { drains: drains_tx }));
            more(routes)
        })
        .await;
        Self { addr, streams, drains }
    }

    /// The next stream, and its Hello.
    pub async fn accept(&mut self) -> (Stream, Hello) {
        let mut stream = soon(self.streams.recv()).await.expect("the server runs");
        match stream.next().await {
            Some(session_request::Message::Hello(hello)) => (stream, hello),
            other => panic!("expected a hello, got {other:?}"),
        }
    }

    /// The next stream, welcomed as a new session.
    pub async fn welcome(&mut self) -> Stream {
        let (stream, _) = self.accept().await;
        stream.send(session_response::Message::Welcome(welcome())).await;
        stream
    }
}

impl Stream {
    pub async fn send(&self, message: session_response::Message) {
        self.outgoing.send(Ok(SessionResponse { message: Some(message) })).await.expect("the stream is open");
    }

    /// Ends the stream with a status.
    pub async fn refuse(&self, status: Status) {
        self.outgoing.send(Err(status)).await.expect("the stream is open");
    }

    pub async fn assign(&self, briefs: impl IntoIterator<Item = Brief>) {
        let briefs = briefs.into_iter().collect();
        self.send(session_response::Message::Assign(Assign { briefs })).await;
    }

    pub async fn ack(&self, lease: LeaseRef, verdict: Verdict) {
        let ack = ResultAck { lease: Some(lease), verdict: verdict.into(), message: String::new() };
        self.send(session_response::Message::ResultAcks(ResultAcks { acks: vec![ack] })).await;
    }

    /// The next message; `None` when the worker has closed the stream, or lost it.
    pub async fn next(&mut self) -> Option<session_request::Message> {
        soon(self.incoming.message()).await.ok().flatten().and_then(|request| request.message)
    }

    /// The next message that is not a heartbeat.
    pub async fn next_but_heartbeats(&mut self) -> Option<session_request::Message> {
        loop {
            match self.next().await {
                Some(session_request::Message::Heartbeat(_)) => {}
                other => return other,
            }
        }
    }

    pub async fn heartbeat(&mut self) -> Heartbeat {
        loop {
            match self.next().await {
                Some(session_request::Message::Heartbeat(heartbeat)) => return heartbeat,
                Some(_) => {}
                None => panic!("expected a heartbeat, and the stream ended"),
            }
        }
    }

    pub async fn acked(&mut self) -> Vec<LeaseRef> {
        match self.next_but_heartbeats().await {
            Some(session_request::Message::AssignAck(AssignAck { leases })) => leases,
            other => panic!("expected an assign ack, got {other:?}"),
        }
    }

    /// The only result of the next message.
    pub async fn result(&mut self) -> AttemptResult {
        match self.next_but_heartbeats().await {
            Some(session_request::Message::Results(mut results)) if results.results.len() == 1 => {
                results.results.remove(0)
            }
            other => panic!("expected one result, got {other:?}"),
        }
    }

    pub async fn goodbye(&mut self) -> String {
        match self.next_but_heartbeats().await {
            Some(session_request::Message::Goodbye(goodbye)) => goodbye.reason,
            other => panic!("expected a goodbye, got {other:?}"),
        }
    }

    /// The next request to add children.
    pub async fn spawn(&mut self) -> Spawn {
        match self.next_but_heartbeats().await {
            Some(session_request::Message::Spawn(spawn)) => spawn,
            other => panic!("expected a spawn, got {other:?}"),
        }
    }

    pub async fn ack_spawn(&self, spawn: &Spawn, verdict: Verdict, message: &str) {
        let Spawn { lease, request, ref children } = *spawn;
        self.send(session_response::Message::SpawnAck(SpawnAck {
            lease,
            request,
            verdict: verdict.into(),
            message: message.to_owned(),
            subtask_ids: children.iter().map(|child| format!("t/{}", child.key)).collect(),
        }))
        .await;
    }

    /// The next message, which must be a write to the shared context.
    pub async fn write(&mut self) -> ContextWrite {
        match self.next_but_heartbeats().await {
            Some(session_request::Message::ContextWrite(write)) => write,
            other => panic!("expected a write, got {other:?}"),
        }
    }

    pub async fn answer_write(&self, write: &ContextWrite, verdict: context_answer::Verdict, version: u64) {
        self.send(session_response::Message::ContextAnswer(ContextAnswer {
            lease: write.lease,
            request: write.request,
            verdict: verdict.into(),
            message: String::new(),
            version,
            entries: Vec::new(),
        }))
        .await;
    }

    /// Hands out one brief and sees it acknowledged.
    pub async fn start(&mut self, brief: Brief) {
        let lease = brief.lease.unwrap();
        self.assign([brief]).await;
        assert_eq!(self.acked().await, [lease]);
    }
}

pub fn welcome() -> Welcome {
    Welcome {
        session_id: 7,
        resume_token: "token".into(),
        heartbeat_interval_ms: 20,
        lease_ms: 60_000,
        grace_ms: 60_000,
        assign_ack_ms: 60_000,
        output_bytes_max: 1024,
        ..Default::default()
    }
}

pub fn lease(lease_id: i64) -> LeaseRef {
    LeaseRef { lease_id, task_no: 3, index: 1 }
}

/// A brief for the agent `echo`.
pub fn brief(lease_id: i64, input: &str) -> Brief {
    Brief {
        lease: Some(lease(lease_id)),
        task_id: "t".into(),
        subtask_id: "t/s".into(),
        key: "s".into(),
        agent: "echo".into(),
        attempt: 1,
        input: input.to_owned().into(),
        ..Default::default()
    }
}

struct Workers {
    streams: mpsc::Sender<Stream>,
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, responses) = mpsc::channel(16);
        let stream = Stream { incoming: request.into_inner(), outgoing };
        self.streams.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

struct Agents {
    drains: mpsc::Sender<i64>,
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        let session_id = request.into_inner().session_id;
        self.drains.send(session_id).await.map_err(|_| Status::unavailable("the test is over"))?;
        let worker = WorkerRow { session_id, ..Default::default() };
        Ok(Response::new(DrainWorkerResponse { worker: Some(worker) }))
    }

    async fn list_agents(
        &self,
        _: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn get_agent(&self, _: Request<GetAgentRequest>) -> Result<Response<GetAgentResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn get_worker(&self, _: Request<GetWorkerRequest>) -> Result<Response<GetWorkerResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn route_subtask(
        &self,
        _: Request<RouteSubtaskRequest>,
    ) -> Result<Response<RouteSubtaskResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

/// A wire to a server that can be cut, and works again for the next connection.
pub struct Wire {
    pub addr: String,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Wire {
    pub async fn to(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let open = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                open.lock().await.spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { addr, connections, accepting }
    }

    /// Drops every connection in the middle of whatever it is doing.
    pub async fn cut(&self) {
        self.connections.lock().await.shutdown().await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub fn names(declarations: &[AgentDeclaration]) -> Vec<&str> {
    declarations.iter().map(|declaration| declaration.name.as_str()).collect()
}
