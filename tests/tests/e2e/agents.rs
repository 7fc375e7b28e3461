//! Who does the work: agents and workers listed and described, blocked subtasks, drain, routing by hand.

use std::{fs, time::Duration};

use downbeat_sdk::{
    Agent, Context, Ended, ListAgents, Output, Plan, SubmitTask, Subtask,
    proto::{AgentHealth, Priority, SubtaskState, TaskStatus, WorkerState},
};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Dir, Gate, Ledger, Notes, RawWorker, Runs, SdkWorker, Watcher, WorkerProcess,
        plans::{chain, fan, single},
        process::Signal,
        served, soon, until,
    },
    on_both_databases,
};
use serde_json::json;

on_both_databases! {
    agents_and_workers_are_listed_and_described
    blocked_subtasks_go_on_when_a_capable_worker_registers
    drained_worker_finishes_what_it_has_and_goes
    subtask_is_routed_by_hand
    capabilities_choose_the_worker
    restart_in_order_costs_nobody_anything
    worker_that_was_there_first_finds_its_control_plane
    more_urgent_work_goes_first
}

async fn agents_and_workers_are_listed_and_described(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let client = plane.client();
    let gate = Gate::closed();
    let held = gate.clone();
    let worker = SdkWorker::custom(&plane.grpc, 3, |builder| {
        let review = Agent::new("code-review").domain("software").capability("rust").capability("review");
        let review = review.skill("reads diffs").description("finds bugs").sla(Duration::from_secs(90));
        builder.label("zone", "a").build_id("b-7").agent(review, move |_: Context| {
            let held = held.clone();
            async move {
                held.pass().await;
                Ok(Output::null())
            }
        })
    });
    let _other = SdkWorker::start(&plane.grpc, &["legal"], 2, &Ledger::default(), &Gate::open());
    served(&client, "code-review").await;
    served(&client, "legal").await;
    client.submit(fan("b-1", "code-review", 2)).await.unwrap();
    client.execute("b-1").await.unwrap();
    let agent = until("the agent is busy", || async {
        let agent = client.agent("code-review").await.unwrap();
        (agent.busy == 2).then_some(agent)
    })
    .await;
    let declared = agent.declaration.clone().unwrap();
    assert_eq!((declared.domain.as_str(), declared.sla_ms), ("software", 90_000));
    assert_eq!(
        (declared.capabilities, declared.skills),
        (vec!["rust".into(), "review".into()], vec!["reads diffs".into()])
    );
    assert_eq!((agent.health(), agent.workers, agent.slots), (AgentHealth::Healthy, 1, 3));
    assert!((agent.load - 2.0 / 3.0).abs() < 1e-9);

    let names = |filter: ListAgents| {
        let client = client.clone();
        async move {
            let agents = client.agents(filter).await.unwrap();
            agents.into_iter().map(|agent| agent.declaration.unwrap().name).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(ListAgents::new()).await, ["code-review", "legal"]);
    assert_eq!(names(ListAgents::new().domain("software")).await, ["code-review"]);
    assert_eq!(names(ListAgents::new().capability("rust")).await, ["code-review"]);
    assert_eq!(names(ListAgents::new().capability("cobol")).await, [""; 0]);
    assert_eq!(client.agent("nobody").await.unwrap_err().reason(), Some("NOT_FOUND"));

    let workers = client.workers("code-review").await.unwrap();
    let [listed] = &workers[..] else { panic!("one worker: {workers:?}") };
    assert_eq!((listed.name.as_str(), listed.build_id.as_str()), ("test-worker", "b-7"));
    assert_eq!((listed.labels["zone"].as_str(), listed.state()), ("a", WorkerState::Connected));
    assert_eq!((listed.slots, listed.busy), (3, 2));
    assert_eq!(&client.worker(listed.session_id).await.unwrap(), listed);
    assert_eq!(client.workers("").await.unwrap().len(), 2);
    assert_eq!(client.worker(1).await.unwrap_err().code(), Some(tonic::Code::NotFound));
    gate.open_for_all();
    assert_eq!(worker.stop().await, Ended::Shutdown);
    until("the agent is offline", || async {
        let agent = client.agent("code-review").await.unwrap();
        (agent.health() == AgentHealth::Offline).then_some(())
    })
    .await;
    assert_eq!(names(ListAgents::new().health(AgentHealth::Offline)).await, ["code-review"]);
}

async fn blocked_subtasks_go_on_when_a_capable_worker_registers(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let _wrong = SdkWorker::start(&plane.grpc, &["other"], 4, &ledger, &Gate::open());
    served(&client, "other").await;
    client.submit(chain("b-2", "maker", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("b-2");
    let executed = client.execute("b-2").await.unwrap();
    let keys: Vec<&str> = executed.blocked.iter().map(|blocked| blocked.key.as_str()).collect();
    assert_eq!((executed.status(), keys), (TaskStatus::Running, vec!["s0"]));
    let alert = watcher.sees("b-2", "the alert", |event| event.kind == "subtask.blocked").await;
    assert_eq!((alert.key.as_str(), alert.subtask_state()), ("s0", SubtaskState::Blocked));
    assert!(!alert.message.is_empty());
    let blocked = client.get("b-2").await.unwrap();
    assert!(blocked.subtasks[0].reason.contains("no live worker"), "{}", blocked.subtasks[0].reason);
    let _right = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}

async fn drained_worker_finishes_what_it_has_and_goes(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger, gate) = (plane.client(), Ledger::default(), Gate::closed());
    let mut worker = SdkWorker::start(&plane.grpc, &["maker"], 1, &ledger, &gate);
    served(&client, "maker").await;
    client.submit(fan("b-3", "maker", 3)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("b-3");
    client.execute("b-3").await.unwrap();
    ledger.begun(1).await;
    let session = client.workers("maker").await.unwrap()[0].session_id;
    let drained = client.drain_worker(session).await.unwrap();
    assert_eq!(drained.state(), WorkerState::Draining);
    gate.open_for_all();
    assert_eq!(worker.ended().await, Ended::Drained);
    assert_eq!(ledger.runs().len(), 1, "nothing new was taken");
    assert!(client.drain_worker(session).await.is_err(), "it is gone");
    let _next = SdkWorker::start(&plane.grpc, &["maker"], 2, &ledger, &gate);
    let task = watcher.verify(&ledger).await.remove(0);
    assert!(task.subtasks.iter().all(|sub| sub.attempts.len() == 1), "nothing was lost by it");
}

async fn subtask_is_routed_by_hand(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, ledger) = (plane.client(), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["helper"], 1, &ledger, &Gate::open());
    served(&client, "helper").await;
    client.submit(single("b-4", "nobody")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("b-4");
    assert_eq!(client.execute("b-4").await.unwrap().blocked.len(), 1);
    assert_eq!(client.route_subtask("b-4", "only", "helper").await.unwrap(), "nobody::b-4::1");
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let finished = client.route_subtask("b-4", "only", "helper").await.unwrap_err();
    assert_eq!(finished.reason(), Some("SUBTASK_STATE"));
    let invalid = client.route_subtask("b-4", "only", "Not A Name").await.unwrap_err();
    assert_eq!(invalid.reason(), Some("INVALID_REQUEST"));
}

async fn capabilities_choose_the_worker(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let client = plane.client();
    let agent = |name: &'static str, tags: &'static [&'static str]| {
        SdkWorker::custom(&plane.grpc, 4, move |builder| {
            let agent = tags.iter().fold(Agent::new(name), |agent, tag| agent.capability(*tag));
            builder.agent(agent, move |_: Context| async move { Output::json(&json!(name)) })
        })
    };
    let _workers = [agent("one", &["a"]), agent("two", &["a", "b"]), agent("three", &["c"])];
    for name in ["one", "two", "three"] {
        served(&client, name).await;
    }
    let sub = |key: &str, tags: &[&str]| tags.iter().fold(Subtask::new(key), |sub, tag| sub.capability(*tag));
    let plan = Plan::new()
        .subtask(sub("ab", &["b", "a"]))
        .subtask(sub("c", &["c"]))
        .subtask(sub("named", &["a"]).agent("one"));
    client.submit(SubmitTask::new("b-5").title("by tags").plan(plan)).await.unwrap();
    assert_eq!(client.execute("b-5").await.unwrap().blocked, []);
    let task = soon("the task ends", client.wait("b-5")).await.unwrap();
    let made_by: Vec<&[u8]> = task.subtasks.iter().map(|sub| &sub.output[..]).collect();
    assert_eq!(made_by, [b"\"two\"".as_slice(), b"\"three\"", b"\"one\""]);
    // Both the agent and the tags have to fit.
    client
        .submit(
            SubmitTask::new("b-6").title("nobody").plan(Plan::new().subtask(sub("x", &["c"]).agent("one"))),
        )
        .await
        .unwrap();
    assert_eq!(client.execute("b-6").await.unwrap().blocked.len(), 1);
}

async fn restart_in_order_costs_nobody_anything(database: Database) {
    let plane = ControlPlane::start(&database).await;
    let (client, notes, dir) = (plane.client(), Notes::new(), Dir::new("gate"));
    let go = dir.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let mut stock = WorkerProcess::start(&plane.grpc, "maker", 2, &notes, &wait);
    served(&client, "maker").await;
    client.submit(chain("i-1", "maker", 2)).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("i-1");
    client.execute("i-1").await.unwrap();
    notes.begun(1).await;
    // The control plane is replaced, as in an upgrade: SIGTERM, and another one at the same place.
    let plane = plane.replace().await;
    fs::write(&go, "").unwrap();
    let task = watcher.verify(&notes).await.remove(0);
    assert!(task.subtasks.iter().all(|sub| sub.attempts.len() == 1), "{task:?}");
    // A worker that is told to end finishes what it has.
    fs::remove_file(&go).unwrap();
    client.submit(single("i-2", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("i-2");
    client.execute("i-2").await.unwrap();
    notes.begun(3).await;
    stock.process.signal(Signal::Terminate);
    until("it takes nothing new", || async {
        let workers = client.workers("maker").await.unwrap();
        workers.iter().all(|worker| worker.state() == WorkerState::Draining).then_some(())
    })
    .await;
    fs::write(&go, "").unwrap();
    assert!(stock.process.end().await.success());
    let task = watcher.verify(&notes).await.remove(0);
    assert_eq!((task.status(), task.subtasks[0].attempts.len()), (TaskStatus::Completed, 1));
}

async fn worker_that_was_there_first_finds_its_control_plane(database: Database) {
    let mut plane = ControlPlane::start(&database).await;
    let (client, notes) = (plane.client(), Notes::new());
    client.submit(single("j-1", "maker")).await.unwrap();
    client.execute("j-1").await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("j-1");
    watcher.sees("j-1", "the alert", |event| event.kind == "subtask.blocked").await;
    plane.kill();
    let stock = WorkerProcess::start(&plane.grpc, "maker", 1, &notes, "");
    stock.process.logged("no stream to the control plane").await;
    plane.restart().await;
    let task = watcher.verify(&notes).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}

async fn more_urgent_work_goes_first(database: Database) {
    let plane = ControlPlane::start_patient(&database).await;
    let client = plane.client();
    let by_priority = [Priority::Low, Priority::Critical, Priority::Normal, Priority::High];
    // Two of each, and one whose subtask says otherwise than its task.
    for round in 0..2 {
        for priority in by_priority {
            let id = format!("{}-{round}", priority.as_str_name());
            client.submit(single(&id, "maker").priority(priority)).await.unwrap();
            client.execute(id).await.unwrap();
        }
    }
    let urgent = Subtask::new("only").agent("maker").priority(Priority::Critical);
    let task = SubmitTask::new("own").title("own").priority(Priority::Low).plan(Plan::new().subtask(urgent));
    client.submit(task).await.unwrap();
    client.execute("own").await.unwrap();
    let mut worker = RawWorker::start(&plane.grpc, &["maker"], 1).await;
    let mut order = Vec::new();
    for _ in 0..9 {
        let brief = worker.begin().await;
        worker.deliver(&brief).await;
        order.push(brief.task_id);
    }
    let expected = [
        "PRIORITY_CRITICAL-0",
        "PRIORITY_CRITICAL-1",
        "own",
        "PRIORITY_HIGH-0",
        "PRIORITY_HIGH-1",
        "PRIORITY_NORMAL-0",
        "PRIORITY_NORMAL-1",
        "PRIORITY_LOW-0",
        "PRIORITY_LOW-1",
    ];
    assert_eq!(order, expected, "by priority, then by who came first");
}
