//! What a handler sees of its attempt: the brief, progress, cancellation, outputs of dependencies and children; and how
//! it adds children.
//!
//! Nothing here waits for the control plane, except for outputs that were too large for the brief, and for children to
//! be added.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use prost::Message;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Artifact, Error, HandlerError, REQUEST_BYTES_MAX, Subtask,
    proto::{Brief, Dependency, PlannedSubtask},
    shared::SharedContext,
    worker::{
        ContextAsk, ContextCall, ContextReply, MESSAGE_BYTES_MAX, Shared, SharedAnswer, SpawnCall,
        SpawnReply, Spawned, truncate,
    },
};

/// Bytes of children that are added at once: a request, less what is around them in the message.
const CHILDREN_BYTES_MAX: usize = REQUEST_BYTES_MAX - 256 * 1024;

/// What an output is of, for errors.
struct What {
    name: &'static str,
    unknown: &'static str,
    unavailable: &'static str,
}

const DEPENDENCY: What =
    What { name: "direct dependency", unknown: "UNKNOWN_DEPENDENCY", unavailable: "DEPENDENCY_UNAVAILABLE" };
const CHILD: What = What { name: "child", unknown: "UNKNOWN_CHILD", unavailable: "CHILD_UNAVAILABLE" };

/// Why an attempt shall stop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The control plane cancelled it; the text says why.
    Cancelled(String),
    /// The lease went to somebody else, or is gone: whatever is done from here on counts for nothing.
    LeaseLost,
    /// Its deadline passed while the control plane could not be reached.
    Overdue,
    /// The worker ends and can wait no longer.
    Shutdown,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled(reason) if reason.is_empty() => f.write_str("cancelled"),
            Self::Cancelled(reason) => write!(f, "cancelled: {reason}"),
            Self::LeaseLost => f.write_str("the lease is lost"),
            Self::Overdue => f.write_str("the deadline has passed"),
            Self::Shutdown => f.write_str("the worker is shutting down"),
        }
    }
}

/// One attempt, as its handler sees it. Cloning is cheap.
///
/// ```
/// use downbeat_sdk::{Context, HandlerError, Output};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Review {
///     repository: String,
/// }
///
/// async fn review(context: Context) -> Result<Output, HandlerError> {
///     let Review { repository } = context.input()?;
///     let diff: String = context.dependency("diff").await?;
///     context.progress(format!("reading {repository}"), 0.1);
///     Output::json(&diff.lines().count())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    attempt: Arc<Attempt>,
}

struct Attempt {
    brief: Brief,
    output_bytes_max: usize,
    cancellation: Arc<Cancellation>,
    artifacts: Mutex<Vec<Artifact>>,
    /// One request to add children at a time.
    spawning: Arc<Semaphore>,
    /// One request to the shared context at a time: a write is recognised by its number only while there is no later one.
    sharing: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// The cancellation of one attempt: the token, and the reason given before it is triggered.
#[derive(Debug, Default)]
pub(crate) struct Cancellation {
    token: CancellationToken,
    reason: OnceLock<CancelReason>,
}

impl Cancellation {
    /// The first reason counts.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }
}

impl Context {
    pub(crate) fn new(
        brief: Brief,
        output_bytes_max: usize,
        cancellation: Arc<Cancellation>,
        shared: Arc<Shared>,
    ) -> Self {
        let (artifacts, turn) = (Mutex::default(), || Arc::new(Semaphore::new(1)));
        let (spawning, sharing) = (turn(), turn());
        let attempt = Attempt { brief, output_bytes_max, cancellation, artifacts, spawning, sharing, shared };
        Self { attempt: Arc::new(attempt) }
    }

    /// Everything that was handed over, as it came.
    pub fn brief(&self) -> &Brief {
        &self.attempt.brief
    }

    /// The lease of this attempt. It only ever grows: store it with what you write elsewhere, refuse writes under
    /// a smaller one, and no two attempts can get in each other's way.
    pub fn lease_id(&self) -> i64 {
        self.brief().lease.map_or(0, |lease| lease.lease_id)
    }

    /// The number of this attempt: 1, 2, ... Not a fence; that is [`Context::lease_id`].
    pub fn attempt(&self) -> u32 {
        self.brief().attempt
    }

    /// When the attempt times out, by the clock of the control plane; `None`: never.
    pub fn deadline(&self) -> Option<SystemTime> {
        let millis = u64::try_from(self.brief().deadline_ms).ok().filter(|millis| *millis > 0)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    /// What is left until the deadline by this machine's clock, zero when it has passed; `None`: no deadline.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// The most bytes that the JSON text of the output may have; 0 when the control plane did not say.
    pub fn output_bytes_max(&self) -> usize {
        self.attempt.output_bytes_max
    }

    /// The input of the subtask.
    ///
    /// # Errors
    /// `INVALID_INPUT`, not retryable, when it has another shape than `T`.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        parse("INVALID_INPUT", "the input", &self.brief().input)
    }

