//! Schedules: tasks that are started by time, by whichever replica lives.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use downbeat_sdk::{
    Client, ListTasks, ScheduleSpec, Timing,
    proto::{FiringCause, FiringOutcome, OverlapPolicy, Schedule, TaskStatus},
};
use downbeat_tests::{
    harness::{ControlPlane, Database, Gate, Ledger, SdkWorker, control_plane, served, until},
    on_both_databases,
};
use futures::TryStreamExt;
use serde_json::{Value, json};

on_both_databases! {
    a_schedule_lives_from_its_creation_to_its_deletion
    what_is_due_waits_for_the_task_before
    schedules_are_spoken_of_over_rest
    a_schedule_runs_a_stored_workflow
}

fn task() -> Value {
    json!({"title": "Tick", "plan": {"subtasks": [{"key": "do", "agent": "maker"}]}})
}

fn every(seconds: u64) -> Timing {
    Timing::every(Duration::from_secs(seconds))
}

/// As it is once so many due times have become a task.
async fn started(client: &Client, name: &str, count: u64) -> Schedule {
    until(&format!("{name} has started {count}"), || async {
        // A replica may have been killed just now.
        let it = client.schedule(name).await.ok()?;
        (it.counts.unwrap_or_default().started >= count).then_some(it)
    })
    .await
}

async fn completed(client: &Client, task: &str) {
    until(&format!("{task} is completed"), || async {
        (client.get(task).await.unwrap().status() == TaskStatus::Completed).then_some(())
    })
    .await;
}

async fn tasks(client: &Client, prefix: &str) -> BTreeSet<String> {
    let listed = client.list_all(ListTasks::new().prefix(prefix));
    listed.map_ok(|task| task.task_id).try_collect().await.unwrap()
}

async fn a_schedule_lives_from_its_creation_to_its_deletion(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client().by("ann"), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;
    let spec = || ScheduleSpec::new(every(1)).overlap(OverlapPolicy::Allow).task(&task());
    let (new, existed) = client.create_schedule("tick", spec()).await.unwrap();
    assert!(!existed && new.next_due_ms > new.created_at_ms);
    assert!(client.create_schedule("tick", spec()).await.unwrap().1, "the same one again");
    let other = client.create_schedule("tick", ScheduleSpec::new(every(2)).task(&task())).await;
    assert_eq!(other.unwrap_err().reason(), Some("SCHEDULE_EXISTS"));

    let it = started(&client, "tick", 3).await;
    let newest = &it.firings[0];
    assert_eq!((newest.outcome(), newest.cause()), (FiringOutcome::Started, FiringCause::Time));
    completed(&client, &newest.task_id).await;
    let whole = client.get(&newest.task_id).await.unwrap();
    let metadata: Value = serde_json::from_slice(&whole.metadata).unwrap();
    assert_eq!(metadata["context"]["schedule"]["name"], "tick");
    assert_eq!(metadata["context"]["schedule"]["cause"], "time");

    let paused = client.pause_schedule("tick", "enough").await.unwrap();
    let pause = paused.paused.clone().unwrap_or_default();
    assert_eq!((&*pause.by, &*pause.reason, paused.next_due_ms), ("ann", "enough", 0));
    assert_eq!(client.preview_schedule("tick", 3).await.unwrap(), [] as [i64; 0]);
    // Beside its times, and once for each name.
    let now = client.trigger_schedule("tick", "now").await.unwrap();
    assert_eq!(now, "tick-now");
    assert_eq!(client.trigger_schedule("tick", "now").await.unwrap(), now);
    completed(&client, &now).await;
    let created = SystemTime::UNIX_EPOCH + Duration::from_millis(it.created_at_ms.unsigned_abs());
    let (from, to) = (created - Duration::from_secs(5), created - Duration::from_secs(2));
    let filled = client.backfill_schedule("tick", from, to, "before").await.unwrap();
    assert_eq!(filled.len(), 3, "{filled:?}");
    assert_eq!(client.backfill_schedule("tick", from, to, "before").await.unwrap(), filled);
    assert_eq!(tasks(&client, "tick-before-").await, filled.iter().cloned().collect());
    let wide = client.backfill_schedule("tick", from - Duration::from_secs(500), to, "").await.unwrap_err();
    assert!(wide.to_string().contains("at most 100 due times (BACKFILL)"), "{wide}");
    let causes: BTreeSet<i32> =
        client.schedule("tick").await.unwrap().firings.iter().map(|firing| firing.cause).collect();
    assert_eq!(causes.len(), 3);

    let resumed = client.resume_schedule("tick").await.unwrap();
    assert!(resumed.paused.is_none() && resumed.next_due_ms > 0);
    let hourly = ScheduleSpec::new(Timing::cron("0 * * * *", "UTC")).task(&task());
    let updated = client.update_schedule("tick", hourly).await.unwrap();
    let next = client.preview_schedule("tick", 2).await.unwrap();
    assert_eq!((next[0], next[1] - next[0]), (updated.next_due_ms, 3_600_000));
    assert_eq!(client.schedules().await.unwrap().len(), 1);
    client.delete_schedule("tick").await.unwrap();
    assert_eq!(client.delete_schedule("tick").await.unwrap_err().reason(), Some("SCHEDULE_UNKNOWN"));
    // Another one of that name never takes what the first one did for its own.
    client.create_schedule("tick", ScheduleSpec::new(every(3_600)).task(&task())).await.unwrap();
    assert_eq!(client.trigger_schedule("tick", "now").await.unwrap(), "tick-now-2");
}

