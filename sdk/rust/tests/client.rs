//! The client against a scripted control plane on a real socket. Delays of retries are set to nothing.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use downbeat_sdk::{
    Approval, Approvers, Client, Error, FieldViolation, ListTasks, Loop, Map, Plan, RerunTask, Retry,
    SignalGate, SignalTask, SubmitTask, Subtask, Timer, WorkflowCall,
    proto::{
        self, ApprovalOption, Event, GetTaskResponse, LintPlanResponse, ListTasksResponse, OnFailure,
        OnLimit, OnTimeout, OptionOutcome, PlanIssue, Priority, RunIf, SignalTaskResponse,
        SubmitTaskResponse, Task, TaskStatus, TaskSummary, WatchTaskResponse, map::Failures,
        planned_subtask::Does, timer::At,
    },
};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use support::{Wire, soon, tasks::Calls};
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation as Violation, StatusExt};

async fn connect(addr: &str) -> Client {
    let retry = Retry { attempts: 3, delay_min: Duration::ZERO, delay_max: Duration::ZERO };
    Client::builder().addr(addr).retry(retry).connect().await.unwrap()
}

fn task(status: TaskStatus, last_event: u64) -> Task {
    Task { task_id: "t".into(), status: status.into(), last_event, ..Default::default() }
}

fn event(number: u64, status: TaskStatus) -> Result<WatchTaskResponse, Status> {
    let event = Event { number, task_status: status.into(), ..Default::default() };
    Ok(WatchTaskResponse { event: Some(event) })
}

