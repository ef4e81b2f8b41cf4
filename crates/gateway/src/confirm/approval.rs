//! What others than the caller say to an operation that waits: yes, no, never mind.

use super::{Confirm, Consent, Refusal};
use crate::state::{
    StateError,
    machine::{Event, Refused, Status},
    operation::{Note, OperationId, Report, Row, Stepped},
};

/// A person's consent.
#[derive(Clone, Copy, Debug)]
pub struct Approval<'a> {
    /// The person's tenant.
    pub tenant: &'a str,
    /// The person; at most 1,024 bytes.
    pub approver: &'a str,
    /// How strong a consent policy demands.
    pub consent: Consent,
}

impl Confirm {
    /// Records a person's consent. Who may give it is for policy to say before this is called.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`] for an operation of another tenant; [`Refusal::SelfApproval`], also of who acts for the caller;
    /// [`Refusal::Expired`];
    /// [`Refusal::Used`] when it does not wait for consent any more.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have recorded it.
    pub async fn approve(
        &self,
        operation_id: &OperationId,
        approval: &Approval<'_>,
    ) -> Result<Report, Refusal> {
        let row = self
            .of_tenant(operation_id, approval.tenant, approval.approver)
            .await?;
        if approval.consent == Consent::OtherPerson && row.binding.is_asked_by(approval.approver) {
            return Err(Refusal::SelfApproval);
        }
        let note = Note {
            confirmed_by: Some(approval.approver.to_owned()),
            ..Note::default()
        };
        self.answer(row, Event::Confirm, note).await
    }

    /// Records that consent is refused, by `who`, with a `reason`. Who may refuse is for policy to say.
    ///
    /// # Errors
    ///
    /// As [`Confirm::approve`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have recorded it.
    pub async fn decline(
        &self,
        operation_id: &OperationId,
        tenant: &str,
        who: &str,
        reason: &str,
    ) -> Result<Report, Refusal> {
        let row = self.of_tenant(operation_id, tenant, who).await?;
        let note = self
            .ledger
            .detail(&row.id, &format!("declined by {who}: {reason}"))?;
        let note = Note {
            retain_until: Some(self.ledger.retain_until()),
            ..note
        };
        self.answer(row, Event::Decline, note).await
    }

    /// Withdraws an operation that has not acted: a claim that holds it finds itself lost.
    ///
    /// # Errors
    ///
    /// As [`Confirm::approve`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have withdrawn it.
    pub async fn cancel(
        &self,
        operation_id: &OperationId,
        tenant: &str,
        reason: &str,
    ) -> Result<Report, Refusal> {
        let row = self.of_tenant(operation_id, tenant, "").await?;
        let note = self.ledger.detail(&row.id, reason)?;
        self.answer(row, Event::Cancel, note).await
    }

    async fn of_tenant(&self, id: &OperationId, tenant: &str, who: &str) -> Result<Row, Refusal> {
        if who.len() > 1_024 {
            return Err(StateError::TooLarge {
                field: "approver",
                limit: 1_024,
            }
            .into());
        }
        let row = self
            .ledger
            .row(id)
            .await?
            .filter(|row| row.binding.tenant == tenant);
        Ok(self.ledger.fresh(row.ok_or(Refusal::Unknown)?).await?)
    }

    async fn answer(&self, row: Row, event: Event, note: Note) -> Result<Report, Refusal> {
        let stepped = self
            .ledger
            .step(&row.binding.tenant, &row.id, event, note)
            .await?;
        let row = self.ledger.row(&row.id).await?.ok_or(Refusal::Unknown)?;
        match stepped {
            Stepped::Moved(_) => Ok(self.ledger.report_of(row)?),
            Stepped::Refused(Refused::Expired | Refused::Status(Status::Expired)) => {
                Err(Refusal::Expired {
                    operation_id: row.id,
                })
            }
            _ => Err(self.used(row, None).await?),
        }
    }
}
