//! Workers on the Rust SDK, within the test, whose work waits at a gate and is written into a ledger.

use std::{sync::Arc, time::Duration};

use downbeat_sdk::{Agent, Context, Ended, HandlerError, Output, Worker, WorkerBuilder};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

use super::{Ledger, soon};

/// Lets attempts go on one by one, or all of them.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    pub fn closed() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    pub fn open() -> Gate {
        let gate = Gate::closed();
        gate.open_for_all();
        gate
    }

    /// Lets so many attempts through.
    pub fn let_through(&self, attempts: usize) {
        self.0.add_permits(attempts);
    }

    pub fn open_for_all(&self) {
        self.0.close();
    }

    /// Waits to be let through.
    pub async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// A running worker; ends at once when dropped.
#[derive(Debug)]
pub struct SdkWorker {
    running: JoinHandle<Result<Ended, downbeat_sdk::Error>>,
    stop: Option<oneshot::Sender<()>>,
}

impl SdkWorker {
    /// One that writes what it begins into the ledger, waits at the gate, and delivers
    /// [`expected`] with its lease.
    pub fn start(addr: &str, agents: &[&str], slots: usize, ledger: &Ledger, gate: &Gate) -> SdkWorker {
        SdkWorker::custom(addr, slots, |builder| {
            agents.iter().fold(builder, |builder, agent| {
                let (ledger, gate) = (ledger.clone(), gate.clone());
                builder.agent(Agent::new(*agent), move |context| work(context, ledger.clone(), gate.clone()))
            })
        })
    }

    /// One that does what inputs say: it fails with the code in `fail`, or delivers what is in `say`, or else
    /// everything it was handed.
    pub fn obedient(addr: &str, agents: &[&str], slots: usize, ledger: &Ledger) -> SdkWorker {
        SdkWorker::custom(addr, slots, |builder| {
            agents.iter().fold(builder, |builder, agent| {
                let ledger = ledger.clone();
                builder.agent(Agent::new(*agent), move |context| obey(context, ledger.clone()))
            })
        })
    }

    /// One whose agents the test makes.
    ///
    /// # Panics
    /// When it is not valid.
    pub fn custom(
        addr: &str,
        slots: usize,
        agents: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
    ) -> SdkWorker {
        let builder = Worker::builder()
            .addr(addr)
            .name("test-worker")
            .slots(slots)
            .cancel_grace(Duration::from_secs(1))
            .drain_timeout(super::LIMIT);
        let worker = agents(builder).build().expect("a valid worker");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // A worker that is dropped is not stopped, but gone.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        SdkWorker { running: tokio::spawn(worker.run_until(stopped)), stop: Some(stop) }
    }

    /// Lets it finish what it has, and end.
    ///
    /// # Panics
    /// When it ends with an error.
    pub async fn stop(mut self) -> Ended {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it ends with an error.
    pub async fn ended(&mut self) -> Ended {
        let ended = soon("the worker ends", &mut self.running).await;
        ended.expect("a worker does not panic").expect("a worker ends well")
    }
}

impl Drop for SdkWorker {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Every attempt's own output: what depends on the plan alone, and the lease it was made under.
async fn work(context: Context, ledger: Ledger, gate: Gate) -> Result<Output, HandlerError> {
    ledger.begin(context.brief());
    tokio::select! {
        () = gate.pass() => {}
        () = context.cancelled() => return Err(HandlerError::retryable("STOPPED", "cancelled")),
    }
    let mut inputs = Vec::new();
    for dependency in &context.brief().dependencies {
        let output: Value = context.dependency(&dependency.key).await?;
        inputs.push(output["value"].as_u64().unwrap_or_default());
    }
    Output::json(&json!({"value": expected(&inputs), "lease": context.lease_id()}))
}

async fn obey(context: Context, ledger: Ledger) -> Result<Output, HandlerError> {
    ledger.begin(context.brief());
    let input: Value = context.input()?;
    if let Some(code) = input["fail"].as_str() {
        let mut failed = HandlerError::retryable(code, "as its input says");
        failed.retryable = input["retryable"] == true;
        return Err(failed);
    }
    if let Some(said) = input.get("say") {
        return Output::json(said);
    }
    let mut handed = serde_json::Map::new();
    for dependency in &context.brief().dependencies {
        handed.insert(dependency.key.clone(), context.dependency(&dependency.key).await?);
    }
    let (item, agent): (Value, _) = (context.item()?, &context.brief().agent);
    Output::json(&json!({
        "agent": agent, "input": input, "item": item, "nth": context.nth(), "outputs": handed,
    }))
}

/// What a subtask delivers whose dependencies delivered these: the number of ways to it from the start.
pub fn expected(inputs: &[u64]) -> u64 {
    if inputs.is_empty() { 1 } else { inputs.iter().sum() }
}