#[tokio::test]
async fn submits_what_was_built() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let plan = Plan::new()
        .subtask(Subtask::new("a").agent("x").input(&json!({"n": 1})).sla(Duration::from_millis(1500)))
        .subtask(
            Subtask::new("b").capability("c").depends_on(["a"]).max_attempts(1).priority(Priority::High),
        );
    let submit = SubmitTask::new("t").title("T").metadata(&json!({"context": {}})).plan(plan);
    let call = tokio::spawn(async move { client.submit(submit).await });
    let (request, reply) = calls.submit().await;
    let plan = request.plan.unwrap();
    assert_eq!(
        (&*request.task_id, &*request.title, &*request.metadata),
        ("t", "T", &br#"{"context":{}}"#[..])
    );
    assert_eq!((&*plan.subtasks[0].input, plan.subtasks[0].sla_seconds), (&br#"{"n":1}"#[..], 2));
    assert_eq!(
        (&plan.subtasks[1].depends_on[..], plan.subtasks[1].priority()),
        (&["a".to_owned()][..], Priority::High)
    );
    let task = task(TaskStatus::Planned, 1);
    reply.send(Ok(SubmitTaskResponse { task: Some(task.clone()), existed: true })).unwrap();
    let submitted = soon(call).await.unwrap().unwrap();
    assert_eq!((submitted.task, submitted.existed), (task, true));
}

#[tokio::test]
async fn submits_everything_that_a_plan_can_say() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let body = || Subtask::new("x").agent("worker");
    let approval = Approval::new()
        .message("Go?")
        .approvers(Approvers::new().name("ada").role("boss"))
        .quorum(2)
        .option("yes", OptionOutcome::Complete)
        .timeout(Duration::from_millis(1500), OnTimeout::Reject);
    let signal = SignalGate::new("paid").matches("signal.ok").timeout(Duration::from_secs(9));
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    let plan = Plan::new().subtasks([
        body().run_if(RunIf::AnyFailed).when("input.n > 1").on_failure(OnFailure::Fail),
        Subtask::approval("a", approval).depends_on(["x"]),
        Subtask::signal("b", signal),
        Subtask::timer("c", Timer::after(Duration::from_secs(3))),
        Subtask::timer("d", Timer::until(until)),
        Subtask::workflow("w", WorkflowCall::new("release").version(3).parameters_from("input.all")),
        Subtask::group("e", [body()]),
        Subtask::map("f", Map::over("outputs.x").max_parallel(4).tolerate(2).subtask(body())),
        Subtask::map("g", Map::over("outputs.x").continue_on_failure().subtask(body())),
        Subtask::repeat("h", Loop::until("outputs.x.ok", 5).on_limit(OnLimit::Complete).subtask(body())),
    ]);
    let call = tokio::spawn(async move { client.submit(SubmitTask::new("t").plan(plan)).await });
    let (request, reply) = calls.submit().await;
    let body = || vec![body().into_message().unwrap()];
    let subtasks = request.plan.unwrap().subtasks;
    let said: Vec<Option<Does>> = subtasks.iter().map(|subtask| subtask.does.clone()).collect();
    let map = |failures, max_parallel| {
        let over = "outputs.x".to_owned();
        Some(Does::Map(proto::Map { over, max_parallel, failures: Some(failures), subtasks: body() }))
    };
    let expected = [
        None,
        Some(Does::Approval(proto::Approval {
            message: "Go?".into(),
            approvers: vec![proto::Approvers { names: vec!["ada".into()], roles: vec!["boss".into()] }],
            quorum: 2,
            options: vec![ApprovalOption { name: "yes".into(), then: OptionOutcome::Complete.into() }],
            timeout_seconds: 2,
            on_timeout: OnTimeout::Reject.into(),
        })),
        Some(Does::Signal(proto::SignalGate {
            name: "paid".into(),
            matches: "signal.ok".into(),
            timeout_seconds: 9,
        })),
        Some(Does::Timer(proto::Timer { at: Some(At::Seconds(3)) })),
        Some(Does::Timer(proto::Timer { at: Some(At::UntilMs(5000)) })),
        Some(Does::Workflow(proto::WorkflowCall {
            name: "release".into(),
            version: 3,
            parameters_from: "input.all".into(),
        })),
        Some(Does::Group(proto::Group { subtasks: body() })),
        map(Failures::Tolerate(2), 4),
        map(Failures::Continue(true), 0),
        Some(Does::Loop(proto::Loop {
            until: "outputs.x.ok".into(),
            max_iterations: 5,
            on_limit: OnLimit::Complete.into(),
            subtasks: body(),
        })),
    ];
    assert_eq!(said, expected);
    let first = &subtasks[0];
    assert_eq!(
        (first.run_if(), &*first.when, first.on_failure()),
        (RunIf::AnyFailed, "input.n > 1", OnFailure::Fail)
    );
    assert_eq!(subtasks[1].depends_on, ["x"]);
    reply.send(Ok(SubmitTaskResponse { task: Some(Task::default()), existed: false })).unwrap();
    soon(call).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_in_a_body_is_told() {
    let (_calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let bad = Subtask::new("bad").input(&HashMap::from([((1, 2), 3)]));
    let plan = Plan::new().subtask(Subtask::group("g", [Subtask::map("m", Map::over("[1]").subtask(bad))]));
    let error = client.lint(plan).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write the input of subtask \"bad\" as JSON: key must be a string");
}

#[tokio::test]
async fn signal_has_an_id_and_says_who_sends_it() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await.by("ada");
    for (signal, by, id) in [
        (SignalTask::new("t", "paid").payload(&json!({"n": 1})), "ada", None),
        (SignalTask::new("t", "paid").by("bob").id("p-1"), "bob", Some("p-1")),
    ] {
        let client = client.clone();
        let call = tokio::spawn(async move { client.signal(signal).await });
        let (first, reply) = calls.signal().await;
        reply.send(Err(Status::unavailable("restarting"))).unwrap();
        let (again, reply) = calls.signal().await;
        assert_eq!(again, first, "the same signal, however often it is sent");
        assert_eq!((&*first.task_id, &*first.name, &*first.by), ("t", "paid", by));
        assert!(id.map_or(!first.signal_id.is_empty(), |id| first.signal_id == id), "{first:?}");
        reply.send(Ok(SignalTaskResponse { taken: true })).unwrap();
        assert!(soon(call).await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn rerun_is_sent_once() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await.by("ada");
    let rerun = RerunTask::new("t").subtasks(["a", "b"]).input("c", &json!(1)).reason("flaky");
    let call = tokio::spawn(async move { client.rerun(rerun).await });
    let (request, reply) = calls.rerun().await;
    assert_eq!((&request.subtask_ids[..], &*request.by), (&["a".to_owned(), "b".to_owned()][..], "ada"));
    assert_eq!((&*request.inputs["c"], &*request.reason), (&b"1"[..], "flaky"));
    reply.send(Err(Status::unavailable("restarting"))).unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap_err().to_string(), "restarting");
}

#[tokio::test]
async fn lint_tells_errors_and_warnings() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let call = tokio::spawn(async move { client.lint(Plan::new().subtask(Subtask::new("a"))).await });
    let (request, reply) = calls.lint().await;
    assert_eq!(request.plan.unwrap().subtasks.len(), 1);
    let issue = PlanIssue {
        field: "plan.subtasks[0].agent".into(),
        issue: "name an agent".into(),
        code: "FIELD".into(),
        hint: "Write it.".into(),
    };
    let answer = LintPlanResponse { errors: vec![issue], warnings: Vec::new() };
    reply.send(Ok(answer.clone())).unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap(), answer);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before() {
    let (_calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let keyed_by_tuple = HashMap::from([((1, 2), 3)]);
    let plan = Plan::new().subtask(Subtask::new("a").input(&keyed_by_tuple));
    let error = client.submit(SubmitTask::new("t").plan(plan)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write the input of subtask \"a\" as JSON: key must be a string");
    let large = Plan::new().subtask(Subtask::new("a").input(&"x".repeat(17 << 20)));
    let error = client.submit(SubmitTask::new("t").plan(large)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 16_777_216, .. }), "{error}");
}

