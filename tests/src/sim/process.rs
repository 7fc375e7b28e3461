//! A simulated process: tasks that are killed together, and frozen together.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures::FutureExt;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};

use super::World;

/// Locks what nothing panics in.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process. Its memory is whatever its tasks own, and is gone with them.
pub struct Process {
    world: Arc<World>,
    tasks: Mutex<JoinSet<()>>,
    alive: watch::Sender<bool>,
    frozen_until: Mutex<Option<Instant>>,
}

impl Process {
    /// A process without tasks.
    pub fn new(world: &Arc<World>) -> Arc<Process> {
        Arc::new(Process {
            world: Arc::clone(world),
            tasks: Mutex::default(),
            alive: watch::Sender::new(true),
            frozen_until: Mutex::new(None),
        })
    }

    /// Runs a task in the process. A dead one runs nothing.
    pub fn spawn(self: &Arc<Process>, task: impl Future<Output = ()> + Send + 'static) {
        if self.is_alive() {
            let world = Arc::clone(&self.world);
            let task = AssertUnwindSafe(task).catch_unwind().map(move |ended| {
                if ended.is_err() {
                    world.fail("a task of a process panicked");
                }
            });
            let task = Freezable { process: Arc::clone(self), thaw: None, inner: Box::pin(task) };
            let mut tasks = lock(&self.tasks);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    /// Kills it: no task runs any further, and all it held is dropped.
    pub fn kill(&self) {
        if self.alive.send_replace(false) {
            lock(&self.tasks).abort_all();
        }
    }

    /// Whether it was not killed.
    pub fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    /// Until it is killed.
    pub async fn death(&self) {
        let mut alive = self.alive.subscribe();
        // The sender lives as long as `self`.
        let _ = alive.wait_for(|alive| !alive).await;
    }

    /// Stops all its tasks until then (SIGSTOP, and SIGCONT); its clocks and sockets go on.
    pub fn freeze(&self, until: Instant) {
        let mut frozen = lock(&self.frozen_until);
        *frozen = Some(frozen.map_or(until, |before| before.max(until)));
    }

    fn frozen(&self) -> Option<Instant> {
        let mut frozen = lock(&self.frozen_until);
        if frozen.is_some_and(|until| until <= Instant::now()) {
            *frozen = None;
        }
        *frozen
    }
}

/// A task that is not polled while its process is frozen.
struct Freezable {
    process: Arc<Process>,
    thaw: Option<Pin<Box<Sleep>>>,
    inner: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Freezable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(until) = self.process.frozen() {
            let mut thaw = self.thaw.take().unwrap_or_else(|| Box::pin(sleep_until(until)));
            if thaw.deadline() != until {
                thaw.as_mut().reset(until);
            }
            if thaw.as_mut().poll(cx).is_pending() {
                self.thaw = Some(thaw);
                return Poll::Pending;
            }
        }
        if !self.process.is_alive() {
            return Poll::Pending;
        }
        self.process.world.turn();
        self.inner.as_mut().poll(cx)
    }
}
