//! The life of a task over gRPC: submit, execute, get, list, watch, pause, cancel, deadline.

use std::time::{Duration, SystemTime};

use downbeat_sdk::{
    Agent, Context, ExecuteTask, HandlerError, ListTasks, Output,
    proto::{Outcome, Priority, SubtaskState, TaskStatus},
};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Gate, Ledger, RawWorker, SdkWorker, Watcher, Wire,
        history::statuses,
        plans::{chain, diamond, fan, single},
        raw_worker::lease_of,
        served, soon,
    },
    on_both_databases,
};
use futures::TryStreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

on_both_databases! {
    runs_from_submit_to_outputs
    starts_with_its_submission
    same_submission_is_found_again_and_another_is_a_conflict
    lists_tasks_newest_first_in_pages
    cancel_stops_workers_and_frees_their_slots
    pause_starts_nothing_until_executed_again
    watch_goes_on_after_the_last_number_seen
    deadline_ends_a_task
    hands_over_input_context_and_outputs
}

async fn runs_from_submit_to_outputs(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;

    let submitted = client.submit(diamond("d-1", "maker").priority(Priority::High)).await.unwrap();
    assert!(!submitted.existed);
    assert_eq!(submitted.task.status(), TaskStatus::Planned);
    assert_eq!(submitted.task.subtasks[3].subtask_id, "maker::d-1::4");
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("d-1");
    let executed = client.execute("d-1").await.unwrap();
    assert_eq!((executed.status(), executed.blocked.len()), (TaskStatus::Running, 0));

    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let outputs = task.subtasks.iter().map(|sub| serde_json::from_slice::<Value>(&sub.output).unwrap());
    let values: Vec<Value> = outputs.map(|output| output["value"].clone()).collect();
    assert_eq!(values, [1, 1, 1, 2]);
    for sub in &task.subtasks {
        let [attempt] = &sub.attempts[..] else { panic!("one attempt: {sub:?}") };
        assert_eq!((attempt.attempt, attempt.outcome()), (1, Outcome::Completed));
        assert_eq!(attempt.worker, "test-worker");
        assert!(attempt.started_at_ms > 0 && attempt.ended_at_ms >= attempt.started_at_ms);
    }
    let history: Vec<TaskStatus> = task.status_history.iter().map(|change| change.status()).collect();
    assert_eq!(history, [TaskStatus::Planned, TaskStatus::Running, TaskStatus::Completed]);
    let metrics = task.metrics.unwrap();
    assert_eq!((metrics.subtasks_total, metrics.subtasks_finished), (4, 4));
    assert_eq!((metrics.attempts, metrics.failures, metrics.on_time), (4, 0, None));
    let output = client.output("d-1", "end").await.unwrap().output;
    assert_eq!(output, task.subtasks[3].output);
    assert!(
        client.get_without_outputs("d-1").await.unwrap().subtasks.iter().all(|sub| sub.output.is_empty())
    );
    assert_eq!(client.execute("d-1").await.unwrap().status(), TaskStatus::Completed, "again changes nothing");
    plane.stop().await;
}

async fn starts_with_its_submission(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let planned = client.submit(single("d-2", "maker")).await.unwrap();
    assert_eq!(planned.task.status(), TaskStatus::Planned);
    // Nobody serves it yet; what was planned before is started by the repeat.
    let [alone, repeat] = ["d-1", "d-2"].map(|id| client.submit(single(id, "maker").execute()));
    for (submitted, existed) in [(alone.await.unwrap(), false), (repeat.await.unwrap(), true)] {
        assert_eq!((submitted.existed, submitted.task.status()), (existed, TaskStatus::Running));
        assert_eq!(submitted.task.subtasks[0].state(), SubtaskState::Blocked);
    }
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("d-1");
    watcher.follow("d-2");
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;
    client.submit(diamond("d-3", "maker").execute()).await.unwrap();
    watcher.follow("d-3");
    for task in watcher.verify(&ledger).await {
        assert_eq!(task.status(), TaskStatus::Completed);
    }
    let again = client.submit(diamond("d-3", "maker").execute()).await.unwrap();
    assert_eq!((again.existed, again.task.status()), (true, TaskStatus::Completed));
    plane.stop().await;
}

