//! What Postgres' SQLSTATEs mean to a caller.

use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
    types::WrongType,
};

use super::record::Misfit;
use crate::StoreError;

/// The constraint that two batches may both run into without either being wrong.
const SAME_TASK_ID: &str = "tasks_id";

impl From<Error> for StoreError {
    /// For anything but a commit: when the connection is lost, nothing was left undecided.
    fn from(error: Error) -> StoreError {
        match error.as_db_error() {
            Some(said) => of_state(said),
            None if is_misfit(&error) => wrong_schema(&with_source(&error)),
            None => StoreError::unavailable(with_source(&error)),
        }
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> StoreError {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            other => StoreError::unavailable(other.to_string()),
        }
    }
}

/// Whether what was to be sent does not fit the types of the statement: trying again would not help.
fn is_misfit(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<WrongType>() || source.is::<Misfit>())
}

/// For the first connection: what is wrong with the URL now will be wrong later. For a connection that was
/// there before, it is somebody restoring a database.
pub(super) fn of_opening(error: Error) -> StoreError {
    match error.as_db_error() {
        Some(said) if ["28", "3D"].contains(&&said.code().code()[..2]) => {
            StoreError::Config(format!("Postgres does not let us in: {}", in_words(said)))
        }
        _ => error.into(),
    }
}

/// For a batch whose `commit` was sent: only the database's own refusal proves that it is not durable.
pub(super) fn of_commit(error: Error) -> StoreError {
    match error.into() {
        StoreError::Unavailable { message, .. } => StoreError::Unavailable { message, commit_unknown: true },
        known => known,
    }
}

fn of_state(said: &DbError) -> StoreError {
    let (code, message) = (said.code(), in_words(said));
    if *code == SqlState::UNIQUE_VIOLATION && said.constraint() == Some(SAME_TASK_ID) {
        return StoreError::Conflict(message);
    }
    // There are no checks but the partitions': one was attached while the row was on its way to another.
    if [SqlState::LOCK_NOT_AVAILABLE, SqlState::CHECK_VIOLATION].contains(code) {
        return StoreError::Conflict(message);
    }
    if [SqlState::DISK_FULL, SqlState::IO_ERROR].contains(code) {
        return StoreError::Full(message);
    }
    match &code.code()[..2] {
        "40" => StoreError::Conflict(message),
        "22" | "23" | "54" => StoreError::Refused(message),
        "42" => wrong_schema(&message),
        _ => StoreError::unavailable(message),
    }
}

fn wrong_schema(message: &str) -> StoreError {
    StoreError::Schema(format!("the schema is not what this downbeat expects: {message}"))
}

/// The message and where it points, but no values: those may be anybody's secrets.
fn in_words(said: &DbError) -> String {
    let place = said.constraint().or(said.column()).or(said.table());
    let place = place.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{}{place} [{}]", said.message(), said.code().code())
}

fn with_source(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
