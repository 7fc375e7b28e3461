//! Workers without manners: what they say is answered or ignored as the contract has it, changes nothing that
//! is not theirs, and never costs anybody else.

use downbeat_proto::v1::{
    AgentDeclaration, Artifact, AssignAck, CancelAck, Completed, Heartbeat, Hello, LeaseRef, Progress,
    Result as AttemptResult, Results, Resume, result::Outcome as Delivered, session_request::Message as Said,
};
use downbeat_sdk::proto::{Outcome, SubtaskState, TaskStatus, result_ack::Verdict};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Ledger, RawWorker, Watcher,
        plans::{chain, fan, single},
        raw_worker::{completed, failed, hello, lease_of},
        soon,
    },
    on_both_databases,
};
use futures::{StreamExt, stream};
use tonic::Code;
use tonic_types::StatusExt;

on_both_databases! {
    stale_foreign_and_invented_leases_change_nothing
    doubled_results_are_recognised
    heartbeats_for_unknown_leases_are_harmless
    bad_outputs_are_refused_and_fail_their_attempt
    session_is_resumed_only_with_its_token
    workers_that_connect_at_the_same_time_keep_their_streams
}

#[tokio::test]
async fn bad_hellos_are_refused_with_their_fields() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let good = || hello(&["maker"], 1);
    let agent = |agent: AgentDeclaration| Hello { agents: vec![agent], ..good() };
    let named = |name: &str| agent(AgentDeclaration { name: name.into(), ..Default::default() });
    let tagged = |tag: &str| {
        let capabilities = vec!["fine".into(), tag.into()];
        agent(AgentDeclaration { name: "maker".into(), capabilities, ..Default::default() })
    };
    let many = |count: usize| (0..count).map(|i| format!("t{i}")).collect::<Vec<_>>();
    let long = "x".repeat(101);
    let names = many(101);
    let rows = [
        ("no agent", Hello { agents: Vec::new(), ..good() }, "hello.agents"),
        ("too many agents", hello(&names.iter().map(String::as_str).collect::<Vec<_>>(), 1), "hello.agents"),
        ("an agent without a name", named(""), "hello.agents[0].name"),
        ("an agent of spaces", named("a b"), "hello.agents[0].name"),
        ("an agent with NUL", named("a\0"), "hello.agents[0].name"),
        ("an over-long agent", named(&long), "hello.agents[0].name"),
        ("an agent twice", hello(&["maker", "maker"], 1), "hello.agents[1].name"),
        ("a tag without text", tagged(""), "hello.agents[0].capabilities[1]"),
        ("a tag of spaces", tagged("not ok"), "hello.agents[0].capabilities[1]"),
        ("an over-long tag", tagged(&long), "hello.agents[0].capabilities[1]"),
        (
            "too many tags",
            agent(AgentDeclaration { name: "maker".into(), capabilities: many(65), ..Default::default() }),
            "hello.agents[0].capabilities",
        ),
        (
            "a domain with NUL",
            agent(AgentDeclaration { name: "maker".into(), domain: "\0".into(), ..Default::default() }),
            "hello.agents[0].domain",
        ),
        (
            "an input schema that is not JSON",
            agent(AgentDeclaration { name: "maker".into(), input_schema: "{".into(), ..Default::default() }),
            "hello.agents[0].input_schema",
        ),
        (
            "an output schema that is none",
            agent(AgentDeclaration {
                name: "maker".into(),
                output_schema: "[]".into(),
                ..Default::default()
            }),
            "hello.agents[0].output_schema",
        ),
        ("no slots", Hello { slots: 0, ..good() }, "hello.slots"),
        (
            "a reconnect without a number",
            Hello { resume: Some(Resume::default()), ..good() },
            "hello.resume.connection",
        ),
        ("too many slots", Hello { slots: 10_001, ..good() }, "hello.slots"),
        ("slots without end", Hello { slots: u32::MAX, ..good() }, "hello.slots"),
        ("an over-long worker", Hello { worker: long.clone(), ..good() }, "hello.worker"),
        ("a worker with a bell", Hello { worker: "\u{7}".into(), ..good() }, "hello.worker"),
        (
            "too many labels",
            Hello { labels: many(65).into_iter().map(|name| (name, String::new())).collect(), ..good() },
            "hello.labels",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, hello, field) in rows {
        let Err(status) = RawWorker::open(&plane.grpc, hello).await else {
            wrong.push(format!("{name}: accepted"));
            continue;
        };
        let details = status.get_error_details();
        let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let named = fields.iter().any(|violation| violation.field == field);
        let reason = details.error_info().map(|info| info.reason.as_str());
        if status.code() != Code::InvalidArgument || reason != Some("INVALID_REQUEST") || !named {
            wrong.push(format!("{name}: {status:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for first in [Said::Heartbeat(Heartbeat::default()), Said::Results(Results::default())] {
        let status = RawWorker::open_with(&plane.grpc, first).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "the first message is Hello");
    }
    assert!(plane.client().workers("").await.unwrap().is_empty());
    RawWorker::start(&plane.grpc, &["maker"], 10_000).await;
}

/// Leases that nobody ever gave, one for each way to make one up.
fn invented(real: LeaseRef) -> Vec<LeaseRef> {
    vec![
        LeaseRef { lease_id: real.lease_id + 1, ..real },
        LeaseRef { lease_id: real.lease_id - 1, ..real },
        LeaseRef { lease_id: 0, ..real },
        LeaseRef { lease_id: -1, ..real },
        LeaseRef { lease_id: i64::MIN, ..real },
        LeaseRef { lease_id: i64::MAX, ..real },
        LeaseRef { index: real.index + 1, ..real },
        LeaseRef { index: u32::MAX, ..real },
        LeaseRef { task_no: real.task_no + 1, ..real },
        LeaseRef { task_no: 0, ..real },
        LeaseRef { task_no: -1, ..real },
        LeaseRef { task_no: i64::MIN, ..real },
        LeaseRef { task_no: i64::MAX, ..real },
        LeaseRef { lease_id: i64::MAX, task_no: i64::MAX, index: u32::MAX },
        LeaseRef::default(),
    ]
}

async fn stale_foreign_and_invented_leases_change_nothing(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 1).await;
    let mut thief = RawWorker::start(&plane.grpc, &["thief"], 4).await;
    client.submit(single("x-1", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("x-1");
    client.execute("x-1").await.unwrap();
    // Stale: its attempt failed already.
    let first = worker.begin().await;
    worker.fail(lease_of(&first), "BROKEN", true).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    worker.complete(lease_of(&first), "\"too late\"").await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Stale]);
    let second = worker.begin().await;
    ledger.begin(&second);
    assert_eq!(second.attempt, 2);
    assert!(lease_of(&second).lease_id > lease_of(&first).lease_id);
    worker.complete(lease_of(&first), "\"far too late\"").await;
    worker.fail(lease_of(&first), "BROKEN", true).await;
    assert_eq!(worker.verdicts(2).await, [Verdict::Stale, Verdict::Stale]);
    // Foreign: another session holds it. Every kind of message is tried.
    let lease = lease_of(&second);
    thief.acknowledge(&[lease]).await;
    thief.heartbeat(&[lease]).await;
    thief.progress(lease, "stolen").await;
    thief.free(&[lease]).await;
    thief.complete(lease, "\"stolen\"").await;
    thief.fail(lease, "STOLEN", false).await;
    assert_eq!(thief.verdicts(2).await, [Verdict::Stale, Verdict::Stale]);
    // Invented.
    let made_up = invented(lease);
    for worker in [&worker, &thief] {
        worker.say(Said::AssignAck(AssignAck { leases: made_up.clone() })).await;
        worker.say(Said::CancelAck(CancelAck { leases: made_up.clone() })).await;
        for lease in &made_up {
            let progress = Progress { lease: Some(*lease), message: "made up".into(), fraction: f64::NAN };
            worker.say(Said::Progress(progress)).await;
        }
        worker.results(made_up.iter().map(|lease| completed(*lease, "1")).collect()).await;
    }
    for worker in [&mut worker, &mut thief] {
        for ack in worker.acks(made_up.len()).await {
            assert_eq!(ack.verdict(), Verdict::Stale, "{ack:?}");
        }
    }
    let running = client.get("x-1").await.unwrap();
    assert_eq!(running.subtasks[0].attempts.len(), 2);
    assert!([SubtaskState::Leased, SubtaskState::Running].contains(&running.subtasks[0].state()));

    worker.deliver(&second).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let events = client.events("x-1", 0, 0).await.unwrap().events;
    assert!(events.iter().all(|event| event.message != "stolen" && event.message != "made up"), "{events:?}");
}

async fn doubled_results_are_recognised(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 4).await;
    client.submit(chain("y-1", "maker", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("y-1");
    client.execute("y-1").await.unwrap();
    let brief = worker.begin().await;
    ledger.begin(&brief);
    let lease = lease_of(&brief);
    let result = completed(lease, &format!("{{\"lease\":{}}}", lease.lease_id));
    worker.results(vec![result.clone(), result.clone()]).await;
    worker.results(vec![result.clone()]).await;
    let verdicts = worker.verdicts(3).await;
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Duplicate, Verdict::Duplicate]);
    worker.results(vec![failed(lease, "SECOND_THOUGHTS", false)]).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Stale], "another outcome is no duplicate");
    // A failure is recognised as well, until the next attempt.
    let brief = worker.begin().await;
    let lease = lease_of(&brief);
    worker.results(vec![failed(lease, "BROKEN", true), failed(lease, "BROKEN", true)]).await;
    assert_eq!(worker.verdicts(2).await, [Verdict::Accepted, Verdict::Duplicate]);
    let brief = worker.begin().await;
    assert_eq!(brief.attempt, 2, "it failed once, not twice");
    ledger.begin(&brief);
    worker.results(vec![failed(lease, "BROKEN", true)]).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Stale]);
    worker.deliver(&brief).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    watcher.verify(&ledger).await;
}