async fn what_is_due_waits_for_the_task_before(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 8, &ledger, &gate);
    served(&client, "maker").await;
    for (name, policy) in [
        ("skip", OverlapPolicy::Skip),
        ("queue", OverlapPolicy::Queue),
        ("cancel", OverlapPolicy::CancelRunning),
    ] {
        let spec = ScheduleSpec::new(every(1)).overlap(policy).task(&task());
        client.create_schedule(name, spec).await.unwrap();
    }
    let skipped = |name: &'static str| {
        let client = &client;
        until("some are skipped", move || async move {
            let it = client.schedule(name).await.unwrap();
            (it.counts.unwrap_or_default().skipped >= 2).then_some(it)
        })
    };
    let it = skipped("skip").await;
    assert_eq!(it.counts.unwrap_or_default().started, 1);
    let queue = skipped("queue").await;
    assert_eq!(queue.counts.unwrap_or_default().started, 1);
    assert!(queue.waiting_due_ms > 0, "one of them waits");
    let cancel = started(&client, "cancel", 3).await;
    let before = &cancel.firings[1].task_id;
    assert_eq!(client.get(before).await.unwrap().status(), TaskStatus::Cancelled);
    gate.open_for_all();
    started(&client, "skip", 2).await;
    let waited = started(&client, "queue", 2).await;
    assert!(waited.firings.iter().any(|firing| {
        firing.outcome() == FiringOutcome::Started && firing.due_ms == queue.waiting_due_ms
    }));
}

