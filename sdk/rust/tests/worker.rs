//! The worker against a scripted control plane on a real socket. Whatever is waited for is an event.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex, mpsc as std_mpsc},
    thread,
};

use downbeat_sdk::{
    Agent, Artifact, CancelReason, Context, Ended, Error, HandlerError, Output, Subtask, Worker,
    WorkerBuilder,
    proto::{
        self, Brief, Cancel, Dependency, Drain, Failed, GetOutputResponse, Result as AttemptResult, Welcome,
        result::Outcome, result_ack::Verdict, session_request, session_response,
    },
};
use serde_json::{Value, json};
use support::{ControlPlane, Stream, Wire, brief, lease, names, soon, tasks, welcome};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};
use tonic::{Code, Status};

type Answer = Result<Output, HandlerError>;

/// A worker with one agent, `echo`.
fn echo<F, Fut>(addr: &str, handler: F) -> WorkerBuilder
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    Worker::builder().addr(addr).name("test").slots(4).agent(Agent::new("echo"), handler)
}

fn run(worker: WorkerBuilder) -> JoinHandle<Result<Ended, Error>> {
    tokio::spawn(worker.build().unwrap().run_until(pending()))
}

async fn repeat(context: Context) -> Answer {
    Output::json(&context.input::<Value>()?)
}

fn output(result: &AttemptResult) -> Value {
    match &result.outcome {
        Some(Outcome::Completed(completed)) => serde_json::from_slice(&completed.output).unwrap(),
        other => panic!("expected an output, got {other:?}"),
    }
}

