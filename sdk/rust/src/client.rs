//! The client: one cheap, cloneable handle to the control plane.
//!
//! Here are the handle, its builder, and the one way every unary call takes: size check, deadline, retries,
//! change of address. The calls themselves stand in the submodules, one per service of the contract.
//! Nothing about workers belongs here.

mod agents;
mod context;
mod reviews;
mod schedules;
mod tasks;
mod watch;
mod workflows;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use backon::{ExponentialBuilder, Retryable};
use prost::Message;
use tonic::{Request, Response, Status, transport::Channel};

pub use self::{
    tasks::Submitted,
    watch::{EventStream, is_final},
    workflows::Stored,
};
use crate::{
    Error,
    address::{self, Address},
};

/// The largest request that is sent, in bytes. The control plane refuses larger ones, and HTTP/2 would only
/// say that the stream was reset.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest message that is accepted, in bytes: a task with all its outputs may outgrow any request.
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The deadline of a call, retries included, when the builder sets none.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// How failed calls are tried again.
///
/// Only failures that may pass are retried: no connection, `UNAVAILABLE`, `RESOURCE_EXHAUSTED`. Every call
/// of the contract may be sent twice. The delay doubles from `delay_min` to `delay_max`, with jitter; a
/// longer delay asked for by the server is honoured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often a call is sent, the first time included; 0 counts as 1.
    pub attempts: usize,
    /// The delay before the second attempt.
    pub delay_min: Duration,
    /// The delay that is never exceeded, jitter apart.
    pub delay_max: Duration,
}

impl Default for Retry {
    /// Five attempts, from 100 ms to 5 s.
    fn default() -> Self {
        Self { attempts: 5, delay_min: Duration::from_millis(100), delay_max: Duration::from_secs(5) }
    }
}

impl Retry {
    /// One attempt, and the first error is final.
    pub fn none() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// The delays of `retries` retries.
    fn delays(&self, retries: usize) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.delay_min)
            .with_max_delay(self.delay_max)
            .with_max_times(retries)
    }
}

/// A handle to the control plane. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// Who decides, where a call does not say it itself; may be empty.
    by: Arc<str>,
}

#[derive(Debug)]
struct Shared {
    peers: Vec<Peer>,
    /// The peer that worked last; all calls go to it until it cannot be reached.
    preferred: AtomicUsize,
    deadline: Duration,
    retry: Retry,
}

#[derive(Debug)]
struct Peer {
    addr: String,
    channel: Channel,
}

/// Sets up a [`Client`].
#[derive(Debug, Clone, Default)]
pub struct ClientBuilder {
    addrs: Vec<String>,
    deadline: Option<Duration>,
    retry: Retry,
}

impl ClientBuilder {
    /// Adds an address: `http://host:port`, `host:port`, or several of them separated by commas. Without any,
    /// the environment variable `DOWNBEAT_ADDR` counts, then `http://127.0.0.1:9083`.
    ///
    /// With several addresses the calls go to one of them until it cannot be reached, then to the next.
    pub fn addr(mut self, addr: impl Into<String>) -> Self {
        self.addrs.push(addr.into());
        self
    }

    /// The deadline of each call, retries included. The default is 30 s. Streams have none.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How failed calls are tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`], or [`Error::Unavailable`] when no address can be reached. Each is tried once:
    /// whoever waits at a terminal wants to know at once.
    pub async fn connect(self) -> Result<Client, Error> {
        let addresses = address::resolve(&self.addrs)?;
        let mut refused = None;
        for (at, address) in addresses.iter().enumerate() {
            match address.endpoint.connect().await {
                Ok(channel) => return Ok(self.build(addresses, Some((at, channel)))),
                Err(error) => refused = Some(Error::from_transport(&address.text, &error)),
            }
        }
        refused.map_or_else(|| Ok(self.build(addresses, None)), Err)
    }

    /// Makes a client that connects with its first call. Has to be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`].
    pub fn connect_lazy(self) -> Result<Client, Error> {
        let addresses = address::resolve(&self.addrs)?;
        Ok(self.build(addresses, None))
    }