async fn schedules_are_spoken_of_over_rest(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let http = plane.http();
    let body = json!({"name": "n", "cron": {"expression": "0 0 1 1 *", "time_zone": "Europe/Berlin"}, "task": task()});
    // The first look at the database tells the time.
    until("it takes schedules", || async {
        let answer = http.post("/v1/schedules", &body).await;
        (answer.status == 201).then_some(())
    })
    .await;
    let again = http.post("/v1/schedules", &body).await.expect(200);
    assert_eq!((&again["overlap"], &again["catch_up_seconds"]), (&json!("skip"), &json!(60)));
    assert_eq!((&again["task"], &again["cron"]), (&task(), &body["cron"]));
    let put = json!({"interval": {"every_seconds": 3600}, "overlap": "queue", "task": task()});
    let put = put.to_string();
    let kind = [("content-type", "application/json")];
    let changed = http.send("PUT", "/v1/schedules/n", &kind, put.as_bytes()).await.expect(200);
    assert_eq!((&changed["overlap"], &changed["interval"]["offset_seconds"]), (&json!("queue"), &json!(0)));
    assert_eq!(http.get("/v1/schedules?page_size=1").await.expect(200)["schedules"][0]["name"], "n");
    let paused = http.post("/v1/schedules/n/pause", &json!({"reason": "r", "by": "b"})).await.expect(200);
    assert_eq!(paused["paused"]["reason"], "r");
    let resumed = http.post("/v1/schedules/n/resume", &json!({})).await.expect(200);
    assert_eq!(resumed["paused"], Value::Null);
    let next = http.get("/v1/schedules/n/preview?count=2").await.expect(200);
    assert_eq!((next["due"].as_array().map(Vec::len), &next["due"][0]), (Some(2), &resumed["next_due"]));
    let started = http.post("/v1/schedules/n/trigger", &json!({"trigger_id": "x"})).await.expect(200);
    assert_eq!(started["task_id"], "n-x");
    let due = resumed["next_due"].as_str().unwrap();
    let range = json!({"from": "2026-01-01T00:00:00Z", "until": due});
    let (_, problems) = http.post("/v1/schedules/n/backfill", &range).await.problems();
    assert_eq!(problems[0].0, "until");
    let range = json!({"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T02:00:00Z"});
    let filled = http.post("/v1/schedules/n/backfill", &range).await.expect(200);
    assert_eq!(filled["task_ids"], json!(["n-backfill-20260101T000000Z", "n-backfill-20260101T010000Z"]));
    let preview = json!({"cron": {"expression": "0 0 29 2 *"}, "count": 1});
    let preview = http.post("/v1/schedule-preview", &preview).await.expect(200);
    assert!(preview["due"][0].as_str().unwrap().contains("-02-29T00:00:00"));
    let past = json!({"name": "p", "once": {"at": "2020-01-01T00:00:00Z"}, "task": task()});
    let (code, problems) = http.post("/v1/schedules", &past).await.problems();
    assert_eq!((&*code, &*problems[0].0), ("INVALID_REQUEST", "once.at"));
    assert_eq!(http.send("DELETE", "/v1/schedules/n", &[], b"").await.status, 204);
    let gone = http.get("/v1/schedules/n").await.expect(404);
    assert_eq!(gone["error"]["code"], "SCHEDULE_UNKNOWN");
}

