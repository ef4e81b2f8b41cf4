//! What a person has found out about an operation.

use super::{
    super::{
        StateError,
        machine::{Event, Refused, Settlement, State},
        operation::{Note, OperationId, Report, Stepped},
    },
    Ledger,
};

/// An operation was not settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSettled {
    /// There is none of this name.
    #[error("there is no operation `{0}`")]
    Missing(OperationId),
    /// Only what is unknown can be settled.
    #[error("operation `{operation_id}` cannot be settled")]
    Refused {
        /// Which.
        operation_id: OperationId,
        /// Why.
        #[source]
        source: Refused,
    },
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Ledger {
    /// Settles what is unknown, after a person has found out. `note` says how.
    ///
    /// # Errors
    ///
    /// [`NotSettled`] unless the operation was unknown.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have settled it.
    pub async fn settle(
        &self,
        id: &OperationId,
        settlement: Settlement,
        note: &str,
    ) -> Result<Report, NotSettled> {
        let missing = || NotSettled::Missing(id.clone());
        let row = self.row(id).await?.ok_or_else(missing)?;
        if matches!(row.machine.state, State::Intended(_)) {
            // Where no gateway runs, nothing else has looked whether its time is over.
            let _due_or_not = self
                .step(&row.binding.tenant, id, Event::Recover, Note::default())
                .await?;
        }
        let detail = Note {
            retain_until: Some(self.retain_until()),
            ..self.detail(id, note)?
        };
        match self
            .step(&row.binding.tenant, id, Event::Settle(settlement), detail)
            .await?
        {
            Stepped::Moved(_) | Stepped::Held => {
                let row = self.row(id).await?.ok_or_else(missing)?;
                Ok(self.report_of(row)?)
            }
            Stepped::Refused(source) => Err(NotSettled::Refused {
                operation_id: id.clone(),
                source,
            }),
            Stepped::KeyTaken(_) | Stepped::Missing => Err(missing()),
        }
    }
}
