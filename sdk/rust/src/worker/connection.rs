//! Drives the session over gRPC: opens streams, moves messages, keeps time. It runs alone on a thread with a runtime
//! of its own, so that heartbeats go out whatever the handlers do to theirs. It decides nothing about leases;
//! [`super::session`] does.

use std::{
    collections::HashMap,
    future, io,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Sleep, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    Ended,
    runtime::{
        Calls, ContextAsk, ContextCall, ContextReply, Finished, Handlers, Shared, SpawnCall, SpawnReply,
    },
    session::{Action, Session, WELCOME_TIMEOUT},
    signals::Signals,
};
use crate::{
    Error, RESPONSE_BYTES_MAX,
    address::Address,
    proto::{
        DrainWorkerRequest, SessionRequest, SessionResponse, agent_service_client::AgentServiceClient,
        worker_service_client::WorkerServiceClient,
    },
};

/// Messages that wait for HTTP/2 to take them. Few: what cannot go out yet is better kept in the session, where it
/// is put together into larger messages.
const OUTGOING_MAX: usize = 2;
/// Outcomes and messages taken at once before anything is sent: enough to fill a batch, and few enough that the
/// first of them is not held up for long.
const EVENTS_MAX: usize = 256;
/// The delay before a broken stream is opened again, and its bounds; with jitter. Short at first: every
/// millisecond counts against the grace time, and a restart of the control plane takes about as long.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(5);
/// After a goodbye the control plane closes the stream; one that does not in time is left.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What makes the worker end, from the side of whoever runs it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shutdown {
    /// Finish what runs, then end.
    pub(super) drain: CancellationToken,
    /// End now.
    pub(super) halt: CancellationToken,
}

/// Everything the thread owns.
pub(super) struct Connection {
    pub(super) addresses: Vec<Address>,
    pub(super) session: Session,
    pub(super) handlers: Handlers,
    pub(super) finished: mpsc::Receiver<Finished>,
    pub(super) calls: Calls,
    pub(super) shared: Arc<Shared>,
    pub(super) shutdown: Shutdown,
    /// Whether SIGTERM and SIGINT drain the worker.
    pub(super) signals: bool,
    pub(super) drain_timeout: Duration,
}

/// The stream to the control plane, or the way to it.
enum Link {
    Waiting(Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Result<Box<Stream>, Error>>),
    Up(Box<Stream>),
}

struct Stream {
    addr: String,
    channel: Channel,
    outgoing: mpsc::Sender<SessionRequest>,
    incoming: Streaming<SessionResponse>,
    /// Since when the control plane takes no more messages. It usually says why a moment later.
    deaf_since: Option<Instant>,
}

enum Event {
    Finished,
    Progress,
    Spawn(SpawnCall),
    Context(ContextCall),
    Opened(Box<Stream>),
    Message(SessionResponse),
    Broken(Error),
    /// The delay before the next stream is over.
    Open,
    /// A timer of the session has come, or the stream has room again.
    Tick,
    Drain,
    Halt,
    DrainAsked(Result<(), Status>),
}

/// What changes while the connection is driven.
struct Driver {
    connection: Connection,
    link: Link,
    /// The address in use.
    at: usize,
    delays: ExponentialBackoff,
    signals: Option<Signals>,
    draining: bool,
    halting: bool,
    /// A drain asked of the control plane, under way.
    asking: Option<BoxFuture<'static, Result<(), Status>>>,
    /// Who waits for children to be added, by the number of the request.
    spawning: HashMap<u64, SpawnReply>,
    /// Who waits for the shared context.
    sharing: HashMap<u64, ContextReply>,
    /// Outcomes just received; kept between rounds for its memory only.
    batch: Vec<Finished>,
}

