//! The HTTP executor with a real server, behind a scripted control plane.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../../sdk/rust/tests/support/mod.rs"]
mod support;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::post,
};
use downbeat_sdk::{
    Agent,
    proto::{
        AttemptError, Brief, Cancel, Failed, Result as AttemptResult, Suspended, result::Outcome,
        result_ack::Verdict, session_request, session_response,
    },
};
use downbeat_worker::{Config, Error, Executor, Http, worker};
use support::{ControlPlane, Stream, brief, lease, soon};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// A request that the agent got, and where its answer goes.
type Asked = (HeaderMap, Bytes, oneshot::Sender<Response>);

/// A worker, and the agent behind its URL.
struct Rig {
    stream: Stream,
    asked: mpsc::Receiver<Asked>,
    _control_plane: ControlPlane,
}

async fn ask(State(asked): State<mpsc::Sender<Asked>>, headers: HeaderMap, body: Bytes) -> Response {
    let (reply, answer) = oneshot::channel();
    asked.send((headers, body, reply)).await.unwrap();
    answer.await.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
}

async fn rig() -> Rig {
    let (asked_tx, asked) = mpsc::channel(4);
    let agent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/run", agent.local_addr().unwrap());
    let router = Router::new().route("/run", post(ask)).with_state(asked_tx);
    tokio::spawn(async move { axum::serve(agent, router).await });
    let (stream, _control_plane) = serve(Http::new(url).header("X-Key", "secret")).await;
    Rig { stream, asked, _control_plane }
}

async fn serve(http: Http) -> (Stream, ControlPlane) {
    let mut control_plane = ControlPlane::start().await;
    let mut config = Config::new(Agent::new("echo"), Executor::Http(http));
    config.addrs = vec![control_plane.addr.clone()];
    tokio::spawn(worker(config).unwrap().run_until(std::future::pending()));
    (control_plane.welcome().await, control_plane)
}

impl Rig {
    async fn run(&mut self, answer: impl IntoResponse) -> AttemptResult {
        self.stream.start(brief(1, "1")).await;
        let (_, _, reply) = soon(self.asked.recv()).await.unwrap();
        reply.send(answer.into_response()).unwrap();
        self.stream.result().await
    }
}

/// The code and message of a failure, and whether it may be retried.
fn failure(result: AttemptResult) -> (String, String, bool) {
    match result.outcome {
        Some(Outcome::Failed(Failed { error: Some(AttemptError { code, message }), retryable })) => {
            (code, message, retryable)
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn posts_the_brief_and_takes_the_answer() {
    let mut rig = rig().await;
    rig.stream.start(Brief { task_id: "t ä".into(), ..brief(9, r#"{"n": 1}"#) }).await;
    let (headers, body, reply) = soon(rig.asked.recv()).await.unwrap();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["idempotency-key"], "t%20%C3%A4/t/s/http");
    assert_eq!(headers["downbeat-lease-id"], "9");
    assert_eq!(headers["x-key"], "secret");
    assert!(body.starts_with(r#"{"task_id":"t ä","subtask_id":"t/s","key":"s""#.as_bytes()), "{body:?}");
    reply.send(r#"{"ok": true, "$artifacts": [{"name": "n", "uri": "u"}]}"#.into_response()).unwrap();
    match rig.stream.result().await.outcome {
        Some(Outcome::Completed(completed)) => {
            assert_eq!((&*completed.output, completed.artifacts.len()), (&br#"{"ok":true}"#[..], 1));
        }
        other => panic!("expected an output, got {other:?}"),
    }
}

#[tokio::test]
async fn answer_adds_children_and_suspends() {
    let mut rig = rig().await;
    rig.stream.start(brief(1, "1")).await;
    let (_, _, reply) = soon(rig.asked.recv()).await.unwrap();
    let answer = r#"{"$spawn": [{"key": "a", "agent": "writer"}], "$suspend": true}"#;
    reply.send(answer.into_response()).unwrap();
    let spawn = rig.stream.spawn().await;
    assert_eq!((spawn.children.len(), &*spawn.children[0].key), (1, "a"));
    rig.stream.ack_spawn(&spawn, Verdict::Accepted, "").await;
    assert_eq!(rig.stream.result().await.outcome, Some(Outcome::Suspended(Suspended {})));
}

#[tokio::test]
async fn status_tells_how_it_failed() {
    for (status, retryable) in
        [(400, false), (422, false), (401, true), (429, true), (500, true), (503, true)]
    {
        let status = StatusCode::from_u16(status).unwrap();
        let (code, message, retried) = failure(rig().await.run((status, "because")).await);
        assert_eq!((code, retried), (format!("HTTP_{}", status.as_u16()), retryable));
        assert_eq!(message, format!("the answer is {status}: because"));
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let answer = (StatusCode::FOUND, [(LOCATION, "/run")]);
    let (code, message, retryable) = failure(rig().await.run(answer).await);
    assert_eq!((&*code, &*message, retryable), ("HTTP_302", "the answer is 302 Found", true));
}

#[tokio::test]
async fn answer_that_is_not_json_fails() {
    let (code, message, retryable) = failure(rig().await.run("<html>").await);
    assert_eq!((&*code, retryable), ("INVALID_OUTPUT", true));
    assert!(message.starts_with("the answer 200 OK is no output"), "{message}");
}

#[tokio::test]
async fn answer_over_the_limit_fails_for_good() {
    let (code, message, retryable) = failure(rig().await.run(format!("\"{}\"", "x".repeat(2000))).await);
    assert_eq!((&*code, retryable), ("OUTPUT_TOO_LARGE", false));
    assert!(message.contains("more than 1024 bytes"), "{message}");
}

#[tokio::test]
async fn agent_that_cannot_be_reached_may_be_tried_again() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (mut stream, _control_plane) = serve(Http::new(format!("http://{unused}/"))).await;
    stream.start(brief(1, "")).await;
    let (code, message, retryable) = failure(stream.result().await);
    assert_eq!((&*code, retryable), ("HTTP_UNREACHABLE", true));
    assert!(message.to_lowercase().contains("refused"), "{message}");
}

#[tokio::test]
async fn cancel_aborts_the_request() {
    let mut rig = rig().await;
    rig.stream.start(brief(1, "")).await;
    let (_, _, mut reply) = soon(rig.asked.recv()).await.unwrap();
    let cancel = Cancel { leases: vec![lease(1)], reason: String::new() };
    rig.stream.send(session_response::Message::Cancel(cancel)).await;
    match rig.stream.next_but_heartbeats().await {
        Some(session_request::Message::CancelAck(ack)) => assert_eq!(ack.leases, [lease(1)]),
        other => panic!("expected a cancel ack, got {other:?}"),
    }
    soon(reply.closed()).await;
}

#[test]
fn what_cannot_be_called_is_told_at_the_start() {
    let problem = |http: Http| worker(Config::new(Agent::new("echo"), Executor::Http(http))).unwrap_err();
    let error = problem(Http::new("ftp://a/"));
    assert_eq!(
        error.to_string(),
        "invalid URL \"ftp://a/\": the scheme \"ftp\" is not supported; expected something like \
         \"http://127.0.0.1:8000/run\""
    );
    assert!(matches!(problem(Http::new("a b")), Error::InvalidUrl { .. }));
    let error = problem(Http::new("http://a/").header("x key", "secret"));
    assert!(matches!(error, Error::InvalidHeader { .. }));
    assert!(!error.to_string().contains("secret"));
}
