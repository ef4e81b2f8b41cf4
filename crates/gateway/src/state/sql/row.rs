//! Rows, read strictly.

use fastmcp_guard::clock::Timestamp;

use super::{
    super::{
        StateError,
        machine::{Claim, Effect, Lease, Machine, Owner, State, Status},
        operation::{Binding, OperationId, Row},
    },
    Fields,
};
use crate::manifest::ToolId;

/// Reads a moment.
pub(super) fn moment(row: &Fields, name: &'static str) -> Result<Timestamp, StateError> {
    number(row.column(name)?, name).map(Timestamp::from_unix_millis)
}

fn number(value: i64, column: &'static str) -> Result<u64, StateError> {
    u64::try_from(value).map_err(|_| StateError::Corrupt { column })
}

fn digest(row: &Fields, name: &'static str) -> Result<[u8; 32], StateError> {
    let bytes: &[u8] = row.column(name)?;
    bytes
        .try_into()
        .map_err(|_| StateError::Corrupt { column: name })
}

/// Reads the columns that decide an operation's steps.
pub(super) fn machine(row: &Fields) -> Result<Machine, StateError> {
    let corrupt = |column| move || StateError::Corrupt { column };
    let status = Status::parse(row.column("state")?).ok_or_else(corrupt("state"))?;
    let fence = number(row.column("fence")?, "fence")?;
    let claim = || -> Result<Claim, StateError> {
        let owner = Owner::parse(row.column("owner")?).map_err(|_| corrupt("owner")())?;
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
            State::Failed(Effect::parse(row.column("effect")?).ok_or_else(corrupt("effect"))?)
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
pub(super) fn operation(row: &Fields) -> Result<Row, StateError> {
    let id: &str = row.column("operation_id")?;
    let tool_id: &str = row.column("tool_id")?;
    let token_hash: Option<&[u8]> = row.column("token_hash")?;
    let result_bytes: Option<i64> = row.column("result_bytes")?;
    Ok(Row {
        id: OperationId::parse(id).map_err(|_| StateError::Corrupt {
            column: "operation_id",
        })?,
        binding: Binding {
            tenant: row.column("tenant")?,
            subject: row.column("subject")?,
            actors: row.column("actors")?,
            client: row.column("client")?,
            tool_id: ToolId::parse(tool_id)
                .map_err(|_| StateError::Corrupt { column: "tool_id" })?,
            definition_hash: digest(row, "definition_hash")?,
            args_digest: digest(row, "args_digest")?,
            obligations: row.column("obligations")?,
            policy_version: row.column("policy_version")?,
            labels: row.column("labels")?,
            tool: row.column("tool")?,
        },
        machine: machine(row)?,
        redeemed_policy_version: row.column("redeemed_policy_version")?,
        token_hash: token_hash
            .map(|bytes| {
                bytes.try_into().map_err(|_| StateError::Corrupt {
                    column: "token_hash",
                })
            })
            .transpose()?,
        token_sealed: row.column("token_sealed")?,
        args_sealed: row.column("args_sealed")?,
        confirmed_by: row.column("confirmed_by")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        retain_until: moment(row, "retain_until")?,
        result_sealed: row.column("result_sealed")?,
        result_bytes: result_bytes
            .map(|size| number(size, "result_bytes"))
            .transpose()?,
        detail_sealed: row.column("detail_sealed")?,
    })
}