#[tokio::test]
async fn rejection_carries_reason_fields_and_delay() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let call = tokio::spawn(async move { client.submit(SubmitTask::new("t")).await });
    let (_, reply) = calls.submit().await;
    let mut details = ErrorDetails::with_error_info("PLAN_INVALID", "downbeat", HashMap::new());
    details.set_bad_request(vec![Violation::new("plan.subtasks[1].depends_on", "no subtask \"x\"")]);
    details.set_retry_info(Some(Duration::from_millis(700)));
    let status = Status::with_error_details(Code::InvalidArgument, "the plan is invalid", details);
    reply.send(Err(status)).unwrap();
    let error = soon(call).await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the plan is invalid; plan.subtasks[1].depends_on: no subtask \"x\" (PLAN_INVALID)"
    );
    assert_eq!((error.code(), error.reason()), (Some(Code::InvalidArgument), Some("PLAN_INVALID")));
    let Error::Rejected { fields, retry_after, .. } = error else { panic!("{error}") };
    let issue =
        FieldViolation { field: "plan.subtasks[1].depends_on".into(), issue: "no subtask \"x\"".into() };
    assert_eq!((fields, retry_after), (vec![issue], Some(Duration::from_millis(700))));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let call = tokio::spawn(async move { client.get("t").await });
    for status in [Status::unavailable("restarting"), Status::resource_exhausted("slow down")] {
        calls.get().await.1.send(Err(status)).unwrap();
    }
    calls.get().await.1.send(Err(Status::not_found("no task \"t\""))).unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap_err().to_string(), "no task \"t\"");
}

#[tokio::test]
async fn attempts_are_limited_and_the_last_error_is_told() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let call = tokio::spawn(async move { client.get("t").await });
    for n in 1..=3 {
        calls.get().await.1.send(Err(Status::unavailable(format!("{n}")))).unwrap();
    }
    let error = soon(call).await.unwrap().unwrap_err();
    assert_eq!((error.to_string(), error.is_retryable()), ("3".to_owned(), true));
}