async fn same_submission_is_found_again_and_another_is_a_conflict(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let client = plane.client();
    assert!(!client.submit(single("s-1", "a")).await.unwrap().existed);
    let again = client.submit(single("s-1", "a")).await.unwrap();
    assert!(again.existed);
    assert_eq!(again.task.task_id, "s-1");
    let other = client.submit(single("s-1", "b")).await.unwrap_err();
    assert_eq!((other.code(), other.reason()), (Some(tonic::Code::AlreadyExists), Some("TASK_CONFLICT")));
    assert!(client.submit(single("s-1", "a").priority(Priority::Low)).await.is_err(), "another priority");
    // Many at once are one.
    let tries = (0..16).map(|_| client.submit(diamond("s-2", "a")));
    let answers = futures::future::try_join_all(tries).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| !answer.existed).count(), 1);
    let different = (0..8).map(|i| client.submit(fan("s-3", "a", i + 1)));
    let answers = futures::future::join_all(different).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(
        answers.iter().flat_map(|answer| answer.as_ref().err()).all(|e| e.reason() == Some("TASK_CONFLICT"))
    );
    assert_eq!(client.get("nobody").await.unwrap_err().reason(), Some("TASK_UNKNOWN"));
    assert_eq!(client.execute("nobody").await.unwrap_err().code(), Some(tonic::Code::NotFound));
}

async fn lists_tasks_newest_first_in_pages(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let client = plane.client();
    for i in 0..7 {
        client.submit(single(&format!("even-{i}"), "a")).await.unwrap();
        client.submit(single(&format!("odd_%-{i}"), "a")).await.unwrap();
    }
    client.cancel("even-3", "not needed").await.unwrap();
    let all: Vec<_> = client.list_all(ListTasks::new().page_size(4)).try_collect().await.unwrap();
    let expected: Vec<String> =
        (0..7).rev().flat_map(|i| [format!("odd_%-{i}"), format!("even-{i}")]).collect();
    assert_eq!(all.iter().map(|task| task.task_id.clone()).collect::<Vec<_>>(), expected);
    let ids = |filter: ListTasks| {
        let client = client.clone();
        async move {
            let found: Vec<_> = client.list_all(filter).try_collect().await.unwrap();
            found.into_iter().map(|task| task.task_id).collect::<Vec<_>>()
        }
    };
    assert_eq!(ids(ListTasks::new().status(TaskStatus::Cancelled)).await, ["even-3"]);
    assert_eq!(ids(ListTasks::new().status(TaskStatus::Planned).page_size(5)).await.len(), 13);
    assert_eq!(ids(ListTasks::new().prefix("odd_%-6")).await, ["odd_%-6"]);
    assert_eq!(ids(ListTasks::new().prefix("odd_%")).await.len(), 7, "a prefix is no pattern");
    assert_eq!(ids(ListTasks::new().prefix("_")).await.len(), 0, "a prefix is no pattern");
    let whole = client.list(ListTasks::new().page_size(14)).await.unwrap();
    assert_eq!((whole.tasks.len(), whole.next_page_token.as_str()), (14, ""), "no page after the last");
    let page = client.list(ListTasks::new().page_size(3)).await.unwrap();
    client.submit(single("newest", "a")).await.unwrap();
    let next = client.list(ListTasks::new().page_size(3).page_token(page.next_page_token)).await.unwrap();
    assert_eq!(next.tasks[0].task_id, "even-5", "new tasks do not move the pages");
    let bad = client.list(ListTasks::new().page_token("nonsense")).await.unwrap_err();
    assert_eq!(bad.reason(), Some("INVALID_REQUEST"));
}

