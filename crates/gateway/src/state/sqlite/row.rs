//! Rows of SQLite, read strictly.

use fastmcp_guard::clock::Timestamp;
use sqlx::{Decode, Row as _, Sqlite, Type, sqlite::SqliteRow};

use super::super::{
    StateError,
    machine::{Claim, Effect, Lease, Machine, Owner, State, Status},
    operation::{Binding, OperationId, Row},
};
use crate::manifest::ToolId;

/// A moment as SQLite keeps it.
pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.millis()).unwrap_or(i64::MAX)
}

/// Reads one column.
pub(super) fn column<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StateError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column)
        .map_err(|_| StateError::Corrupt { column })
}

/// Reads a moment.
pub(super) fn moment(row: &SqliteRow, name: &'static str) -> Result<Timestamp, StateError> {
    number(column(row, name)?, name).map(Timestamp::from_unix_millis)
}

fn number(value: i64, column: &'static str) -> Result<u64, StateError> {
    u64::try_from(value).map_err(|_| StateError::Corrupt { column })
}

fn digest(row: &SqliteRow, name: &'static str) -> Result<[u8; 32], StateError> {
    let bytes: &[u8] = column(row, name)?;
    bytes
        .try_into()
        .map_err(|_| StateError::Corrupt { column: name })
}

/// Reads the columns that decide an operation's steps.
pub(super) fn machine(row: &SqliteRow) -> Result<Machine, StateError> {
    let corrupt = |column| move || StateError::Corrupt { column };
    let status = Status::parse(column(row, "state")?).ok_or_else(corrupt("state"))?;
    let fence = number(column(row, "fence")?, "fence")?;
    let claim = || -> Result<Claim, StateError> {
        let owner = Owner::parse(column(row, "owner")?).map_err(|_| corrupt("owner")())?;
        Ok(Claim { owner, fence })
    };
    let lease = || -> Result<Lease, StateError> {
        Ok(Lease {
            claim: claim()?,
            until: moment(row, "lease_until")?,
        })
    };
    let state = match status {
        Status::Reserved => State::Reserved,
        Status::Confirmed => State::Confirmed,
        Status::Claimed => State::Claimed(lease()?),
        Status::Intended => State::Intended(lease()?),
        Status::Completed => State::Completed,
        Status::Failed => {
            State::Failed(Effect::parse(column(row, "effect")?).ok_or_else(corrupt("effect"))?)
        }
        Status::Unknown => State::Unknown(claim()?),
        Status::Declined => State::Declined,
        Status::Expired => State::Expired,
        Status::Cancelled => State::Cancelled,
    };
    Ok(Machine {
        state,
        fence,
        expires_at: moment(row, "expires_at")?,
    })
}

/// Reads a whole operation.
pub(super) fn operation(row: &SqliteRow) -> Result<Row, StateError> {
    let id: &str = column(row, "operation_id")?;
    let tool_id: &str = column(row, "tool_id")?;
    let token_hash: Option<&[u8]> = column(row, "token_hash")?;
    let result_bytes: Option<i64> = column(row, "result_bytes")?;
    Ok(Row {
        id: OperationId::parse(id).map_err(|_| StateError::Corrupt {
            column: "operation_id",
        })?,
        binding: Binding {
            tenant: column(row, "tenant")?,
            subject: column(row, "subject")?,
            client: column(row, "client")?,
            tool_id: ToolId::parse(tool_id)
                .map_err(|_| StateError::Corrupt { column: "tool_id" })?,
            definition_hash: digest(row, "definition_hash")?,
            args_digest: digest(row, "args_digest")?,
            obligations: column(row, "obligations")?,
            policy_version: column(row, "policy_version")?,
        },
        machine: machine(row)?,
        redeemed_policy_version: column(row, "redeemed_policy_version")?,
        token_hash: token_hash
            .map(|bytes| {
                bytes.try_into().map_err(|_| StateError::Corrupt {
                    column: "token_hash",
                })
            })
            .transpose()?,
        token_sealed: column(row, "token_sealed")?,
        args_sealed: column(row, "args_sealed")?,
        confirmed_by: column(row, "confirmed_by")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        retain_until: moment(row, "retain_until")?,
        result_sealed: column(row, "result_sealed")?,
        result_bytes: result_bytes
            .map(|size| number(size, "result_bytes"))
            .transpose()?,
        detail_sealed: column(row, "detail_sealed")?,
    })
}