    /// The context that was handed over, a JSON object: the keys of the shared context that the plan names for this
    /// subtask, as they were when it got the lease; where the plan names none, what the task was given.
    ///
    /// # Errors
    /// `INVALID_CONTEXT`, not retryable, when it has another shape than `T`.
    pub fn handed<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        let context = &self.brief().context;
        let context = if context.is_empty() { &Bytes::from_static(b"{}") } else { context };
        parse("INVALID_CONTEXT", "the context", context)
    }

    /// The shared context of the task, to be read and written while this attempt has its lease.
    pub fn shared(&self) -> SharedContext {
        SharedContext::new(self.clone())
    }

    /// The output of a direct dependency, fetched first when it was too large for the brief.
    ///
    /// # Errors
    /// `UNKNOWN_DEPENDENCY` or `INVALID_DEPENDENCY`, not retryable, when there is none of this key, or when its
    /// output has another shape than `T`. `DEPENDENCY_UNAVAILABLE`, retryable, when it cannot be fetched.
    pub async fn dependency<T: DeserializeOwned>(&self, key: &str) -> Result<T, HandlerError> {
        let output = self.dependency_output(key).await?;
        parse("INVALID_DEPENDENCY", &format!("the output of dependency {key:?}"), &output)
    }

    /// The JSON text of a dependency's output; empty means `null`. Otherwise as [`Context::dependency`].
    ///
    /// # Errors
    /// `UNKNOWN_DEPENDENCY`, not retryable, or `DEPENDENCY_UNAVAILABLE`, retryable.
    pub async fn dependency_output(&self, key: &str) -> Result<Bytes, HandlerError> {
        self.output_of(&DEPENDENCY, &self.brief().dependencies, key).await
    }