async fn cancel_stops_workers_and_frees_their_slots(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let client = plane.client();
    let (told, mut stopped) = mpsc::unbounded_channel();
    let _worker = SdkWorker::custom(&plane.grpc, 1, |worker| {
        worker.agent(Agent::new("sleeper"), move |context: Context| {
            let told = told.clone();
            async move {
                let _ = told.send("begun".to_owned());
                context.cancelled().await;
                let _ = told.send(context.cancel_reason().unwrap().to_string());
                Err::<Output, _>(HandlerError::retryable("STOPPED", "as told"))
            }
        })
    });
    served(&client, "sleeper").await;
    client.submit(chain("c-1", "sleeper", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("c-1");
    client.execute("c-1").await.unwrap();
    assert_eq!(soon("the attempt begins", stopped.recv()).await.unwrap(), "begun");
    assert_eq!(client.cancel("c-1", "changed our mind").await.unwrap(), TaskStatus::Cancelled);
    let reason = soon("the attempt is told", stopped.recv()).await.unwrap();
    assert!(reason.contains("cancelled"), "{reason}");
    assert_eq!(client.cancel("c-1", "again").await.unwrap(), TaskStatus::Cancelled, "again changes nothing");
    assert_eq!(client.execute("c-1").await.unwrap_err().reason(), Some("TASK_FINISHED"));

    let task = watcher.verify(&Ledger::default()).await.remove(0);
    assert_eq!(task.reason, "changed our mind");
    assert!(task.subtasks.iter().all(|sub| sub.state() == SubtaskState::Cancelled));
    assert_eq!(task.subtasks[0].attempts[0].outcome(), Outcome::Cancelled);
    // Its only slot is free again.
    client.submit(single("c-2", "sleeper")).await.unwrap();
    client.execute("c-2").await.unwrap();
    assert_eq!(soon("the next attempt begins", stopped.recv()).await.unwrap(), "begun");
}

async fn pause_starts_nothing_until_executed_again(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 8, &ledger, &gate);
    served(&client, "maker").await;
    client.submit(diamond("p-1", "maker")).await.unwrap();
    assert_eq!(client.pause("p-1").await.unwrap_err().reason(), Some("TASK_NOT_STARTED"));
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("p-1");
    client.execute("p-1").await.unwrap();
    ledger.begun(1).await;
    assert_eq!(client.pause("p-1").await.unwrap(), TaskStatus::Paused);
    gate.open_for_all();
    // What runs may finish, and makes the next ones ready.
    watcher.sees("p-1", "`start` completes", |event| event.kind == "subtask.completed").await;
    // Another task of the same agent runs from start to end meanwhile: the paused one had its chance.
    client.submit(diamond("p-2", "maker")).await.unwrap();
    watcher.follow("p-2");
    client.execute("p-2").await.unwrap();
    watcher.sees("p-2", "completes", |event| event.kind == "task.completed").await;
    let paused = client.get("p-1").await.unwrap();
    assert_eq!(paused.status(), TaskStatus::Paused);
    assert_eq!(paused.subtasks[1].state(), SubtaskState::Ready);
    assert!(paused.subtasks[1].attempts.is_empty());
    assert_eq!(client.execute("p-1").await.unwrap().status(), TaskStatus::Running);
    watcher.verify(&ledger).await;
    let events: Vec<_> = client.events_all("p-1", 0).try_collect().await.unwrap();
    let expected = [
        TaskStatus::Planned,
        TaskStatus::Running,
        TaskStatus::Paused,
        TaskStatus::Running,
        TaskStatus::Completed,
    ];
    assert_eq!(statuses(&events), expected);
}

async fn watch_goes_on_after_the_last_number_seen(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let wire = Wire::to(&plane.grpc).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 8, &ledger, &gate);
    served(&client, "maker").await;
    client.submit(chain("w-1", "maker", 12)).await.unwrap();
    let mut watcher = Watcher::new(&[&wire.url()]);
    watcher.follow("w-1");
    let through_the_wire = downbeat_tests::harness::control_plane::client(&wire.url());
    let mut sdk_watch = through_the_wire.watch("w-1", 0);
    let followed = tokio::spawn(async move {
        let mut numbers = Vec::new();
        while let Some(event) = sdk_watch.try_next().await.unwrap() {
            numbers.push(event.number);
        }
        numbers
    });
    client.execute("w-1").await.unwrap();
    for done in 1..=4 {
        gate.let_through(3);
        let completed = |event: &downbeat_sdk::proto::Event| event.kind == "subtask.completed";
        watcher.counts("subtask.completed", 3 * done - 1, completed).await;
        wire.cut();
        wire.mend();
    }
    let numbers = soon("the watch ends", followed).await.unwrap();
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(numbers, (1..=task.last_event).collect::<Vec<_>>());
    // After the end: the rest, and at once the end.
    let rest: Vec<_> = client.watch("w-1", task.last_event - 2).try_collect().await.unwrap();
    assert_eq!(
        rest.iter().map(|event| event.number).collect::<Vec<_>>(),
        [task.last_event - 1, task.last_event]
    );
    let none: Vec<_> = client.watch("w-1", task.last_event).try_collect().await.unwrap();
    assert!(none.is_empty());
    let unknown = client.watch("nobody", 0).try_next().await.unwrap_err();
    assert_eq!(unknown.reason(), Some("TASK_UNKNOWN"));
}