    /// `connected` is the index of an address and the open channel to it; all others connect when needed.
    pub(crate) fn build(self, addresses: Vec<Address>, connected: Option<(usize, Channel)>) -> Client {
        let preferred = AtomicUsize::new(connected.as_ref().map_or(0, |(at, _)| *at));
        let mut peers: Vec<Peer> = addresses
            .into_iter()
            .map(|Address { text, endpoint }| Peer { addr: text, channel: endpoint.connect_lazy() })
            .collect();
        if let Some((at, channel)) = connected {
            peers[at].channel = channel;
        }
        let deadline = self.deadline.unwrap_or(DEADLINE_DEFAULT);
        let shared = Arc::new(Shared { peers, preferred, deadline, retry: self.retry });
        Client { shared, by: Arc::from("") }
    }
}

impl Client {
    /// Connects to `addr`: `http://host:port`, `host:port`, or several of them separated by commas.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`], or [`Error::Unavailable`] when it cannot be reached.
    pub async fn connect(addr: impl Into<String>) -> Result<Self, Error> {
        Self::builder().addr(addr).connect().await
    }

    /// Sets up a client; see [`ClientBuilder`].
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The same handle, for somebody: what it decides, signals or runs again is said to be by them. Nobody checks
    /// that; it is for the history, and for approvals that name who may decide.
    ///
    /// ```no_run
    /// # async fn example(client: downbeat_sdk::Client) -> Result<(), downbeat_sdk::Error> {
    /// client.by("ada").skip_subtask("release-42", "docs", "written by hand").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn by(&self, name: impl Into<Arc<str>>) -> Self {
        Self { shared: Arc::clone(&self.shared), by: name.into() }
    }

    /// `by` itself, or who this handle is for.
    fn or_by(&self, by: String) -> String {
        if by.is_empty() { self.by.to_string() } else { by }
    }

    /// Sends one unary call, again where that may help, until the deadline.
    async fn call<Q, A, Send, Sent>(&self, request: Q, send: Send) -> Result<A, Error>
    where
        Q: Message + Clone,
        Send: Fn(Channel, Request<Q>) -> Sent,
        Sent: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_with(&self.shared.retry, request, send).await
    }

    async fn call_with<Q, A, Send, Sent>(&self, retry: &Retry, request: Q, send: Send) -> Result<A, Error>
    where
        Q: Message + Clone,
        Send: Fn(Channel, Request<Q>) -> Sent,
        Sent: Future<Output = Result<Response<A>, Status>>,
    {
        let size = request.encoded_len();
        if size > REQUEST_BYTES_MAX {
            return Err(Error::TooLarge { what: "the request", limit: REQUEST_BYTES_MAX, size });
        }
        let deadline = &self.shared.deadline;
        let started = Instant::now();
        let attempt = || async {
            let (at, peer) = self.preferred();
            let left = deadline.saturating_sub(started.elapsed());
            let mut request = Request::new(request.clone());
            request.set_timeout(left);
            let answer = match tokio::time::timeout(left, send(peer.channel.clone(), request)).await {
                Ok(answer) => answer,
                Err(_) => return Err(Error::DeadlineExceeded { addr: peer.addr.clone(), after: *deadline }),
            };
            answer.map(Response::into_inner).map_err(|status| self.failed(at, &status))
        };
        attempt
            .retry(retry.delays(retry.attempts.saturating_sub(1)))
            .when(Error::is_retryable)
            // A retry that cannot come in time would only hide the reason behind "deadline exceeded".
            .adjust(|error, delay| {
                delay_before_retry(error, delay).filter(|delay| started.elapsed() + *delay < *deadline)
            })
            .notify(|error, delay| tracing::debug!(%error, ?delay, "call failed, trying again"))
            .await
    }

    fn preferred(&self) -> (usize, &Peer) {
        let at = self.shared.preferred.load(Ordering::Relaxed);
        (at, &self.shared.peers[at])
    }

    /// Reads the status of a failed call to the peer `at`; the next call goes elsewhere if it was unreachable.
    fn failed(&self, at: usize, status: &Status) -> Error {
        let Shared { peers, preferred, deadline, .. } = &*self.shared;
        let error = Error::from_status(&peers[at].addr, *deadline, status);
        if error.is_retryable() {
            // Of many calls that fail together only one moves on; the exchange fails for the others.
            let next = (at + 1) % peers.len();
            let _ = preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        error
    }
}

/// The longer of our own delay and the one the server asked for; `None` when the attempts are used up.
fn delay_before_retry(error: &Error, own: Option<Duration>) -> Option<Duration> {
    own.map(|delay| delay.max(error.retry_after().unwrap_or_default()))
}
