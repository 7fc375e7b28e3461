//! Everything at once, on two replicas and a real Postgres: replicas killed, streams cut, attempts failing,
//! people pausing, resuming and retrying. What comes out is judged as always.

use downbeat_sdk::{
    Agent, Client, Context, HandlerError, Output,
    proto::{SubtaskState, TaskStatus},
};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Ledger, SdkWorker, Watcher, Wire, control_plane, plans::diamond, sdk_worker,
        served,
    },
    on_both_databases,
};
use serde_json::{Value, json};

on_both_databases! {
    everything_at_once
}

const TASKS: usize = 80;
const ROUNDS: usize = 40;

/// Numbers that look random, the same in every run. (What meets what, the machine decides.)
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Fails now and then, by its lease.
async fn moody(context: Context, ledger: Ledger) -> Result<Output, HandlerError> {
    ledger.begin(context.brief());
    match Dice(context.lease_id().unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1).roll(12) {
        0 => return Err(HandlerError::retryable("MOOD", "not today")),
        1 => return Err(HandlerError::fatal("MOOD", "never")),
        2 => panic!("as the test wants it"),
        _ => {}
    }
    context.progress("working", 0.5);
    let mut inputs = Vec::new();
    for dependency in &context.brief().dependencies {
        let output: Value = context.dependency(&dependency.key).await?;
        inputs.push(output["value"].as_u64().unwrap_or_default());
    }
    Output::json(&json!({"value": sdk_worker::expected(&inputs), "lease": context.lease_id()}))
}

fn worker(addr: &str, ledger: &Ledger) -> SdkWorker {
    let ledger = ledger.clone();
    SdkWorker::custom(addr, 8, |builder| {
        builder.agent(Agent::new("maker"), move |context: Context| moody(context, ledger.clone()))
    })
}

async fn everything_at_once(database: Database) {
    // SQLite is for one process; there, both names are the same.
    let replicas = if matches!(database, Database::Postgres(_)) { 2 } else { 1 };
    let mut planes = Vec::new();
    for _ in 0..replicas {
        planes.push(ControlPlane::start(&database).await);
    }
    let mut wires = Vec::new();
    for plane in planes.iter().cycle().take(4) {
        wires.push(Wire::to(&plane.grpc).await);
    }
    let ledger = Ledger::default();
    // Each knows two ways.
    let ways = (0..wires.len()).map(|i| format!("{},{}", wires[i].url(), wires[(i + 1) % wires.len()].url()));
    let mut workers: Vec<SdkWorker> = ways.clone().map(|way| worker(&way, &ledger)).collect();
    let ways: Vec<String> = ways.collect();
    let addrs: Vec<&str> = planes.iter().map(|plane| plane.grpc.as_str()).collect();
    let client = control_plane::client(&addrs.join(","));
    served(&client, "maker").await;
    let mut watcher = Watcher::new(&addrs);
    let mut dice = Dice(0x5EED);
    for i in 0..TASKS {
        let id = format!("t-{i}");
        client.submit(diamond(&id, "maker")).await.unwrap();
        watcher.follow(&id);
        client.execute(id).await.unwrap();
        if i % (TASKS / ROUNDS) == 0 {
            let task = format!("t-{}", dice.roll(i + 1));
            match dice.roll(8) {
                0 => {
                    let at = dice.roll(planes.len());
                    planes[at].restart().await;
                }
                1 | 2 => {
                    let wire = &wires[dice.roll(wires.len())];
                    wire.cut();
                    wire.mend();
                }
                3 => {
                    let at = dice.roll(workers.len());
                    workers[at] = worker(&ways[at], &ledger);
                }
                // Whether that is possible right now, nobody knows.
                4 | 5 => drop(client.pause(&task).await),
                6 => drop(client.execute(&task).await),
                _ => settle(&client, &task).await,
            }
        }
    }
    for i in 0..TASKS {
        settle(&client, &format!("t-{i}")).await;
    }
    let tasks = watcher.verify(&ledger).await;
    assert_eq!(tasks.len(), TASKS);
    assert!(tasks.iter().all(|task| task.status() == TaskStatus::Completed));
    assert!(tasks.iter().any(|task| task.metrics.unwrap().failures > 0), "some have failed on the way");
}

/// Does what a patient person would until the task has ended.
async fn settle(client: &Client, id: &str) {
    downbeat_tests::harness::until(&format!("{id} ends"), || async {
        let task = client.get_without_outputs(id).await.ok()?;
        if downbeat_sdk::is_final(task.status()) {
            return Some(());
        }
        if task.status() == TaskStatus::Paused {
            let _ = client.execute(id).await;
        }
        for sub in task.subtasks.iter().filter(|sub| sub.state() == SubtaskState::NeedsReview) {
            // Another replica may have done it, or the answer was lost.
            let _ = client.retry_subtask(id, &sub.key).await;
        }
        None
    })
    .await;
}