async fn heartbeats_for_unknown_leases_are_harmless(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 4).await;
    client.submit(fan("z-1", "maker", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("z-1");
    client.execute("z-1").await.unwrap();
    let (kept, forgotten) = (worker.begin().await, worker.begin().await);
    ledger.begin(&kept);
    ledger.begin(&forgotten);
    let mut said = invented(lease_of(&kept));
    said.retain(|lease| lease.lease_id != lease_of(&forgotten).lease_id);
    said.push(lease_of(&kept));
    // What a worker no longer mentions is lost, and goes to the next free slot; the rest is as before.
    for _ in 0..4 {
        worker.heartbeat(&said).await;
    }
    worker.heartbeat(&[said.as_slice(); 200].concat()).await;
    let again = worker.begin().await;
    ledger.begin(&again);
    assert_eq!((again.key.as_str(), again.attempt), (forgotten.key.as_str(), 2));
    worker.deliver(&forgotten).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Stale]);
    worker.deliver(&kept).await;
    worker.deliver(&again).await;
    assert_eq!(worker.verdicts(2).await, [Verdict::Accepted, Verdict::Accepted]);
    let task = watcher.verify(&ledger).await.remove(0);
    let lost = task.subtasks.iter().find(|sub| sub.key == forgotten.key).unwrap();
    assert_eq!(lost.attempts[0].outcome(), Outcome::Lost);
    assert_eq!(task.metrics.unwrap().failures, 0, "a lost worker is no failure");
}

