//! What an agent author writes and returns: handlers, outputs, artifacts, errors. No machinery here.

use std::{any::Any, fmt, future::Future};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::{Context, Error, proto};

/// The code that does the work of an agent: any `Fn(Context) -> impl Future<Output = Result<Output,
/// HandlerError>>` is one.
///
/// It is called once per attempt, on the runtime that [`Worker::run`](crate::Worker::run) was called on, and for
/// as many attempts at the same time as the worker has slots. It may panic; that fails the attempt and nothing
/// else.
pub trait Handler: Send + Sync + 'static {
    /// Does the work of one attempt.
    fn handle(&self, context: Context) -> BoxFuture<'static, Result<Output, HandlerError>>;
}

impl<F, Fut> Handler for F
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Output, HandlerError>> + Send + 'static,
{
    fn handle(&self, context: Context) -> BoxFuture<'static, Result<Output, HandlerError>> {
        Box::pin(self(context))
    }
}

/// What an attempt hands back: a JSON value, and artifacts kept by reference; or the subtask itself, until its children
/// have ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    json: Bytes,
    artifacts: Vec<Artifact>,
    suspends: bool,
}

impl Output {
    /// The output `null`.
    pub fn null() -> Self {
        Self::default()
    }

    /// Any value that serde can write as JSON.
    ///
    /// # Errors
    /// `INVALID_OUTPUT`, not retryable, when it cannot be written (a map whose keys are not strings, for example).
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, HandlerError> {
        let json = serde_json::to_vec(value).map_err(|error| {
            HandlerError::fatal("INVALID_OUTPUT", format!("cannot write the output as JSON: {error}"))
        })?;
        Ok(Self::from_json_text(json))
    }

    /// A value that is JSON text already, in UTF-8. It is not checked here; the control plane refuses what is
    /// not JSON.
    pub fn from_json_text(text: impl Into<Bytes>) -> Self {
        Self { json: text.into(), ..Self::default() }
    }

    /// No output yet: gives the subtask back until the children that were added to it ([`Context::spawn`]) have ended.
    /// The handler is then called again, by whatever worker, and finds them in [`Context::children`]. Uses up no attempt,
    /// and holds no slot meanwhile. Artifacts are not kept.
    ///
    /// ```
    /// use downbeat_sdk::{Context, HandlerError, Output, Subtask};
    ///
    /// async fn plan(context: Context) -> Result<Output, HandlerError> {
    ///     if context.children().is_empty() {
    ///         let parts = ["intro", "body"].map(|part| Subtask::new(part).agent("writer").input(part));
    ///         context.spawn(parts.into()).await?;
    ///         return Ok(Output::suspend());
    ///     }
    ///     let (intro, body): (String, String) = (context.child("intro").await?, context.child("body").await?);
    ///     Output::json(&format!("{intro}\n{body}"))
    /// }
    /// ```
    pub fn suspend() -> Self {
        Self { suspends: true, ..Self::default() }
    }

    /// Adds an artifact.
    pub fn artifact(mut self, artifact: Artifact) -> Self {
        self.artifacts.push(artifact);
        self
    }

    /// Adds artifacts.
    pub fn artifacts(mut self, artifacts: impl IntoIterator<Item = Artifact>) -> Self {
        self.artifacts.extend(artifacts);
        self
    }

    /// `None`: it suspends.
    pub(crate) fn into_completed(self) -> Option<proto::Completed> {
        let artifacts = self.artifacts.into_iter().map(|Artifact(artifact)| artifact).collect();
        (!self.suspends).then_some(proto::Completed { output: self.json, artifacts })
    }
}

impl From<serde_json::Value> for Output {
    fn from(value: serde_json::Value) -> Self {
        Self::from_json_text(value.to_string())
    }
}

/// A named output kept by reference: the data itself stays where its URI points.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact(proto::Artifact);

impl Artifact {
    /// An artifact by name and URI.
    pub fn new(name: impl Into<String>, uri: impl Into<String>) -> Self {
        Self(proto::Artifact { name: name.into(), uri: uri.into(), ..Default::default() })
    }

    /// Its media type, such as `application/pdf`.
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.0.media_type = media_type.into();
        self
    }

    /// Its size in bytes.
    pub fn size_bytes(mut self, size_bytes: u64) -> Self {
        self.0.size_bytes = size_bytes;
        self
    }

    /// Its digest: `sha256:<hex>` or `blake3:<hex>`.
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.0.digest = digest.into();
        self
    }
}

impl From<proto::Artifact> for Artifact {
    fn from(artifact: proto::Artifact) -> Self {
        Self(artifact)
    }
}

/// Why an attempt failed, and whether another one may do better.
///
/// Every `std::error::Error` turns into a retryable one with the code `HANDLER_ERROR` by `?`; only that children were
/// refused ([`Error::SpawnRefused`]) is fatal, with the code `SPAWN_REFUSED`. (So this type cannot be a
/// `std::error::Error` itself.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerError {
    /// Stable, `UPPER_SNAKE_CASE`.
    pub code: String,
    /// For people; the first 4 KiB are kept.
    pub message: String,
    /// Whether the subtask gets its remaining attempts; otherwise it goes straight to review.
    pub retryable: bool,
}

impl HandlerError {
    /// A failure that may pass: the subtask gets its remaining attempts.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true }
    }

    /// A failure that another attempt cannot mend: the subtask goes straight to review.
    pub fn fatal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false }
    }

    pub(crate) fn into_failed(self) -> proto::Failed {
        let Self { code, mut message, retryable } = self;
        truncate(&mut message, MESSAGE_BYTES_MAX);
        proto::Failed { error: Some(proto::AttemptError { code, message }), retryable }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        // Another attempt would ask for the same again; one that reads before may write.
        match (&error as &dyn Any).downcast_ref() {
            Some(Error::SpawnRefused { message }) => return Self::fatal("SPAWN_REFUSED", message),
            Some(Error::ContextRefused { message }) => return Self::fatal("CONTEXT_REFUSED", message),
            Some(conflict @ Error::VersionConflict { .. }) => {
                return Self::retryable("VERSION_CONFLICT", conflict.to_string());
            }
            Some(_) | None => {}
        }
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many errors print their source themselves.
            let cause_text = cause.to_string();
            if !message.ends_with(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::retryable("HANDLER_ERROR", message)
    }
}

/// The contract keeps so much of an error or progress message; the rest need not travel.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// Cuts `text` to at most `bytes_max` bytes, between two characters.
pub(crate) fn truncate(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}