    /// The element of the map that this subtask belongs to, of several the innermost; `null` when it belongs to none.
    ///
    /// # Errors
    /// `INVALID_ITEM`, not retryable, when it has another shape than `T`.
    pub fn item<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        parse("INVALID_ITEM", "the item", &self.brief().item)
    }

    /// Which element of a map (from 0) or round of a loop (from 1) this subtask belongs to, of several the innermost.
    pub fn nth(&self) -> Option<u32> {
        self.brief().nth
    }

    /// What was added to this subtask before, in an earlier attempt or before it suspended, with how those ended. Empty
    /// in the first attempt. Outputs may have been too large to be handed over; [`Context::child`] fetches them.
    pub fn children(&self) -> &[Dependency] {
        &self.brief().children
    }

    /// The output of a child, fetched first when it was too large for the brief.
    ///
    /// # Errors
    /// `UNKNOWN_CHILD` or `INVALID_CHILD`, not retryable, when there is none of this key, or when its output has another
    /// shape than `T` (that of a child that failed is `null`). `CHILD_UNAVAILABLE`, retryable, when it cannot be fetched.
    pub async fn child<T: DeserializeOwned>(&self, key: &str) -> Result<T, HandlerError> {
        let output = self.child_output(key).await?;
        parse("INVALID_CHILD", &format!("the output of child {key:?}"), &output)
    }

    /// The JSON text of a child's output; empty means `null`. Otherwise as [`Context::child`].
    ///
    /// # Errors
    /// `UNKNOWN_CHILD`, not retryable, or `CHILD_UNAVAILABLE`, retryable.
    pub async fn child_output(&self, key: &str) -> Result<Bytes, HandlerError> {
        self.output_of(&CHILD, &self.brief().children, key).await
    }

    /// Adds children to this subtask, and waits until they are durable; answers with their ids, in their order. They may
    /// depend on each other. The subtask is completed only when they have ended, however they did; to look at what they delivered, return
    /// [`Output::suspend`](crate::Output::suspend) and be called again.
    ///
    /// May be called again with the same children, also by a later attempt: they are found by their keys. Of several
    /// calls at the same time one goes after the other.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the attempt shall stop, or its lease went to somebody else. [`Error::SpawnRefused`] when
    /// they are not valid, too many, or another child has one of their keys. [`Error::InvalidJson`] or
    /// [`Error::TooLarge`] before anything is sent.
    pub async fn spawn(&self, children: Vec<Subtask>) -> Result<Vec<String>, Error> {
        let children: Vec<PlannedSubtask> =
            children.into_iter().map(Subtask::into_message).collect::<Result<_, _>>()?;
        let size: usize = children.iter().map(Message::encoded_len).sum();
        if size > CHILDREN_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "the request to add children",
                limit: CHILDREN_BYTES_MAX,
                size,
            });
        }
        let spawned = async {
            let turn = Arc::clone(&self.attempt.spawning).acquire_owned().await.ok()?;
            let (answer, answered) = oneshot::channel();
            let reply = SpawnReply { answer, _turn: turn };
            let call = SpawnCall { lease_id: self.lease_id(), children, reply };
            self.attempt.shared.spawns.send(call).await.ok()?;
            answered.await.ok()
        };
        let answer = tokio::select! {
            // What is known counts, even if it shall stop.
            biased;
            answer = spawned => answer.unwrap_or(Spawned::LeaseLost),
            () = self.cancelled() => Spawned::LeaseLost,
        };
        match answer {
            Spawned::Added(subtask_ids) => Ok(subtask_ids),
            Spawned::LeaseLost => Err(Error::LeaseLost),
            Spawned::Refused(message) => Err(Error::SpawnRefused { message }),
        }
    }

    /// Asks for the shared context, and waits for the answer.
    pub(crate) async fn ask(&self, ask: ContextAsk) -> SharedAnswer {
        let answered = async {
            let turn = Arc::clone(&self.attempt.sharing).acquire_owned().await.ok()?;
            let (answer, answered) = oneshot::channel();
            let reply = ContextReply { answer, _turn: turn };
            let call = ContextCall { lease_id: self.lease_id(), ask, reply };
            self.attempt.shared.contexts.send(call).await.ok()?;
            answered.await.ok()
        };
        tokio::select! {
            // What is known counts, even if it shall stop.
            biased;
            answer = answered => answer.unwrap_or(SharedAnswer::LeaseLost),
            () = self.cancelled() => SharedAnswer::LeaseLost,
        }
    }

    async fn output_of(&self, what: &What, among: &[Dependency], key: &str) -> Result<Bytes, HandlerError> {
        let What { name, unknown, unavailable } = what;
        let Some(found) = among.iter().find(|one| one.key == key) else {
            let known: Vec<&str> = among.iter().map(|one| one.key.as_str()).collect();
            return Err(HandlerError::fatal(*unknown, format!("no {name} {key:?}; there are {known:?}")));
        };
        if !found.omitted {
            return Ok(found.output.clone());
        }
        let failed = |error: Error| {
            let message = format!("cannot fetch the output of {name} {key:?}: {error}");
            HandlerError::retryable(*unavailable, message)
        };
        let client = self.attempt.shared.client();
        let answer = client.output(&self.brief().task_id, &found.subtask_id).await.map_err(failed)?;
        Ok(answer.output)
    }

    /// Reports progress: a message for people (4 KiB are kept) and the fraction done, 0 to 1, if known.
    ///
    /// Never waits and never fails. Of reports in quick succession the newest is sent. Each one also tells that
    /// the attempt is alive, for agents with a progress timeout.
    pub fn progress(&self, message: impl Into<String>, fraction: impl Into<Option<f64>>) {
        let mut message = message.into();
        truncate(&mut message, MESSAGE_BYTES_MAX);
        let fraction = fraction.into().map_or(0.0, |fraction| if fraction.is_nan() { 0.0 } else { fraction });
        self.attempt.shared.progress.put(self.lease_id(), message, fraction.clamp(0.0, 1.0));
    }

    /// Adds an artifact to the output of this attempt.
    pub fn artifact(&self, artifact: Artifact) {
        self.attempt.artifacts.lock().unwrap_or_else(PoisonError::into_inner).push(artifact);
    }

    pub(crate) fn take_artifacts(&self) -> Vec<Artifact> {
        std::mem::take(&mut *self.attempt.artifacts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the attempt shall stop; for `tokio::select!`. The handler then has the worker's cancel grace
    /// to return; what it returns counts for nothing.
    pub async fn cancelled(&self) {
        self.attempt.cancellation.token.cancelled().await;
    }

    /// Whether the attempt shall stop; for loops that do not await.
    pub fn is_cancelled(&self) -> bool {
        self.attempt.cancellation.token.is_cancelled()
    }

    /// Why the attempt shall stop; `None` while it may go on.
    pub fn cancel_reason(&self) -> Option<&CancelReason> {
        self.attempt.cancellation.reason.get()
    }

    /// The token behind [`Context::cancelled`], to hand to other code.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.attempt.cancellation.token
    }

    /// An idempotency key for a side effect of this subtask: the same for every attempt, `task_id/subtask_id/name`.
    pub fn key(&self, name: &str) -> String {
        let Brief { task_id, subtask_id, .. } = self.brief();
        format!("{task_id}/{subtask_id}/{name}")
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Brief { task_id, subtask_id, .. } = self.brief();
        f.debug_struct("Context")
            .field("task_id", task_id)
            .field("subtask_id", subtask_id)
            .field("lease_id", &self.lease_id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// Reads JSON text; empty means `null`.
fn parse<T: DeserializeOwned>(code: &str, what: &str, json: &Bytes) -> Result<T, HandlerError> {
    let json = if json.is_empty() { b"null".as_slice() } else { json };
    serde_json::from_slice(json).map_err(|error| {
        let expected = std::any::type_name::<T>();
        HandlerError::fatal(code, format!("{what} does not fit {expected}: {error}"))
    })
}