/// The code and message of a failure, and whether it may be retried.
fn failure(result: &AttemptResult) -> (&str, &str, bool) {
    match &result.outcome {
        Some(Outcome::Failed(Failed { error: Some(error), retryable })) => {
            (&error.code, &error.message, *retryable)
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn does_the_work_it_is_handed() {
    let mut control_plane = ControlPlane::start().await;
    let worker = echo(&control_plane.addr, repeat).label("zone", "a").build_id("b1");
    let _worker = run(worker.agent(Agent::new("other").capability("x"), repeat));
    let (mut stream, hello) = control_plane.accept().await;
    assert_eq!((&*hello.worker, hello.slots, &*hello.build_id), ("test", 4, "b1"));
    assert_eq!(hello.labels["zone"], "a");
    assert_eq!(names(&hello.agents), ["echo", "other"]);
    assert_eq!(hello.resume, None);
    stream.send(session_response::Message::Welcome(welcome())).await;
    stream.start(brief(1, r#"{"a":[1]}"#)).await;
    let result = stream.result().await;
    assert_eq!((result.lease, output(&result)), (Some(lease(1)), json!({"a": [1]})));
    stream.ack(lease(1), Verdict::Accepted).await;
    while !stream.heartbeat().await.in_flight.is_empty() {}
}

#[tokio::test]
async fn resumes_after_a_cut_and_sends_what_was_not_acknowledged() {
    let mut control_plane = ControlPlane::start().await;
    let wire = Wire::to(&control_plane.addr).await;
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let _worker = run(echo(&wire.addr, move |context| {
        let held = Arc::clone(&held);
        async move {
            if context.lease_id() == 2 {
                held.notified().await;
            }
            repeat(context).await
        }
    }));
    let mut stream = control_plane.welcome().await;
    stream.assign([brief(1, "1"), brief(2, "2")]).await;
    assert_eq!(stream.acked().await, [lease(1), lease(2)]);
    assert_eq!(output(&stream.result().await), 1);
    wire.cut().await;

    let (mut stream, hello) = control_plane.accept().await;
    let resume = hello.resume.expect("a session to resume");
    assert_eq!((resume.session_id, &*resume.token, resume.connection), (7, "token", 2));
    assert_eq!(resume.in_flight, [lease(1), lease(2)]);
    stream.send(session_response::Message::Welcome(Welcome { resumed: true, ..welcome() })).await;
    assert_eq!(output(&stream.result().await), 1, "sent again");
    stream.ack(lease(1), Verdict::Duplicate).await;
    release.notify_one();
    assert_eq!(output(&stream.result().await), 2, "ran on through the cut");
}

#[tokio::test]
async fn lost_lease_stops_the_handler() {
    let mut control_plane = ControlPlane::start().await;
    let wire = Wire::to(&control_plane.addr).await;
    let (stopped_tx, mut stopped) = mpsc::channel(1);
    let _worker = run(echo(&wire.addr, move |context: Context| {
        let stopped = stopped_tx.clone();
        async move {
            context.cancelled().await;
            stopped.send(context.cancel_reason().cloned()).await.unwrap();
            Ok(Output::null())
        }
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    wire.cut().await;

    let (mut stream, _) = control_plane.accept().await;
    let lost = Welcome { resumed: true, lost: vec![lease(1)], ..welcome() };
    stream.send(session_response::Message::Welcome(lost)).await;
    assert_eq!(soon(stopped.recv()).await, Some(Some(CancelReason::LeaseLost)));
    // Its result is dropped.
    while !stream.heartbeat().await.in_flight.is_empty() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_that_blocks_its_runtime_keeps_its_lease() {
    let mut control_plane = ControlPlane::start().await;
    let (release, released) = std_mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let worker = echo(&control_plane.addr, move |_| {
        let released = Arc::clone(&released);
        async move {
            released.lock().unwrap().recv().unwrap();
            Ok(Output::null())
        }
    });
    let worker = worker.build().unwrap();
    // A runtime with one thread, and the handler blocks it.
    let blocked = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(worker.run_until(pending()))
    });
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    for _ in 0..10 {
        assert_eq!(stream.heartbeat().await.in_flight, [lease(1)]);
    }
    release.send(()).unwrap();
    assert_eq!(stream.result().await.lease, Some(lease(1)));
    stream.ack(lease(1), Verdict::Accepted).await;
    stream.send(session_response::Message::Drain(Drain::default())).await;
    assert_eq!(stream.goodbye().await, "drained");
    drop(stream);
    let ended = soon(tokio::task::spawn_blocking(|| blocked.join().unwrap())).await.unwrap();
    assert_eq!(ended.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn oversized_output_is_a_failure_with_limit_and_size() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, |_| async { Output::json(&"x".repeat(2000)) }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    let result = stream.result().await;
    let (code, message, retryable) = failure(&result);
    assert_eq!((code, retryable), ("OUTPUT_TOO_LARGE", false));
    assert!(message.contains("2002 bytes, and the limit is 1024"), "{message}");
}

#[tokio::test]
async fn failures_are_reported_as_what_they_are() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, |context: Context| async move {
        match context.input::<String>()?.as_str() {
            "panic" => panic!("no {}", "luck"),
            "retryable" => Err(HandlerError::retryable("BUSY", "later")),
            "fatal" => Err(HandlerError::fatal("NO_ACCESS", "never")),
            other => Ok(Output::json(&other.parse::<u8>()?)?),
        }
    }));
    let mut stream = control_plane.welcome().await;
    let mut outcomes = Vec::new();
    for (id, input) in (1..).zip([r#""panic""#, r#""retryable""#, r#""fatal""#, r#""x""#, "1"]) {
        stream.start(brief(id, input)).await;
        outcomes.push(stream.result().await);
    }
    let failures: Vec<_> = outcomes.iter().map(failure).collect();
    assert_eq!(
        failures[..4],
        [
            ("PANIC", "the handler panicked: no luck", true),
            ("BUSY", "later", true),
            ("NO_ACCESS", "never", false),
            ("HANDLER_ERROR", "invalid digit found in string", true),
        ]
    );
    let (code, message, retryable) = failures[4];
    assert_eq!((code, retryable), ("INVALID_INPUT", false));
    assert!(message.contains("expected a string"), "{message}");
}

#[tokio::test]
async fn brief_for_an_agent_it_does_not_serve_fails() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, repeat));
    let mut stream = control_plane.welcome().await;
    stream.assign([Brief { agent: "other".into(), ..brief(1, "") }]).await;
    assert_eq!(stream.acked().await, [lease(1)]);
    let result = stream.result().await;
    assert_eq!(failure(&result), ("UNKNOWN_AGENT", "this worker has no agent \"other\"", true));
}

#[tokio::test]
async fn cancelled_handler_that_does_not_listen_is_dropped() {
    let mut control_plane = ControlPlane::start().await;
    let (dropped_tx, dropped) = oneshot::channel::<()>();
    let guard = Arc::new(Mutex::new(Some(dropped_tx)));
    let worker = echo(&control_plane.addr, move |_| {
        let guard = guard.lock().unwrap().take();
        async move {
            let _guard = guard;
            pending().await
        }
    });
    let _worker = run(worker.cancel_grace(std::time::Duration::ZERO));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    let cancel = Cancel { leases: vec![lease(1)], reason: "changed my mind".into() };
    stream.send(session_response::Message::Cancel(cancel)).await;
    assert!(soon(dropped).await.is_err(), "the handler is gone");
    match stream.next_but_heartbeats().await {
        Some(session_request::Message::CancelAck(ack)) => assert_eq!(ack.leases, [lease(1)]),
        other => panic!("expected a cancel ack, got {other:?}"),
    }
}

#[tokio::test]
async fn progress_and_artifacts_travel_with_the_attempt() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, |context: Context| async move {
        context.progress("half", 0.5);
        context.artifact(Artifact::new("log", "s3://b/log").media_type("text/plain").size_bytes(3));
        Ok(Output::from(json!(context.key("pay"))))
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    match stream.next_but_heartbeats().await {
        Some(session_request::Message::Progress(progress)) => {
            let expected = proto::Progress { lease: Some(lease(1)), message: "half".into(), fraction: 0.5 };
            assert_eq!(progress, expected);
        }
        other => panic!("expected progress, got {other:?}"),
    }
    let result = stream.result().await;
    assert_eq!(output(&result), "t/t/s/pay");
    let Some(Outcome::Completed(completed)) = result.outcome else { panic!() };
    assert_eq!(completed.artifacts.len(), 1);
    assert_eq!((&*completed.artifacts[0].name, completed.artifacts[0].size_bytes), ("log", 3));
}

#[tokio::test]
async fn dependencies_come_from_the_brief_or_are_fetched() {
    let (service, mut calls) = tasks::service();
    let mut control_plane = ControlPlane::start_with(|routes| routes.add_service(service)).await;
    let _worker = run(echo(&control_plane.addr, |context: Context| async move {
        let small: String = context.dependency("small").await?;
        let large: String = context.dependency("large").await?;
        let shared: Value = context.handed()?;
        let unknown = context.dependency::<Value>("none").await.unwrap_err();
        Output::json(&json!([small, large, shared, unknown.message]))
    }));
    let mut stream = control_plane.welcome().await;
    let dependency = |key: &str, omitted| Dependency {
        key: key.into(),
        subtask_id: format!("t/{key}"),
        output: if omitted { "".into() } else { r#""given""#.into() },
        omitted,
        ..Default::default()
    };
    let dependencies = vec![dependency("small", false), dependency("large", true)];
    stream.start(Brief { dependencies, ..brief(1, "") }).await;
    let (asked, reply) = calls.output().await;
    assert_eq!((&*asked.task_id, &*asked.subtask_id), ("t", "t/large"));
    reply.send(Ok(GetOutputResponse { output: r#""fetched""#.into(), artifacts: Vec::new() })).unwrap();
    let expected =
        json!(["given", "fetched", {}, r#"no direct dependency "none"; there are ["small", "large"]"#]);
    assert_eq!(output(&stream.result().await), expected);
}

#[tokio::test]
async fn children_are_added_waited_for_and_found_again() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, |context: Context| async move {
        if context.children().is_empty() {
            let children = ["a", "b"].map(|key| Subtask::new(key).agent("writer").input(key));
            let ids = context.spawn(children.into()).await?;
            assert_eq!(ids, ["t/a", "t/b"]);
            return Ok(Output::suspend());
        }
        let (a, b): (Value, Value) = (context.child("a").await?, context.child("b").await?);
        let unknown = context.child::<Value>("c").await.unwrap_err();
        Output::json(&json!([a, b, unknown.message]))
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    let spawn = stream.spawn().await;
    assert_eq!(
        (spawn.lease, &*spawn.children[1].key, &*spawn.children[1].input),
        (Some(lease(1)), "b", &b"\"b\""[..])
    );
    for _ in 0..3 {
        assert_eq!(stream.heartbeat().await.in_flight, [lease(1)], "it lives while it waits for the answer");
    }
    stream.ack_spawn(&spawn, Verdict::Accepted, "").await;
    assert_eq!(stream.result().await.outcome, Some(Outcome::Suspended(proto::Suspended {})));
    stream.ack(lease(1), Verdict::Accepted).await;
    let child = |key: &str| Dependency {
        key: key.into(),
        output: format!("\"{key}!\"").into(),
        ..Default::default()
    };
    stream.start(Brief { children: vec![child("a"), child("b")], ..brief(2, "") }).await;
    let expected = json!(["a!", "b!", r#"no child "c"; there are ["a", "b"]"#]);
    assert_eq!(output(&stream.result().await), expected);
}

#[tokio::test]
async fn children_are_sent_again_after_a_cut() {
    let mut control_plane = ControlPlane::start().await;
    let wire = Wire::to(&control_plane.addr).await;
    let _worker = run(echo(&wire.addr, |context: Context| async move {
        let ids = context.spawn(vec![Subtask::new("a").agent("writer")]).await?;
        Output::json(&ids)
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    let first = stream.spawn().await;
    wire.cut().await;
    let (mut stream, _) = control_plane.accept().await;
    stream.send(session_response::Message::Welcome(Welcome { resumed: true, ..welcome() })).await;
    let again = stream.spawn().await;
    assert_eq!(again, first);
    stream.ack_spawn(&again, Verdict::Duplicate, "").await;
    assert_eq!(output(&stream.result().await), json!(["t/a"]));
}

#[tokio::test]
async fn children_that_are_not_added_are_an_error() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, |context: Context| async move {
        match context.spawn(vec![Subtask::new("a").agent("writer")]).await {
            Err(Error::LeaseLost) => Ok(Output::from(json!("lost"))),
            other => Output::json(&other?),
        }
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    let spawn = stream.spawn().await;
    stream.ack_spawn(&spawn, Verdict::Refused, "children[0].key: taken").await;
    assert_eq!(failure(&stream.result().await), ("SPAWN_REFUSED", "children[0].key: taken", false));
    stream.start(brief(2, "")).await;
    let spawn = stream.spawn().await;
    stream.ack_spawn(&spawn, Verdict::Stale, "").await;
    assert_eq!(output(&stream.result().await), "lost");
}

#[tokio::test]
async fn cancel_ends_the_wait_for_children() {
    let mut control_plane = ControlPlane::start().await;
    let (told_tx, mut told) = mpsc::channel(1);
    let _worker = run(echo(&control_plane.addr, move |context: Context| {
        let told = told_tx.clone();
        async move {
            let problem = context.spawn(vec![Subtask::new("a").agent("writer")]).await.unwrap_err();
            told.send(problem.to_string()).await.unwrap();
            Ok(Output::null())
        }
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    stream.spawn().await;
    let cancel = Cancel { leases: vec![lease(1)], reason: String::new() };
    stream.send(session_response::Message::Cancel(cancel)).await;
    assert_eq!(soon(told.recv()).await.unwrap(), "the lease of this attempt is lost, or it shall stop");
}

#[tokio::test]
async fn item_and_place_come_from_the_brief() {
    let mut control_plane = ControlPlane::start().await;
    let _worker = run(echo(&control_plane.addr, |context: Context| async move {
        Output::json(&(context.item::<Option<String>>()?, context.nth()))
    }));
    let mut stream = control_plane.welcome().await;
    stream.start(Brief { item: "\"x\"".into(), nth: Some(3), ..brief(1, "") }).await;
    assert_eq!(output(&stream.result().await), json!(["x", 3]));
    stream.start(brief(2, "")).await;
    assert_eq!(output(&stream.result().await), json!([null, null]));
}

/// A worker with one attempt under way, and what ends its wait and the worker.
struct Busy {
    control_plane: ControlPlane,
    stream: Stream,
    release: Arc<Notify>,
    stop: oneshot::Sender<()>,
    worker: JoinHandle<Result<Ended, Error>>,
}

async fn busy(change: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Busy {
    let mut control_plane = ControlPlane::start().await;
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let worker = echo(&control_plane.addr, move |_| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            Ok(Output::null())
        }
    });
    let (stop, stopped) = oneshot::channel();
    let worker = change(worker).build().unwrap().run_until(async {
        let _ = stopped.await;
    });
    let worker = tokio::spawn(worker);
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    Busy { control_plane, stream, release, stop, worker }
}

#[tokio::test]
async fn shutdown_drains_finishes_and_says_goodbye() {
    let Busy { mut control_plane, mut stream, release, stop, worker } = busy(|worker| worker).await;
    stop.send(()).unwrap();
    assert_eq!(soon(control_plane.drains.recv()).await, Some(7), "the control plane is told first");
    release.notify_one();
    assert_eq!(stream.result().await.lease, Some(lease(1)));
    stream.ack(lease(1), Verdict::Accepted).await;
    assert_eq!(stream.goodbye().await, "shutdown");
    assert_eq!(stream.next().await, None);
    drop(stream);
    assert_eq!(soon(worker).await.unwrap().unwrap(), Ended::Shutdown);
}

#[tokio::test]
async fn shutdown_gives_up_what_does_not_finish_in_time() {
    let change = |worker: WorkerBuilder| {
        worker.drain_timeout(std::time::Duration::ZERO).cancel_grace(std::time::Duration::ZERO)
    };
    let Busy { control_plane: _control_plane, mut stream, stop, worker, .. } = busy(change).await;
    stop.send(()).unwrap();
    assert_eq!(stream.goodbye().await, "shutdown");
    drop(stream);
    assert_eq!(soon(worker).await.unwrap().unwrap(), Ended::TimedOut { unfinished: 1 });
}

#[tokio::test]
async fn drain_by_the_control_plane_ends_the_worker() {
    let Busy { control_plane: _control_plane, mut stream, release, stop: _stop, worker } =
        busy(|worker| worker).await;
    stream.send(session_response::Message::Drain(Drain { reason: "upgrade".into() })).await;
    release.notify_one();
    assert_eq!(stream.result().await.lease, Some(lease(1)));
    stream.ack(lease(1), Verdict::Accepted).await;
    assert_eq!(stream.goodbye().await, "drained");
    drop(stream);
    assert_eq!(soon(worker).await.unwrap().unwrap(), Ended::Drained);
}

#[tokio::test]
async fn dropping_the_run_ends_the_worker() {
    let Busy { control_plane: _control_plane, mut stream, worker, stop: _stop, .. } =
        busy(|worker| worker.cancel_grace(std::time::Duration::ZERO)).await;
    worker.abort();
    assert_eq!(stream.goodbye().await, "shutdown");
}

#[tokio::test]
async fn refusal_for_good_ends_the_worker_with_the_reason() {
    let mut control_plane = ControlPlane::start().await;
    let worker = run(echo(&control_plane.addr, repeat));
    let (stream, _) = control_plane.accept().await;
    stream.refuse(Status::invalid_argument("agent \"echo\" is reserved")).await;
    let error = soon(worker).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument));
    assert_eq!(error.to_string(), "agent \"echo\" is reserved");
}

#[tokio::test]
async fn refusal_that_may_pass_is_tried_again_at_the_next_address() {
    let mut first = ControlPlane::start().await;
    let mut second = ControlPlane::start().await;
    let _worker = run(echo(&first.addr, repeat).addr(&second.addr));
    let (stream, _) = first.accept().await;
    stream.refuse(Status::unavailable("draining")).await;
    second.welcome().await.start(brief(1, "")).await;
}

#[test]
fn worker_that_cannot_work_is_not_built() {
    let problem = |worker: WorkerBuilder| worker.addr("localhost:1").build().unwrap_err().to_string();
    assert!(problem(Worker::builder()).starts_with("invalid worker: it serves no agent"));
    let agent = |name: &str| Worker::builder().agent(Agent::new(name), repeat);
    assert!(problem(agent("a").slots(0)).contains("0 slots; expected 1 to 10000"));
    assert!(problem(agent("a").agent(Agent::new("a"), repeat)).contains("agent \"a\" twice"));
    assert!(
        problem(agent("Code Review"))
            .contains("the name of the agent is \"Code Review\"; expected [A-Za-z0-9]")
    );
    let agent = Worker::builder().agent(Agent::new("a").capability("_x"), repeat);
    assert!(problem(agent).contains("a capability of agent \"a\" is \"_x\""));
}
