//! A worker's stream: two directions in order, each with delays, that can be cut. What was on its way when
//! it was cut is lost, and each side finds out in its own time.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::World;

/// Messages that fit into a socket's buffers before the sender has to wait.
const BUFFER: usize = 8;

/// Which end one stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Worker,
    Server,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    at: Instant,
    worker_notices: Instant,
    server_notices: Instant,
}

/// The connection that both directions share.
#[derive(Clone, Debug)]
pub struct Cable(Arc<watch::Sender<Option<Cut>>>);

impl Default for Cable {
    /// An intact connection.
    fn default() -> Cable {
        Cable(Arc::new(watch::Sender::new(None)))
    }
}

impl Cable {
    /// Cuts it now; the ends notice after so many milliseconds.
    pub fn cut(&self, worker_after_ms: u64, server_after_ms: u64) {
        let at = Instant::now();
        let later = |ms| at + std::time::Duration::from_millis(ms);
        self.0.send_if_modified(|cut| {
            let intact = cut.is_none();
            if intact {
                let (worker_notices, server_notices) = (later(worker_after_ms), later(server_after_ms));
                *cut = Some(Cut { at, worker_notices, server_notices });
            }
            intact
        });
    }

    /// Until the side knows that it was cut.
    async fn noticed(&self, side: Side) {
        let mut state = self.0.subscribe();
        let cut = state.wait_for(Option::is_some).await.ok().and_then(|cut| *cut);
        match cut {
            Some(cut) if side == Side::Worker => sleep_until(cut.worker_notices).await,
            Some(cut) => sleep_until(cut.server_notices).await,
            None => std::future::pending().await,
        }
    }

    fn loses(&self, at: Instant) -> bool {
        self.0.borrow().is_some_and(|cut| at > cut.at)
    }

    fn is_cut(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// One direction of a stream.
pub fn direction<T: Send>(world: &Arc<World>, cable: &Cable, from: Side) -> (Outlet<T>, Inlet<T>) {
    let (sender, receiver) = mpsc::channel(BUFFER);
    let to = if from == Side::Worker { Side::Server } else { Side::Worker };
    let outlet =
        Outlet { world: Arc::clone(world), cable: cable.clone(), side: from, sender, last: Instant::now() };
    (outlet, Inlet { cable: cable.clone(), side: to, receiver, head: None })
}

/// Where messages go in.
pub struct Outlet<T> {
    world: Arc<World>,
    cable: Cable,
    side: Side,
    sender: mpsc::Sender<(Instant, T)>,
    last: Instant,
}

impl<T: Send> Outlet<T> {
    /// Sends, and waits while the buffers are full. False: the stream has ended.
    pub async fn send(&mut self, message: T) -> bool {
        // Order is kept: nothing overtakes what was sent before.
        self.last = self.last.max(Instant::now() + self.world.delay());
        let sent = tokio::select! {
            biased;
            () = self.cable.noticed(self.side) => return false,
            sent = self.sender.send((self.last, message)) => sent,
        };
        sent.is_ok() || self.cable.is_cut()
    }
}

impl<T> Outlet<T> {
    /// Whether nobody will ever receive: known here or not.
    pub fn is_over(&self) -> bool {
        self.sender.is_closed() || self.cable.is_cut()
    }

    /// Until the other end is closed and that has become known here. Borrows nothing.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<T>
    where
        T: Send + 'static,
    {
        let (sender, cable, world) = (self.sender.clone(), self.cable.clone(), Arc::clone(&self.world));
        async move {
            sender.closed().await;
            if cable.is_cut() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(world.delay()).await;
        }
    }
}

/// Where messages come out.
pub struct Inlet<T> {
    cable: Cable,
    side: Side,
    receiver: mpsc::Receiver<(Instant, T)>,
    /// Received, and not yet due.
    head: Option<(Instant, T)>,
}

impl<T: Send> Inlet<T> {
    /// The next message; `None`: the stream has ended, in whatever way. Cancel-safe.
    pub async fn next(&mut self) -> Option<T> {
        let cable = self.cable.clone();
        tokio::select! {
            biased;
            () = cable.noticed(self.side) => None,
            message = self.receive() => message,
        }
    }

    async fn receive(&mut self) -> Option<T> {
        loop {
            if self.head.is_none() {
                self.head = self.receiver.recv().await;
            }
            match self.head.as_ref().map(|(at, _)| *at) {
                None if self.cable.is_cut() => return std::future::pending().await,
                None => return None,
                Some(at) => {
                    sleep_until(at).await;
                    let message = self.head.take().map(|(_, message)| message);
                    if !self.cable.loses(at) {
                        return message;
                    }
                }
            }
        }
    }
}
