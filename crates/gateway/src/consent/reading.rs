//! What the caller of an operation had read when it asked for it, and of what it asked.

use std::collections::BTreeSet;

use super::{Consents, Hold, answer::away};
use crate::{
    call::{Call, Presented},
    confirm::token,
    error::Error,
    state::operation::{Binding, OperationId},
};

impl Consents {
    /// What the caller had read when it asked for the operation that `call` presents.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn labels(&self, call: &Call) -> Result<BTreeSet<String>, Error> {
        let row = match &call.presented {
            Presented::Nothing => None,
            Presented::Operation(id, _) => self.ledger.row(id).await.map_err(away)?,
            Presented::Token(token) => match token::hash(token) {
                Some(hash) => self.ledger.row_of_token(hash).await.map_err(away)?,
                None => None,
            },
        };
        // What is another caller's is refused when it is redeemed, and says nothing here.
        let own = row.filter(|row| {
            row.binding.subject == call.caller.subject()
                && Some(row.binding.tenant.as_str()) == call.caller.tenant()
        });
        Ok(own.map_or_else(BTreeSet::new, |row| row.binding.labels()))
    }

    /// What the caller had read when it asked for what `hold` holds.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn labels_of(&self, hold: &Hold) -> Result<BTreeSet<String>, Error> {
        let Some(id) = hold.operation_id() else {
            return Ok(BTreeSet::new());
        };
        let row = self.ledger.row(id).await.map_err(away)?;
        Ok(row.map_or_else(BTreeSet::new, |row| row.binding.labels()))
    }

    /// What an operation is bound to, while it is kept.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn binding_of(&self, id: &OperationId) -> Result<Option<Binding>, Error> {
        let row = self.ledger.row(id).await.map_err(away)?;
        Ok(row.map(|row| row.binding))
    }
}
