//! A wire between two real sockets that can be cut, frozen, slowed down and mended, that can forget its
//! connections, and counts what it carries when it leads to a Postgres.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What a wire does with what is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    way: Way,
    /// Connections of an earlier age are forgotten.
    age: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    /// Everything comes so much later.
    Slow(Duration),
    /// Everything waits, and nobody is told.
    Frozen,
    /// Connections break, and new ones are closed at once.
    Cut,
}

/// Listens on a port of its own and passes on what comes to a server.
#[derive(Debug)]
pub struct Wire {
    addr: SocketAddr,
    state: watch::Sender<State>,
    queries: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Wire {
    /// `server`: `127.0.0.1:9083`, with or without `http://`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(server: &str) -> Wire {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let (state, told) = watch::channel(State { way: Way::Whole, age: 0 });
        let queries = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&queries);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if told.borrow().way == Way::Cut {
                    continue;
                }
                tokio::spawn(carry(near, server.clone(), told.clone(), Arc::clone(&count)));
            }
        });
        Wire { addr, state, queries, accepting }
    }

    /// For clients of HTTP and gRPC.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Breaks all connections, and every new one until [`mend`](Wire::mend).
    pub fn cut(&self) {
        self.turn(Way::Cut);
    }

    /// Holds everything back until [`mend`](Wire::mend); nobody is told.
    pub fn freeze(&self) {
        self.turn(Way::Frozen);
    }

    /// Holds back what is sent for so long.
    pub fn slow(&self, by: Duration) {
        self.turn(Way::Slow(by));
    }

    /// Forgets its connections, as a router does that loses its table: both ends keep theirs open and never
    /// hear anything of it again. New ones are carried.
    pub fn forget(&self) {
        self.state.send_modify(|state| state.age += 1);
    }

    pub fn mend(&self) {
        self.turn(Way::Whole);
    }

    fn turn(&self, way: Way) {
        self.state.send_modify(|state| state.way = way);
    }

    /// Queries sent by clients so far, when the server is a Postgres: simple queries and executions of
    /// prepared ones.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn carry(near: TcpStream, server: String, state: watch::Receiver<State>, queries: Arc<AtomicU64>) {
    let age = state.borrow().age;
    let Ok(far) = TcpStream::connect(server).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // Whichever side ends ends both: what is carried is no half-open talk.
    tokio::select! {
        () = pass(near_read, far_write, state.clone(), age, Some(Frames::new(queries))) => {}
        () = pass(far_read, near_write, state, age, None) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    age: u64,
    mut frames: Option<Frames>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            found = reach(&mut state, |state| state.way == Way::Cut || state.age != age) => {
                // Forgotten: both ends stay open, unheard, until the wire is cut or gone.
                if found.is_some_and(|state| state.age != age) {
                    let _ = reach(&mut state, |state| state.way == Way::Cut).await;
                }
                return;
            }
            read = from.read(&mut bytes) => read,
        };
        let Ok(read @ 1..) = read else { return };
        // What was read while the wire froze waits as well.
        match reach(&mut state, |state| state.way != Way::Frozen || state.age != age).await {
            Some(State { age: now, .. }) if now != age => continue,
            Some(State { way: Way::Whole, .. }) => {}
            Some(State { way: Way::Slow(by), .. }) => tokio::time::sleep(by).await,
            _ => return,
        }
        frames.iter_mut().for_each(|frames| frames.see(&bytes[..read]));
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// The first state from now on that is one of those; `None` when the wire is gone.
async fn reach(state: &mut watch::Receiver<State>, one_of: impl Fn(State) -> bool) -> Option<State> {
    state.wait_for(|state| one_of(*state)).await.ok().map(|state| *state)
}

/// Counts queries in what a client of Postgres sends: frames of a type byte, a length that counts itself, and
/// a body, after a first frame without a type.
struct Frames {
    queries: Arc<AtomicU64>,
    /// Of the frame's body, still to come.
    body: usize,
    head: Vec<u8>,
    started: bool,
}

impl Frames {
    fn new(queries: Arc<AtomicU64>) -> Frames {
        Frames { queries, body: 0, head: Vec::new(), started: false }
    }

    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let skipped = self.body.min(bytes.len());
                self.body -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let typed = usize::from(self.started);
            if let Some(length) = self.head.get(typed..typed + 4).and_then(|length| length.try_into().ok()) {
                if self.started && matches!(self.head[0], b'Q' | b'E') {
                    self.queries.fetch_add(1, Ordering::Relaxed);
                }
                self.started = true;
                self.body = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                self.head.clear();
            }
        }
    }
}