/// Runs a worker's connection on a runtime of its own until the worker ends. Blocks the thread.
pub(super) fn run(connection: Connection) -> Result<Ended, Error> {
    let thread = |source: io::Error| Error::Thread { source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
    let driven = async move {
        let signals = if connection.signals { Some(Signals::listen().map_err(thread)?) } else { None };
        let driver = Driver {
            connection,
            link: Link::Waiting(Box::pin(sleep(Duration::ZERO))),
            at: 0,
            delays: reconnect_delays(),
            signals,
            draining: false,
            halting: false,
            asking: None,
            spawning: HashMap::new(),
            sharing: HashMap::new(),
            batch: Vec::new(),
        };
        driver.drive().await
    };
    // A task beside those of its connection: waking the future that `block_on` is given costs two system calls.
    runtime.block_on(runtime.spawn(driven)).unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
}

// The loop.
impl Driver {
    async fn drive(mut self) -> Result<Ended, Error> {
        let mut timer = Box::pin(sleep(Duration::ZERO));
        loop {
            if let Some(ended) = self.act() {
                self.close().await;
                return Ok(ended);
            }
            let blocked = self.transmit();
            if self.connection.session.wants_action() {
                continue;
            }
            let event = self.next_event(timer.as_mut(), blocked).await;
            self.handle(event)?;
        }
    }

    /// Does what the session wants done; answers with how it ended, if it has.
    fn act(&mut self) -> Option<Ended> {
        while let Some(action) = self.connection.session.poll_action() {
            match action {
                Action::Start { brief, output_bytes_max } => {
                    self.connection.handlers.start(*brief, output_bytes_max);
                }
                Action::Cancel { lease_id, reason } => self.connection.handlers.cancel(lease_id, reason),
                Action::Abort { lease_id } => self.connection.handlers.abort(lease_id),
                Action::Spawned { request, answer } => {
                    if let Some(reply) = self.spawning.remove(&request) {
                        // Fails when nobody waits any more.
                        let _ = reply.answer.send(answer);
                    }
                }
                Action::Shared { request, answer } => {
                    if let Some(reply) = self.sharing.remove(&request) {
                        let _ = reply.answer.send(answer);
                    }
                }
                Action::Reconnect { problem } => {
                    let addr = self.address().text.clone();
                    self.reopen_later(&Error::Unavailable { addr, problem: problem.to_owned() });
                }
                Action::AskDrain { session_id } => self.ask_drain(session_id),
                Action::End(ended) => return Some(ended),
            }
        }
        None
    }

    /// Sends what the session has, as far as the stream has room; answers with whether it lacks room.
    fn transmit(&mut self) -> bool {
        let Link::Up(stream) = &mut self.link else { return false };
        let session = &mut self.connection.session;
        while session.wants_transmit() && stream.deaf_since.is_none() {
            match stream.outgoing.try_reserve() {
                Ok(room) => room.send(SessionRequest { message: session.poll_transmit() }),
                Err(TrySendError::Full(())) => return true,
                Err(TrySendError::Closed(())) => stream.deaf_since = Some(Instant::now()),
            }
        }
        false
    }

    /// Waits for whatever comes first. Every branch may be dropped without loss.
    async fn next_event(&mut self, mut timer: Pin<&mut Sleep>, blocked: bool) -> Event {
        let Connection { session, finished, calls, shared, shutdown, .. } = &mut self.connection;
        let due = session.poll_timeout().map(tokio::time::Instant::from_std);
        if let Some(due) = due.filter(|due| *due != timer.deadline()) {
            timer.as_mut().reset(due);
        }
        let (draining, halting) = (self.draining, self.halting);
        tokio::select! {
            _ = finished.recv_many(&mut self.batch, EVENTS_MAX) => Event::Finished,
            event = self.link.next(blocked) => event,
            () = shared.progress.changed() => Event::Progress,
            Some(call) = calls.spawns.recv() => Event::Spawn(call),
            Some(call) = calls.contexts.recv() => Event::Context(call),
            () = timer, if due.is_some() => Event::Tick,
            () = signal(&mut self.signals) => if draining { Event::Halt } else { Event::Drain },
            () = shutdown.drain.cancelled(), if !draining => Event::Drain,
            () = shutdown.halt.cancelled(), if !halting => Event::Halt,
            answer = asked(&mut self.asking) => Event::DrainAsked(answer),
        }
    }

    /// # Errors
    /// When the control plane refuses this worker in a way that trying again cannot mend.
    fn handle(&mut self, event: Event) -> Result<(), Error> {
        let now = Instant::now();
        let session = &mut self.connection.session;
        // Reports made before an outcome have to be seen before it.
        for (lease_id, (message, fraction)) in self.connection.shared.progress.take() {
            session.handle_progress(now, lease_id, message, fraction);
        }
        match event {
            Event::Finished => {
                let wall = SystemTime::now();
                for Finished { lease_id, outcome } in self.batch.drain(..) {
                    self.connection.handlers.forget(lease_id);
                    session.handle_finished(now, wall, lease_id, outcome);
                }
            }
            Event::Spawn(SpawnCall { lease_id, children, reply }) => {
                // Without a number the reply is dropped, which says enough.
                if let Some(request) = session.handle_spawn(lease_id, children) {
                    self.spawning.insert(request, reply);
                }
            }
            Event::Context(ContextCall { lease_id, ask, reply }) => {
                let request = match ask {
                    ContextAsk::Write(write) => session.handle_write(lease_id, write),
                    ContextAsk::Read(key) => session.handle_read(lease_id, key),
                };
                if let Some(request) = request {
                    self.sharing.insert(request, reply);
                }
            }
            Event::Opened(stream) => self.link = Link::Up(stream),
            Event::Message(message) => return self.messages(now, message),
            Event::Broken(error) => return self.broken(now, error),
            Event::Open => self.open(now),
            Event::Tick => session.handle_timeout(now),
            Event::Drain => {
                self.draining = true;
                tracing::info!(timeout = ?self.connection.drain_timeout, "draining: finishing what is in flight");
                session.handle_shutdown(now, self.connection.drain_timeout);
            }
            Event::Halt => {
                (self.draining, self.halting) = (true, true);
                session.handle_shutdown(now, Duration::ZERO);
            }
            Event::DrainAsked(answer) => {
                self.asking = None;
                if let Err(status) = answer {
                    tracing::debug!(%status, "the control plane took no request to drain");
                    session.handle_drain_refused();
                }
            }
            Event::Progress => {}
        }
        Ok(())
    }
}

// The stream.
impl Driver {
    fn address(&self) -> &Address {
        &self.connection.addresses[self.at]
    }

    /// Opens a stream; Hello is on it before the control plane has answered anything.
    fn open(&mut self, now: Instant) {
        let session = &mut self.connection.session;
        session.handle_opening(now);
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        // The channel is new and has room.
        let _ = outgoing.try_send(SessionRequest { message: session.poll_transmit() });
        let Address { text: addr, endpoint } = self.address().clone();
        self.link = Link::Opening(Box::pin(async move {
            let channel = endpoint.connect().await.map_err(|error| Error::from_transport(&addr, &error))?;
            let answer = WorkerServiceClient::new(channel.clone())
                .max_decoding_message_size(RESPONSE_BYTES_MAX)
                .session(ReceiverStream::new(messages))
                .await
                .map_err(|status| Error::from_status(&addr, WELCOME_TIMEOUT, &status))?;
            Ok(Box::new(Stream { addr, channel, outgoing, incoming: answer.into_inner(), deaf_since: None }))
        }));
    }

    /// Hands over `first` and what else has come in already, so that the answers go out together.
    fn messages(&mut self, now: Instant, first: SessionResponse) -> Result<(), Error> {
        let wall = SystemTime::now();
        let session = &mut self.connection.session;
        let was_up = session.is_up();
        session.handle_message(now, wall, first);
        if !was_up && session.is_up() {
            self.delays = reconnect_delays();
            let addr = &self.connection.addresses[self.at].text;
            tracing::info!(addr, session_id = session.session_id(), "connected to the control plane");
        }
        for _ in 1..EVENTS_MAX {
            let Link::Up(stream) = &mut self.link else { return Ok(()) };
            match stream.incoming.message().now_or_never() {
                Some(Ok(Some(message))) => self.connection.session.handle_message(now, wall, message),
                Some(end) => {
                    let error = stream.end(end.err());
                    return self.broken(now, error);
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// The stream broke, or could not be opened.
    fn broken(&mut self, now: Instant, error: Error) -> Result<(), Error> {
        let session = &mut self.connection.session;
        let fatal = match error.code() {
            Some(Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied) => !session.is_up(),
            // A proxy says so while the control plane behind it restarts; at the very first try it is the wrong
            // address.
            Some(Code::Unimplemented) => session.session_id().is_none(),
            _ => false,
        };
        if fatal {
            return Err(error);
        }
        session.handle_closed(now);
        self.reopen_later(&error);
        Ok(())
    }

    /// Goes on with the next address after a delay.
    fn reopen_later(&mut self, error: &Error) {
        self.at = (self.at + 1) % self.connection.addresses.len();
        let delay = self.delays.next().unwrap_or(RECONNECT_DELAY_MAX);
        let delay = delay.max(error.retry_after().unwrap_or_default());
        tracing::warn!(%error, ?delay, "no stream to the control plane, opening another");
        self.link = Link::Waiting(Box::pin(sleep(delay)));
    }

    fn ask_drain(&mut self, session_id: i64) {
        let Link::Up(stream) = &self.link else { return };
        let mut agents = AgentServiceClient::new(stream.channel.clone());
        self.asking =
            Some(Box::pin(
                async move { agents.drain_worker(DrainWorkerRequest { session_id }).await.map(drop) },
            ));
    }

    /// Lets the control plane read the last messages before the connection is gone.
    async fn close(self) {
        if let Link::Up(stream) = self.link {
            let Stream { outgoing, mut incoming, .. } = *stream;
            drop(outgoing);
            let end = async { while let Ok(Some(_)) = incoming.message().await {} };
            if timeout(CLOSE_WAIT, end).await.is_err() {
                tracing::debug!("the control plane did not close the stream");
            }
        }
    }
}

impl Link {
    async fn next(&mut self, blocked: bool) -> Event {
        match self {
            Self::Waiting(delay) => {
                delay.await;
                Event::Open
            }
            Self::Opening(opening) => match opening.await {
                Ok(stream) => Event::Opened(stream),
                Err(error) => Event::Broken(error),
            },
            Self::Up(stream) => stream.next(blocked).await,
        }
    }
}

impl Stream {
    async fn next(&mut self, blocked: bool) -> Event {
        let room = async {
            if !blocked || self.outgoing.reserve().await.is_err() {
                future::pending::<()>().await;
            }
        };
        let deaf = async {
            match self.deaf_since {
                Some(since) => sleep_until((since + CLOSE_WAIT).into()).await,
                None => future::pending().await,
            }
        };
        let end = tokio::select! {
            message = self.incoming.message() => match message {
                Ok(Some(message)) => return Event::Message(message),
                Ok(None) => None,
                Err(status) => Some(status),
            },
            () = room => return Event::Tick,
            () = deaf => None,
        };
        Event::Broken(self.end(end))
    }

    /// Why the stream has ended; without a status the control plane just closed it.
    fn end(&self, status: Option<Status>) -> Error {
        match status {
            Some(status) => Error::from_status(&self.addr, WELCOME_TIMEOUT, &status),
            None => {
                Error::Unavailable { addr: self.addr.clone(), problem: "it closed the stream".to_owned() }
            }
        }
    }
}

/// Waits for a signal to end, for ever if none is listened for.
async fn signal(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => signals.next().await,
        None => future::pending().await,
    }
}

/// Waits for a request to drain to be answered, for ever if there is none.
async fn asked(asking: &mut Option<BoxFuture<'static, Result<(), Status>>>) -> Result<(), Status> {
    match asking {
        Some(asking) => asking.await,
        None => future::pending().await,
    }
}

fn reconnect_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(RECONNECT_DELAY_MIN)
        .with_max_delay(RECONNECT_DELAY_MAX)
        .without_max_times()
        .build()
}
