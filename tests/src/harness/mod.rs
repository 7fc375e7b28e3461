//! What the end-to-end and fault tests stand on: real control planes, real workers, clients that see only what
//! any client sees, and wires between them that can be cut. No test is here, and nothing that decides whether
//! the engine is right but [`history`].

pub mod clock;
pub mod control_plane;
pub mod dir;
pub mod history;
pub mod http;
pub mod plans;
pub mod process;
pub mod raw_worker;
pub mod sdk_worker;
pub mod stage;
pub mod wire;
pub mod worker_process;

use std::{future::Future, time::Duration};

use downbeat_sdk::{Client, ListAgents, proto::AgentHealth};

pub use self::{
    clock::WallClock,
    control_plane::{ControlPlane, Database},
    dir::Dir,
    history::{Ledger, Runs, Sight, Verdict, Watcher},
    http::Http,
    process::Process,
    raw_worker::RawWorker,
    sdk_worker::{Gate, SdkWorker},
    stage::Stage,
    wire::Wire,
    worker_process::{Notes, WorkerProcess},
};

/// Longer than anything here takes on any machine: only a failure reaches it.
pub const LIMIT: Duration = Duration::from_secs(300);
/// How often something that no stream tells is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Awaits something that must happen, and fails instead of hanging.
///
/// # Panics
/// When it does not happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited {} s in vain: {what}", LIMIT.as_secs()),
    }
}

/// Looks until there is something to see.
///
/// # Panics
/// When there never is.
pub async fn until<T, Look: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> Look) -> T {
    soon(what, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}

/// Waits until a live worker serves the agent.
pub async fn served(client: &Client, agent: &str) {
    until(&format!("somebody serves `{agent}`"), || async {
        let healthy = client.agents(ListAgents::new().health(AgentHealth::Healthy)).await.ok()?;
        let named =
            |found: &downbeat_sdk::proto::Agent| found.declaration.as_ref().is_some_and(|d| d.name == agent);
        healthy.iter().any(named).then_some(())
    })
    .await;
}

/// Makes a test on SQLite and a test on Postgres of each of these functions, which take a
/// [`Database`](crate::harness::Database).
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::harness::Database::sqlite()).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::harness::Database::postgres()).await;
                }
            )*
        }
    };
}
