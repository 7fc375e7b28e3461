//! What a database can answer besides rows.

use thiserror::Error;

/// Why a call to a store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else was first: apply the batch again on fresh rows.
    #[error("the batch met a conflict: {0}")]
    Conflict(String),
    /// The database does not answer. With `commit_unknown` the batch may or may not be durable.
    #[error("cannot reach the database: {message}")]
    Unavailable { message: String, commit_unknown: bool },
    /// The disk is full, or the file cannot be written. Nothing of the batch is durable.
    #[error("the database cannot write: {0}")]
    Full(String),
    /// The database refuses these rows whatever happens: a poison value.
    #[error("the database refuses the rows: {0}")]
    Refused(String),
    /// The schema is not the one this binary knows.
    #[error("{0}")]
    Schema(String),
    /// The connection string or the place of the file makes no sense here. Raised while opening, never later.
    #[error("{0}")]
    Config(String),
    /// What is stored cannot be read: ours to fix.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// The database cannot be reached, and nothing was left undecided by that.
    pub(crate) fn unavailable(message: impl Into<String>) -> StoreError {
        StoreError::Unavailable { message: message.into(), commit_unknown: false }
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Conflict(_) | StoreError::Unavailable { .. } | StoreError::Full(_))
    }
}
