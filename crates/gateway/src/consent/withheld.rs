//! What a caller says that does not confirm: no, never mind, nothing.

use super::{
    Consents, actors,
    answer::{away, refused, too_late, unanswered},
};
use crate::{
    call::{Call, Withheld},
    confirm::{Refusal, token},
    error::{Code, Error},
    state::operation::{OperationId, Report},
};

impl Consents {
    /// Records how the caller's user withheld the confirmation; the answer says what became of the operation.
    ///
    /// # Errors
    ///
    /// The same where it did not move the operation.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be recorded.
    pub async fn withhold(
        &self,
        call: &Call,
        id: &OperationId,
        how: Withheld,
    ) -> Result<Error, Error> {
        let (tenant, who) = (
            call.caller.tenant().unwrap_or_default(),
            call.caller.subject(),
        );
        let (withheld, message) = match how {
            Withheld::Declined => (
                self.confirm.decline(id, tenant, who, "answered no").await,
                "Confirmation declined: nothing was done",
            ),
            Withheld::Dismissed => {
                let reason = format!("withdrawn: {who} put the question away without an answer");
                (
                    self.confirm.cancel(id, tenant, &reason).await,
                    "Confirmation cancelled: the question was put away without an answer; nothing was done",
                )
            }
            Withheld::Unanswered => return Err(unanswered(id)),
        };
        match withheld {
            Ok(report) => Ok(Error::new(Code::Conflict, message)
                .with_detail("operation_id", id.as_str())
                .with_detail("status", report.status.as_str())),
            Err(Refusal::Used { report, .. }) => Err(too_late(&report)),
            Err(refusal) => Err(refused(refusal)),
        }
    }

    /// The operation of a token, for the caller that it was issued to.
    ///
    /// # Errors
    ///
    /// As for a confirmation by that token.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn own(&self, call: &Call, token: &str) -> Result<OperationId, Error> {
        let hash = token::hash(token).ok_or_else(|| refused(Refusal::Unknown))?;
        let row = self.ledger.row_of_token(hash).await.map_err(away)?;
        let row = row.ok_or_else(|| refused(Refusal::Unknown))?;
        let (bound, caller) = (&row.binding, &call.caller);
        if Some(bound.tenant.as_str()) != caller.tenant()
            || bound.subject != caller.subject()
            || bound.actors != actors(caller)?
            || bound.client.as_deref() != caller.client_id()
        {
            return Err(refused(Refusal::OtherCaller));
        }
        if bound.tool_id.as_str() != call.tool_id {
            return Err(refused(Refusal::Unknown));
        }
        Ok(row.id)
    }

    /// Withdraws the caller's [own](Self::own) operation.
    ///
    /// # Errors
    ///
    /// [`Code::Conflict`] when it does not wait any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be withdrawn.
    pub async fn decline(&self, call: &Call, id: &OperationId) -> Result<Report, Error> {
        let (tenant, who) = (
            call.caller.tenant().unwrap_or_default(),
            call.caller.subject(),
        );
        match self.confirm.decline(id, tenant, who, "said no").await {
            Ok(report) => Ok(report),
            Err(Refusal::Used { report, .. }) => Err(too_late(&report)),
            Err(refusal) => Err(refused(refusal)),
        }
    }
}

#[cfg(test)]
mod tests;