async fn a_schedule_runs_a_stored_workflow(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (http, client, ledger) = (plane.http(), plane.client(), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;
    let workflow = |by: &str| {
        json!({
            "name": "greet",
            "by": by,
            "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
            "plan": {"subtasks": [{"key": "do", "agent": "maker", "input": {"to": {"$param": "to"}, "by": by}}]},
        })
    };
    let schedule = |parameters: Value| {
        json!({"name": "hello", "interval": {"every_seconds": 3600},
               "task": {"workflow": {"name": "greet", "parameters": parameters}}})
    };
    let refused = async |parameters: Value| {
        let problems = until("it takes schedules", || async {
            let answer = http.post("/v1/schedules", &schedule(parameters.clone())).await;
            (answer.status != 503).then_some(answer)
        });
        problems.await.problems().1
    };
    let unknown = ("task.workflow.name".to_owned(), "no workflow is called `greet`".to_owned());
    assert_eq!(refused(json!({"to": "eve"})).await, [unknown]);
    http.post("/v1/workflows", &workflow("ann")).await.expect(201);
    assert_eq!(refused(json!({"to": 7})).await[0].0, "task.workflow.parameters.to");
    http.post("/v1/schedules", &schedule(json!({"to": "eve"}))).await.expect(201);

    let trigger = async |id: &str| client.trigger_schedule("hello", id).await;
    assert_eq!(trigger("one").await.unwrap(), "hello-one");
    completed(&client, "hello-one").await;
    let ran = async |id: &str| http.get(&format!("/tasks/{id}")).await.expect(200);
    let one = ran("hello-one").await;
    assert_eq!(one["workflow"], json!({"name": "greet", "version": 1}));
    assert_eq!(one["metadata"]["context"]["params"], json!({"to": "eve"}));
    assert_eq!(one["metadata"]["context"]["schedule"]["name"], "hello");
    // The newest version, each time; and what was begun is what it was.
    let mut next = workflow("bob");
    next.as_object_mut().unwrap().remove("name");
    http.post("/v1/workflows/greet/versions", &next).await.expect(201);
    assert_eq!(trigger("two").await.unwrap(), "hello-two");
    assert_eq!(ran("hello-two").await["workflow"]["version"], 2);
    assert_eq!(trigger("one").await.unwrap(), "hello-one");
    http.send("DELETE", "/v1/workflows/greet", &[], b"").await.expect(200);
    assert_eq!(trigger("one").await.unwrap(), "hello-one", "it was begun before");
    assert_eq!(trigger("three").await.unwrap_err().reason(), Some("WORKFLOW_UNKNOWN"));
}

/// Every due time between the first and the last has one task, whoever was killed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_due_time_has_one_task_whichever_replica_is_killed() {
    let database = Database::postgres();
    let mut planes = Vec::new();
    for _ in 0..3 {
        planes.push(ControlPlane::start(&database).await);
    }
    let all = planes.iter().map(|plane| plane.grpc.clone()).collect::<Vec<_>>().join(",");
    let client = control_plane::client(&all);
    let spec = ScheduleSpec::new(every(1))
        .overlap(OverlapPolicy::Allow)
        .catch_up(Duration::from_secs(7 * 24 * 3600))
        .task(&task());
    client.create_schedule("steady", spec).await.unwrap();
    let mut seen = started(&client, "steady", 2).await.counts.unwrap_or_default().started;
    for nth in 0..6 {
        // Just as one fires, and at any moment of what follows.
        let plane = &mut planes[nth % 3];
        plane.kill();
        seen = started(&client, "steady", seen + 2).await.counts.unwrap_or_default().started;
        planes[nth % 3].restart().await;
    }
    // All of them at once: what was due meanwhile is caught up.
    planes.iter_mut().for_each(ControlPlane::kill);
    for plane in &mut planes {
        plane.restart().await;
    }
    started(&client, "steady", seen + 8).await;
    client.pause_schedule("steady", "").await.unwrap();
    let counts = until("nothing is left to start", || async {
        let it = client.schedule("steady").await.unwrap();
        let counts = it.counts.unwrap_or_default();
        let there = tasks(&client, "steady-").await.len() as u64;
        (there == counts.started).then_some(counts)
    })
    .await;
    assert_eq!((counts.missed, counts.skipped, counts.refused), (0, 0, 0));
    let at = |id: &String| {
        let text = id.strip_prefix("steady-").expect("its own tasks");
        let digits: Vec<i64> = [9..11, 11..13, 13..15].map(|part| text[part].parse().unwrap()).to_vec();
        let day: i64 = text[6..8].parse().unwrap();
        assert!(text.len() == 16 && text.ends_with('Z'), "started under another id: {text}");
        ((day * 24 + digits[0]) * 60 + digits[1]) * 60 + digits[2]
    };
    let seconds: Vec<i64> = tasks(&client, "steady-").await.iter().map(at).collect();
    for pair in seconds.windows(2) {
        // Or a month has ended.
        assert!(pair[1] - pair[0] == 1 || pair[1] < pair[0], "due times are missing: {seconds:?}");
    }
    assert!(seconds.len() >= 20);
}
