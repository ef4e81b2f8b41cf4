//! Under which name a call is done.

use super::{Consents, Hold, answer::away};
use crate::{error::Error, state::operation::OperationId};

impl Consents {
    /// The name by which a provider and the records know what is done under `hold`: that of its operation, or a new one.
    /// Callers choose neither, so that none passes for another's.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when no randomness can be had.
    pub fn name(&self, hold: &Hold) -> Result<OperationId, Error> {
        match hold.operation_id() {
            Some(id) => Ok(id.clone()),
            None => OperationId::generate(self.ledger.now(), self.ledger.random()).map_err(away),
        }
    }
}