#[tokio::test]
async fn retry_that_would_come_after_the_deadline_is_not_waited_for() {
    let (mut calls, addr) = Calls::serve().await;
    let client = Client::builder().addr(&addr).deadline(Duration::from_secs(60)).connect().await.unwrap();
    let call = tokio::spawn(async move { client.get("t").await });
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3600)));
    let status = Status::with_error_details(Code::ResourceExhausted, "come back in an hour", details);
    calls.get().await.1.send(Err(status)).unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap_err().to_string(), "come back in an hour");
}

#[tokio::test]
async fn deadline_ends_a_call_without_an_answer() {
    let (_calls, addr) = Calls::serve().await;
    let client = Client::builder().addr(&addr).deadline(Duration::from_millis(20)).connect().await.unwrap();
    let error = soon(client.get("t")).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("control plane at {addr} gave no answer within 20ms"));
}

#[tokio::test]
async fn call_cut_in_the_middle_is_sent_again() {
    let (mut calls, addr) = Calls::serve().await;
    let wire = Wire::to(&addr).await;
    let client = connect(&wire.addr).await;
    let call = tokio::spawn(async move { client.get("t").await });
    let (_, _unanswered) = calls.get().await;
    wire.cut().await;
    let task = task(TaskStatus::Running, 1);
    calls.get().await.1.send(Ok(GetTaskResponse { task: Some(task.clone()) })).unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap(), task);
}

#[tokio::test]
async fn next_address_is_used_when_one_cannot_be_reached() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&format!("{},{addr}", unused_addr().await)).await;
    let call = tokio::spawn(async move { client.get("t").await });
    calls.get().await.1.send(Ok(GetTaskResponse { task: Some(Task::default()) })).unwrap();
    soon(call).await.unwrap().unwrap();
}

