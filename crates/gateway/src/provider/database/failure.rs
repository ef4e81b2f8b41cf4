//! What SQLite's errors mean to the caller.

use std::time::Duration;

use rusqlite::{Error, ErrorCode};

use crate::provider::{Effect, ProviderError, input::shorten};

/// Translates `error` of a statement that had no effect, or whose effect was rolled back.
///
/// `denial` is what the authorizer refused, `timeout` how long the statement had.
pub(super) fn of_statement(
    error: &Error,
    denial: Option<String>,
    timeout: Duration,
) -> ProviderError {
    if let Some(denial) = denial {
        return ProviderError::invalid(shorten(&format!("`query`: {denial} is not allowed here")));
    }
    let (code, message) = match error {
        Error::SqliteFailure(failure, message) => {
            (failure.code, message.as_deref().unwrap_or_default())
        }
        Error::SqlInputError { error, msg, .. } => (error.code, msg.as_str()),
        Error::MultipleStatement => {
            return ProviderError::invalid("`query` holds several statements: send exactly one");
        }
        other => return failed("the database could not run the statement", other),
    };
    match code {
        ErrorCode::OperationInterrupted => ProviderError::failed(
            Effect::None,
            format!(
                "the statement was stopped after {} ms and had no effect: make it cheaper, for example with LIMIT",
                timeout.as_millis()
            ),
        ),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ProviderError::failed(
            Effect::None,
            "the database is locked by another writer; nothing was done: try again later",
        ),
        ErrorCode::ReadOnly => ProviderError::invalid(
            "`query` writes, but the database is read-only here: send a SELECT",
        ),
        ErrorCode::TooBig => ProviderError::invalid(
            "`query` makes a value that is too large, or is itself too long: shorten it",
        ),
        ErrorCode::OutOfMemory => ProviderError::invalid("`query` is too complex: split it"),
        ErrorCode::Unknown
        | ErrorCode::ConstraintViolation
        | ErrorCode::TypeMismatch
        | ErrorCode::ParameterOutOfRange
        | ErrorCode::SchemaChanged
        | ErrorCode::AuthorizationForStatementDenied => {
            ProviderError::invalid(shorten(&format!("`query`: {message}")))
        }
        _ => failed("the database could not run the statement", error),
    }
}

/// A failure of the database itself, with nothing done.
pub(super) fn failed(message: &str, error: &Error) -> ProviderError {
    ProviderError::failed(Effect::None, message).with_detail(error.to_string())
}