async fn bad_outputs_are_refused_and_fail_their_attempt(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 4).await;
    let bytes_max = usize::try_from(worker.welcome.output_bytes_max).unwrap();
    let output =
        |output: Vec<u8>| Delivered::Completed(Completed { output: output.into(), artifacts: Vec::new() });
    let with_artifacts =
        |artifacts: Vec<Artifact>| Delivered::Completed(Completed { output: Default::default(), artifacts });
    let of_bytes = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    let named = |name: String| Artifact { name, uri: "file:///x".into(), ..Default::default() };
    let bad: Vec<(&str, Option<Delivered>)> = vec![
        ("one byte over the limit", Some(output(of_bytes(bytes_max + 1)))),
        ("no JSON", Some(output(b"nonsense".to_vec()))),
        ("two documents", Some(output(b"1 2".to_vec()))),
        ("invalid UTF-8", Some(output(b"\"\xff\"".to_vec()))),
        ("NUL", Some(output(b"\"\\u0000\"".to_vec()))),
        ("out of range", Some(output(b"1e999".to_vec()))),
        ("deep", Some(output([vec![b'['; 101], vec![b']'; 101]].concat()))),
        ("too many artifacts", Some(with_artifacts((0..101).map(|i| named(i.to_string())).collect()))),
        ("an over-long artifact", Some(with_artifacts(vec![named("n".repeat(2_001))]))),
        ("neither completed nor failed", None),
    ];
    let plan =
        downbeat_sdk::Subtask::new("only").agent("maker").max_attempts(u32::try_from(bad.len()).unwrap() + 1);
    let task = downbeat_sdk::SubmitTask::new("o-1")
        .title("bad outputs")
        .plan(downbeat_sdk::Plan::new().subtask(plan));
    client.submit(task).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("o-1");
    client.execute("o-1").await.unwrap();
    for (name, outcome) in bad {
        // No backoff between the attempts: they are many.
        let brief = worker.begin().await;
        worker.results(vec![AttemptResult { lease: Some(lease_of(&brief)), outcome }]).await;
        let ack = worker.acks(1).await.remove(0);
        assert_eq!(ack.verdict(), Verdict::Refused, "{name}: {ack:?}");
        assert!(!ack.message.is_empty(), "{name}: says why");
        // When its wait is over by then, it has gone on by itself.
        if let Err(error) = client.retry_subtask("o-1", "only").await {
            assert_eq!(error.reason(), Some("SUBTASK_STATE"), "{error}");
        }
    }
    // A result without a lease has nobody to be answered to, and costs its neighbours nothing.
    let brief = worker.begin().await;
    ledger.begin(&brief);
    let lease = lease_of(&brief);
    let text = format!("{{\"lease\":{},\"x\":\"", lease.lease_id);
    let exact = text.clone() + &"x".repeat(bytes_max - text.len() - 2) + "\"}";
    assert_eq!(exact.len(), bytes_max);
    worker.results(vec![AttemptResult::default(), completed(lease, &exact)]).await;
    assert_eq!(worker.verdicts(1).await, [Verdict::Accepted], "exactly at the limit");
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.subtasks[0].output.len(), bytes_max);
    let refused = task.subtasks[0].attempts[0].error.as_ref().unwrap();
    assert_eq!(refused.code, "INVALID_OUTPUT");
    assert!(refused.message.contains("OUTPUT_BYTES"), "{}", refused.message);
}