#[tokio::test]
async fn unreachable_control_plane_is_told_with_a_hint() {
    let addr = unused_addr().await;
    let error = soon(Client::connect(&addr)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot reach control plane at {addr}: ")), "{text}");
    assert!(text.ends_with(": is `downbeat dev` running?"), "{text}");
    assert!(error.is_retryable());
}

/// An address that nobody listens on: the port was free a moment ago.
async fn unused_addr() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn address_that_cannot_be_used_is_refused_with_the_reason() {
    let problem = |addr: &str| Client::builder().addr(addr).connect_lazy().unwrap_err().to_string();
    assert!(
        problem("https://a:1").contains("the scheme \"https\" is not supported"),
        "{}",
        problem("https://a:1")
    );
    assert!(problem("http://a").contains("it names no port"), "{}", problem("http://a"));
    assert!(problem(" , ").contains("it is empty"), "{}", problem(" , "));
    assert!(problem("a b:1").starts_with("invalid address \"a b:1\""), "{}", problem("a b:1"));
    assert!(Client::builder().addr("a:9083, http://b.example:1/").connect_lazy().is_ok());
}

#[tokio::test]
async fn watch_resumes_where_it_broke() {
    let (mut calls, addr) = Calls::serve().await;
    let wire = Wire::to(&addr).await;
    let mut events = connect(&wire.addr).await.watch("t", 2);
    let watching = tokio::spawn(async move {
        let mut numbers = Vec::new();
        while let Some(event) = events.try_next().await? {
            numbers.push(event.number);
        }
        Ok::<_, Error>(numbers)
    });
    let (after, stream) = calls.watch().await;
    assert_eq!(after, 2);
    stream.send(event(3, TaskStatus::Running)).await.unwrap();
    stream.send(Err(Status::unavailable("restarting"))).await.unwrap();
    let (after, stream) = calls.watch().await;
    assert_eq!(after, 3);
    stream.send(event(3, TaskStatus::Running)).await.unwrap();
    stream.send(event(4, TaskStatus::Unspecified)).await.unwrap();
    drop(stream);
    // An end in order, before the final event: is the task over?
    calls.get().await.1.send(Ok(GetTaskResponse { task: Some(task(TaskStatus::Running, 5)) })).unwrap();
    let (after, stream) = calls.watch().await;
    assert_eq!(after, 4);
    wire.cut().await;
    stream.closed().await;
    let (after, stream) = calls.watch().await;
    assert_eq!(after, 4);
    stream.send(event(5, TaskStatus::Running)).await.unwrap();
    stream.send(event(6, TaskStatus::Completed)).await.unwrap();
    drop(stream);
    assert_eq!(soon(watching).await.unwrap().unwrap(), [3, 4, 5, 6]);
}

#[tokio::test]
async fn watch_goes_on_where_a_task_went_on_after_its_end() {
    let (mut calls, addr) = Calls::serve().await;
    let events = connect(&addr).await.watch("t", 0);
    let watching = tokio::spawn(events.map_ok(|event| event.number).try_collect::<Vec<_>>());
    let (_, stream) = calls.watch().await;
    for (number, status) in [
        (1, TaskStatus::Running),
        (2, TaskStatus::Failed),
        (3, TaskStatus::Running),
        (4, TaskStatus::Completed),
    ] {
        stream.send(event(number, status)).await.unwrap();
    }
    // The stream stays open, and nothing more comes.
    assert_eq!(soon(watching).await.unwrap().unwrap(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn watch_from_behind_the_final_event_ends() {
    let (mut calls, addr) = Calls::serve().await;
    let mut events = connect(&addr).await.watch("t", 6);
    let watching = tokio::spawn(async move { events.next().await.is_none() });
    drop(calls.watch().await);
    calls.get().await.1.send(Ok(GetTaskResponse { task: Some(task(TaskStatus::Failed, 6)) })).unwrap();
    assert!(soon(watching).await.unwrap());
}

#[tokio::test]
async fn watch_ends_with_a_rejection() {
    let (mut calls, addr) = Calls::serve().await;
    let events = connect(&addr).await.watch("t", 0);
    let watching = tokio::spawn(events.map(|event| event.map(|event| event.number)).collect::<Vec<_>>());
    let (_, stream) = calls.watch().await;
    stream.send(event(1, TaskStatus::Planned)).await.unwrap();
    stream.send(Err(Status::permission_denied("not yours"))).await.unwrap();
    let items = soon(watching).await.unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].as_ref().ok(), Some(&1));
    assert_eq!(items[1].as_ref().unwrap_err().code(), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn wait_follows_the_task_to_its_end() {
    let (mut calls, addr) = Calls::serve().await;
    let client = connect(&addr).await;
    let waiting = tokio::spawn(async move { client.wait("t").await });
    let (request, reply) = calls.get().await;
    assert!(request.omit_outputs);
    reply.send(Ok(GetTaskResponse { task: Some(task(TaskStatus::Running, 8)) })).unwrap();
    let (after, stream) = calls.watch().await;
    assert_eq!(after, 8);
    stream.send(event(9, TaskStatus::NeedsReview)).await.unwrap();
    stream.send(event(10, TaskStatus::Cancelled)).await.unwrap();
    drop(stream);
    let (request, reply) = calls.get().await;
    assert!(!request.omit_outputs);
    reply.send(Ok(GetTaskResponse { task: Some(task(TaskStatus::Cancelled, 10)) })).unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap().status(), TaskStatus::Cancelled);
}

#[tokio::test]
async fn list_all_goes_through_the_pages() {
    let (mut calls, addr) = Calls::serve().await;
    let tasks = connect(&addr).await.list_all(ListTasks::new().status(TaskStatus::Failed).page_size(2));
    let listing = tokio::spawn(tasks.map_ok(|task| task.task_id).try_collect::<Vec<_>>());
    for (token, ids, next) in [("", &["a", "b"][..], "2"), ("2", &[][..], "3"), ("3", &["c"][..], "")] {
        let (request, reply) = calls.list().await;
        assert_eq!((&*request.page_token, request.page_size, request.statuses.len()), (token, 2, 1));
        let tasks =
            ids.iter().map(|id| TaskSummary { task_id: (*id).to_owned(), ..Default::default() }).collect();
        reply.send(Ok(ListTasksResponse { tasks, next_page_token: next.to_owned() })).unwrap();
    }
    assert_eq!(soon(listing).await.unwrap().unwrap(), ["a", "b", "c"]);
}
