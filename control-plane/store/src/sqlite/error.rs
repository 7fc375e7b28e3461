//! What SQLite's codes mean to a caller.

use rusqlite::{Error, ErrorCode, ffi};

use crate::StoreError;

/// The constraint that two batches may both run into without either being wrong.
const SAME_TASK_ID: &str = "tasks.tenant, tasks.id";

impl From<Error> for StoreError {
    fn from(error: Error) -> StoreError {
        let Error::SqliteFailure(failure, message) = &error else {
            return match error {
                Error::ToSqlConversionFailure(_) => StoreError::Refused(error.to_string()),
                _ => StoreError::Corrupt(error.to_string()),
            };
        };
        let message = message.clone().unwrap_or_else(|| error.to_string());
        match failure.code {
            ErrorCode::ConstraintViolation if message.contains(SAME_TASK_ID) => StoreError::Conflict(message),
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
                StoreError::Refused(message)
            }
            ErrorCode::SystemIoFailure if is_read(failure.extended_code) => StoreError::unavailable(message),
            ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly => {
                StoreError::Full(message)
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(message),
            _ => StoreError::unavailable(message),
        }
    }
}

fn is_read(extended_code: i32) -> bool {
    matches!(extended_code, ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ)
}