async fn session_is_resumed_only_with_its_token(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 2).await;
    client.submit(fan("q-1", "maker", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("q-1");
    client.execute("q-1").await.unwrap();
    let (first, second) = (worker.begin().await, worker.begin().await);
    let (one, two) = (lease_of(&first), lease_of(&second));
    let welcome = worker.welcome.clone();
    let resume = |token: &str, connection: u32| {
        let (session_id, token) = (welcome.session_id, token.to_owned());
        let resume = Resume { session_id, token, in_flight: vec![one, two], connection };
        Hello { resume: Some(resume), ..hello(&["other"], 1) }
    };
    for token in ["", "nonsense", "00000000-0000-0000-0000-000000000000", "\0"] {
        let thief = RawWorker::open(&plane.grpc, resume(token, 1)).await.unwrap();
        assert!(!thief.welcome.resumed);
        assert_ne!(thief.welcome.session_id, worker.welcome.session_id);
        assert_eq!(thief.welcome.lost, [one, two], "nothing of it is the thief's");
        thief.goodbye().await;
    }
    // The worker itself comes back, on a second stream while the first is open, and does not remember one.
    let mut back = RawWorker::resume(&plane.grpc, hello(&["maker"], 2), &welcome, &[one]).await;
    assert!(back.welcome.resumed);
    assert_eq!((back.welcome.session_id, back.welcome.lost.len()), (welcome.session_id, 0));
    soon("the old stream ends", worker.end()).await;
    ledger.begin(&first);
    back.deliver(&first).await;
    assert_eq!(back.verdicts(1).await, [Verdict::Accepted]);
    let again = back.begin().await;
    ledger.begin(&again);
    assert_eq!(
        (again.key.as_str(), again.attempt),
        (second.key.as_str(), 1),
        "handed back, no attempt spent"
    );
    back.complete(two, "\"forgotten\"").await;
    assert_eq!(back.verdicts(1).await, [Verdict::Stale]);
    back.deliver(&again).await;
    assert_eq!(back.verdicts(1).await, [Verdict::Accepted]);
    let third = RawWorker::open(&plane.grpc, resume(&welcome.resume_token, 3)).await.unwrap();
    assert!(third.welcome.resumed);
    let late = RawWorker::open(&plane.grpc, resume(&welcome.resume_token, 2)).await.err().unwrap();
    let words = "connection 3 of this session is taken up; connect with a higher number, got 2";
    assert_eq!((late.code(), late.message()), (Code::Aborted, words));
    watcher.verify(&ledger).await;
}

async fn workers_that_connect_at_the_same_time_keep_their_streams(database: Database) {
    const WORKERS: usize = 200;
    // It looks at its sessions all the time, and so also while some are being opened.
    let plane = ControlPlane::start_here(&database, |config| {
        config.tick_ms = 2;
        config.liveness.lease_ms = 600_000;
        config.liveness.assign_ack_ms = 600_000;
        config.policy.grace_ms = 600_000;
    })
    .await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let opening = (0..WORKERS).map(|_| RawWorker::start(&plane.grpc, &["maker"], 1));
    let workers: Vec<RawWorker> = stream::iter(opening).buffer_unordered(4).collect().await;
    client.submit(fan("crowd", "maker", WORKERS)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("crowd");
    client.execute("crowd").await.unwrap();
    // Each has one slot, so each gets one, on the stream that it opened. Nobody delivers before, and gets a second.
    let beginning = workers.into_iter().map(async |mut worker| {
        let brief = worker.begin().await;
        (worker, brief)
    });
    for (mut worker, brief) in futures::future::join_all(beginning).await {
        ledger.begin(&brief);
        worker.deliver(&brief).await;
        assert_eq!(worker.verdicts(1).await, [Verdict::Accepted]);
    }
    watcher.verify(&ledger).await;
}

#[tokio::test]
async fn oversized_message_ends_the_stream_and_no_more() {
    let database = Database::sqlite();
    let plane = ControlPlane::start_patient(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 2).await;
    client.submit(single("v-1", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("v-1");
    client.execute("v-1").await.unwrap();
    let brief = worker.begin().await;
    ledger.begin(&brief);
    let too_large = "x".repeat(17 << 20);
    worker.complete(lease_of(&brief), &too_large).await;
    soon("the stream ends", worker.end()).await;
    let welcome = worker.welcome.clone();
    let mut back = RawWorker::resume(&plane.grpc, hello(&["maker"], 2), &welcome, &[lease_of(&brief)]).await;
    assert!(back.welcome.resumed && back.welcome.lost.is_empty());
    back.deliver(&brief).await;
    assert_eq!(back.verdicts(1).await, [Verdict::Accepted]);
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.subtasks[0].attempts.len(), 1);
}
