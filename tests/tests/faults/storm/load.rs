//! The load that goes on whatever happens: clients of all replicas submit tasks at a steady pace, each until it
//! is accepted, and every accepted task is followed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use downbeat_sdk::{Client, Error, SubmitTask};
use downbeat_tests::harness::{
    LIMIT, Sight, Watcher,
    plans::{chain, diamond, single},
    soon,
};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What all tasks ask for.
pub(super) const AGENT: &str = "maker";
/// Submissions that wait for an answer. When nobody answers, the pace stands still.
const WAITING_MAX: usize = 48;
/// Before a client that was told an error asks again, beyond the SDK's own retries.
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// The driver and its submissions.
    running: TaskTracker,
}

struct Shared {
    /// With the SDK's own retries, each beginning with another replica.
    clients: Vec<Client>,
    submitted: AtomicUsize,
    watcher: Mutex<Watcher>,
    sight: Sight,
    accepted: Mutex<Vec<String>>,
    /// What the SDK's retries did not hide.
    told: Mutex<Vec<String>>,
}

/// What clients know when it is over.
pub(super) struct Told {
    pub(super) watcher: Watcher,
    pub(super) accepted: usize,
    pub(super) errors: Vec<String>,
}

impl Load {
    /// Submits a task every `pace` to these replicas.
    pub(super) fn start(urls: &[&str], pace: Duration) -> Load {
        let client = |first: usize| {
            let turned: Vec<&str> = urls[first..].iter().chain(&urls[..first]).copied().collect();
            let client = Client::builder().addr(turned.join(",")).deadline(LIMIT);
            client.connect_lazy().expect("valid addresses")
        };
        let watcher = Watcher::new(urls);
        let shared = Arc::new(Shared {
            clients: (0..urls.len()).map(client).collect(),
            submitted: AtomicUsize::new(0),
            sight: watcher.sight(),
            watcher: Mutex::new(watcher),
            accepted: Mutex::default(),
            told: Mutex::default(),
        });
        let (stop, running) = (CancellationToken::new(), TaskTracker::new());
        running.spawn(drive(Arc::clone(&shared), pace, stop.clone(), running.clone()));
        Load { shared, stop, running }
    }

    pub(super) fn sight(&self) -> &Sight {
        &self.shared.sight
    }

    /// The tasks accepted so far.
    pub(super) fn accepted(&self) -> Vec<String> {
        lock(&self.shared.accepted).clone()
    }

    /// Submits one more task now, and gives its name once it is accepted.
    pub(super) async fn submit_now(&self) -> String {
        let n = self.shared.submitted.fetch_add(1, Ordering::Relaxed);
        self.shared.submit(n, |name| single(name, AGENT)).await
    }

    /// Asks once for a task of one's own, which counts as everybody's when it is accepted.
    pub(super) async fn ask(&self, client: &Client, task: SubmitTask, name: &str) -> Result<(), Error> {
        client.submit(task.execute()).await?;
        self.shared.accept(name.to_owned());
        Ok(())
    }

    /// Ends it once everything that waits for an answer has one.
    pub(super) async fn stop(self) -> Told {
        self.stop.cancel();
        self.running.close();
        soon("all submissions are answered", self.running.wait()).await;
        let watcher = std::mem::replace(&mut *lock(&self.shared.watcher), Watcher::new(&[]));
        let errors = std::mem::take(&mut *lock(&self.shared.told));
        Told { watcher, accepted: lock(&self.shared.accepted).len(), errors }
    }
}

impl Shared {
    /// Asks until the task is accepted: an answer that was lost does not make a second one.
    async fn submit(&self, n: usize, task: impl Fn(&str) -> SubmitTask) -> String {
        let name = format!("task-{n}");
        let client = &self.clients[n % self.clients.len()];
        loop {
            match client.submit(task(&name).execute()).await {
                Ok(_) => break,
                Err(error @ (Error::Unavailable { .. } | Error::DeadlineExceeded { .. })) => {
                    lock(&self.told).push(format!("{name}: {error}"));
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(error) => panic!("{name} is refused: {error}"),
            }
        }
        self.accept(name.clone());
        name
    }

    fn accept(&self, name: String) {
        lock(&self.watcher).follow(&name);
        lock(&self.accepted).push(name);
    }
}

async fn drive(shared: Arc<Shared>, pace: Duration, stop: CancellationToken, running: TaskTracker) {
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let permit = stop.run_until_cancelled(Arc::clone(&waiting).acquire_owned()).await;
        let Some(Ok(permit)) = permit else { return };
        let n = shared.submitted.fetch_add(1, Ordering::Relaxed);
        let shape = move |name: &str| match n % 3 {
            0 => diamond(name, AGENT),
            1 => chain(name, AGENT, 3),
            _ => single(name, AGENT),
        };
        let shared = Arc::clone(&shared);
        running.spawn(async move {
            shared.submit(n, shape).await;
            drop(permit);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