async fn deadline_ends_a_task(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let client = plane.client();
    let mut worker = RawWorker::start(&plane.grpc, &["late"], 4).await;
    let deadline = SystemTime::now() + Duration::from_secs(2);
    client.submit(chain("t-1", "late", 2).deadline(deadline)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("t-1");
    client.execute("t-1").await.unwrap();
    let brief = worker.begin().await;
    assert!(brief.deadline_ms > 0);
    assert_eq!(worker.cancelled().await, [lease_of(&brief)]);
    worker.complete(lease_of(&brief), "1").await;
    let ack = worker.acks(1).await.remove(0);
    assert_eq!(ack.verdict().as_str_name(), "VERDICT_STALE");
    let task = watcher.verify(&Ledger::default()).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Failed);
    assert!(task.reason.contains("deadline"), "{}", task.reason);
    // A deadline that has passed ends the task before anything runs.
    let passed = SystemTime::now() - Duration::from_secs(60);
    client.submit(single("t-2", "late").deadline(passed)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("t-2");
    let task = watcher.verify(&Ledger::default()).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Failed);
}

async fn hands_over_input_context_and_outputs(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let client = plane.client();
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 4).await;
    let big = "x".repeat(900_000);
    let input = json!({"text": "ü\n\"", "number": 12345678901234567890_u64, "null": null});
    let plan = downbeat_sdk::Plan::new()
        .subtask(downbeat_sdk::Subtask::new("a").agent("maker").input(&input))
        .subtasks((0..5).map(|i| downbeat_sdk::Subtask::new(format!("big{i}")).agent("maker")))
        .subtask(
            downbeat_sdk::Subtask::new("b")
                .agent("maker")
                .depends_on(["a", "big0", "big1", "big2", "big3", "big4"]),
        );
    let task = downbeat_sdk::SubmitTask::new("h-1").title("Title").description("Text").plan(plan);
    let task =
        task.metadata(&json!({"context": {"branch": "main"}, "secret": 1})).priority(Priority::Critical);
    client.submit(task).await.unwrap();
    client.execute(ExecuteTask::new("h-1")).await.unwrap();
    for _ in 0..6 {
        let brief = worker.begin().await;
        assert_eq!((brief.task_id.as_str(), brief.agent.as_str(), brief.attempt), ("h-1", "maker", 1));
        assert_eq!((brief.title.as_str(), brief.description.as_str()), ("Title", "Text"));
        assert_eq!(brief.priority(), Priority::Critical);
        assert_eq!(serde_json::from_slice::<Value>(&brief.context).unwrap(), json!({"branch": "main"}));
        if brief.key == "a" {
            assert_eq!(serde_json::from_slice::<Value>(&brief.input).unwrap(), input);
            worker.complete(lease_of(&brief), "{\"done\":true}").await;
        } else {
            worker.complete(lease_of(&brief), &json!(big).to_string()).await;
        }
        worker.acks(1).await;
    }
    let brief = worker.begin().await;
    assert_eq!(brief.key, "b");
    let keys: Vec<&str> = brief.dependencies.iter().map(|dependency| dependency.key.as_str()).collect();
    assert_eq!(keys, ["a", "big0", "big1", "big2", "big3", "big4"]);
    assert_eq!(&brief.dependencies[0].output[..], b"{\"done\":true}");
    let omitted: Vec<_> = brief.dependencies.iter().filter(|dependency| dependency.omitted).collect();
    assert!(
        !omitted.is_empty() && omitted.len() < 5,
        "what does not fit is fetched: {} omitted",
        omitted.len()
    );
    for dependency in omitted {
        assert_eq!(dependency.output_bytes, 900_002);
        let whole = client.output("h-1", &dependency.subtask_id).await.unwrap();
        assert_eq!(whole.output.len(), 900_002);
    }
    worker.complete(lease_of(&brief), "").await;
    assert_eq!(worker.acks(1).await[0].verdict().as_str_name(), "VERDICT_ACCEPTED");
    let task = soon("the task ends", client.wait("h-1")).await.unwrap();
    assert_eq!(task.status(), TaskStatus::Completed);
}
