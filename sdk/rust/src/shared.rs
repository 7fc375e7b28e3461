//! The shared context of a task, as a handler reads and writes it under its lease.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Context, Error, REQUEST_BYTES_MAX,
    proto::ContextEntry,
    request::json,
    worker::{ContextAsk, SharedAnswer, Write},
};

/// Bytes of a value that can travel at all; what the control plane takes is less.
const VALUE_BYTES_MAX: usize = REQUEST_BYTES_MAX - 256 * 1024;

/// A value of the shared context, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// 1, 2, ...: what [`SharedContext::compare_and_set`] is given.
    pub version: u64,
}

/// The shared context of a task: JSON values by key, each with a version that only grows. All subtasks of the task read
/// and write the same; a write is durable when it is answered, and counts once, whatever happens to the connection.
///
/// ```
/// use downbeat_sdk::{Context, Error, HandlerError, Output};
///
/// async fn count(context: Context) -> Result<Output, HandlerError> {
///     let shared = context.shared();
///     loop {
///         let (seen, version) = match shared.get::<u64>("seen").await? {
///             Some(entry) => (entry.value, entry.version),
///             None => (0, 0),
///         };
///         match shared.compare_and_set("seen", version, &(seen + 1)).await {
///             Ok(_) => return Output::json(&(seen + 1)),
///             Err(Error::VersionConflict { .. }) => continue,
///             Err(error) => return Err(error.into()),
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct SharedContext {
    context: Context,
}

impl SharedContext {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    /// The value of a key; `None`: there is none.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]; [`Error::InvalidValue`] when it has another shape than `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, Error> {
        let Some(entry) = self.read(key).await?.pop() else { return Ok(None) };
        let value = serde_json::from_slice(&entry.value)
            .map_err(|source| Error::InvalidValue { key: key.to_owned(), source })?;
        Ok(Some(Versioned { value, version: entry.version }))
    }

    /// All keys, with their values as JSON texts.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    pub async fn all(&self) -> Result<Vec<ContextEntry>, Error> {
        self.read("").await
    }

    /// Sets a key, whatever it was; gives the version that it has now.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]; [`Error::ContextRefused`] when the key is no name, or a limit is reached;
    /// [`Error::InvalidJson`] or [`Error::TooLarge`] before anything is sent.
    pub async fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<u64, Error> {
        self.set(key, value, None).await
    }

    /// Sets a key where it has this version (0: where there is none); gives the version that it has now.
    ///
    /// # Errors
    /// [`Error::VersionConflict`], which names the version that it has; otherwise as [`SharedContext::put`].
    pub async fn compare_and_set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        expected_version: u64,
        value: &T,
    ) -> Result<u64, Error> {
        self.set(key, value, Some(expected_version)).await
    }

    /// Deletes a key; with a version, only where it has that. Its version goes on counting.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], [`Error::VersionConflict`].
    pub async fn delete(&self, key: &str, expected_version: Option<u64>) -> Result<u64, Error> {
        self.write(key, None, expected_version).await
    }

    async fn set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        expected_version: Option<u64>,
    ) -> Result<u64, Error> {
        let value = json(&format!("the value of {key:?}"), value)?;
        if value.len() > VALUE_BYTES_MAX {
            let (limit, size) = (VALUE_BYTES_MAX, value.len());
            return Err(Error::TooLarge { what: "the value", limit, size });
        }
        self.write(key, Some(value), expected_version).await
    }

    async fn write(&self, key: &str, value: Option<Bytes>, expected: Option<u64>) -> Result<u64, Error> {
        let write = Write { key: key.to_owned(), value, expected_version: expected };
        match self.context.ask(ContextAsk::Write(write)).await {
            SharedAnswer::Done { version, .. } => Ok(version),
            SharedAnswer::LeaseLost => Err(Error::LeaseLost),
            SharedAnswer::Conflict { version, .. } => {
                Err(Error::VersionConflict { key: key.to_owned(), version })
            }
            SharedAnswer::Refused(message) => Err(Error::ContextRefused { message }),
        }
    }

    async fn read(&self, key: &str) -> Result<Vec<ContextEntry>, Error> {
        match self.context.ask(ContextAsk::Read(key.to_owned())).await {
            SharedAnswer::Done { entries, .. } => Ok(entries),
            SharedAnswer::LeaseLost => Err(Error::LeaseLost),
            SharedAnswer::Conflict { message, .. } | SharedAnswer::Refused(message) => {
                Err(Error::ContextRefused { message })
            }
        }
    }
}
