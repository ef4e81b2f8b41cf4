//! Doing it once: a call with an idempotency key happens at most once for as long as the key is kept.
//!
//! What is promised, in full: an outcome is recorded once and replayed; an effect happens at most once. After a crash
//! between effect and record the outcome is unknown, and nothing repeats it until a person has settled it.
//!
//! Source: draft-ietf-httpapi-idempotency-key-header-07.

use std::time::Duration;

use fastmcp_guard::clock::Timestamp;

use crate::state::{
    StateError,
    ledger::{ATTEMPTS, Draft, Ledger},
    machine::{Event, Machine, Status},
    operation::{Binding, Created, IdempotencyKey, Note, OperationId, Report, Row, Stepped},
    ticket::Ticket,
};

#[cfg(test)]
mod tests;

/// What a call under a key is to do.
#[derive(Debug)]
pub enum Begin {
    /// Do it: nobody has.
    Run(Ticket),
    /// It was done: answer with its result.
    Replay(Box<Report>),
    /// It failed definitely, or consent was refused: answer with that. What failed without any effect runs again.
    Failed(Box<Report>),
    /// The key names a call with other arguments.
    Conflict {
        /// Which.
        operation_id: OperationId,
    },
    /// It is being done.
    InProgress {
        /// Which.
        operation_id: OperationId,
        /// When to ask again; 1 second to a minute.
        retry_after: Duration,
    },
    /// Nobody knows whether it was done; it is refused until settled.
    Unknown {
        /// Which.
        operation_id: OperationId,
    },
    /// It waits for consent, from a time when policy demanded that.
    AwaitsConfirmation {
        /// Which.
        operation_id: OperationId,
        /// Until when.
        expires_at: Timestamp,
    },
}

/// The room where calls happen once.
#[derive(Clone, Debug)]
pub struct Once {
    ledger: Ledger,
}

impl Once {
    /// The room over `ledger`. Keys are honoured for the state's retention (IDEMPOTENCY_TTL_SEC).
    #[must_use]
    pub const fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Begins the call `binding` under `key`, which counts within its tenant, subject and tool.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read or written; nothing may be done then.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have claimed the operation; the claim's lease gives it back.
    pub async fn begin(
        &self,
        binding: &Binding,
        key: &IdempotencyKey,
    ) -> Result<Begin, StateError> {
        for _ in 0..ATTEMPTS {
            let machine = Machine::claimed(
                self.ledger.owner(),
                self.ledger.claim_until(),
                self.ledger.retain_until(),
            );
            let draft = Draft {
                binding,
                machine: machine.clone(),
                arguments: None,
                token: None,
                key: Some(key),
                max_pending: None,
                attaches: false,
            };
            let created = match self.ledger.create(draft).await {
                // Who repeats a call is told what became of it also where nothing can be written any more.
                Err(error) => match self.ledger.keeper(binding, key).await {
                    Ok(Some(row)) => (row.id.clone(), Created::Existing(Box::new(row))),
                    Ok(None) | Err(_) => return Err(error),
                },
                Ok(created) => created,
            };
            let next = match created {
                (id, Created::New) => self.ticket(binding, &id, machine).map(Begin::Run),
                (_, Created::Existing(row)) => self.existing(*row, binding).await?,
                // Nothing waits for consent here, so nothing is limited.
                (_, Created::TooManyPending) => None,
            };
            if let Some(begin) = next {
                return Ok(begin);
            }
        }
        Err(StateError::Contended)
    }

    /// What to do about the operation that the key names; `None` when it gave way or a rival moved it.
    async fn existing(&self, row: Row, binding: &Binding) -> Result<Option<Begin>, StateError> {
        let row = self.ledger.fresh(row).await?;
        let operation_id = row.id.clone();
        if row.binding.args_digest != binding.args_digest {
            return Ok(Some(Begin::Conflict { operation_id }));
        }
        let expires_at = row.machine.expires_at;
        Ok(match row.machine.status() {
            Status::Reserved => Some(Begin::AwaitsConfirmation {
                operation_id,
                expires_at,
            }),
            Status::Confirmed if row.token_hash.is_some() => Some(Begin::AwaitsConfirmation {
                operation_id,
                expires_at,
            }),
            Status::Confirmed => self.again(&row, binding).await?.map(Begin::Run),
            Status::Claimed | Status::Intended => {
                let retry_after = self.ledger.report_of(row)?.retry_after(self.ledger.now());
                Some(Begin::InProgress {
                    operation_id,
                    retry_after,
                })
            }
            Status::Completed => Some(Begin::Replay(Box::new(self.ledger.report_of(row)?))),
            Status::Unknown => Some(Begin::Unknown { operation_id }),
            _ if !row.machine.keeps_key(self.ledger.now(), row.retain_until) => None,
            _ => Some(Begin::Failed(Box::new(self.ledger.report_of(row)?))),
        })
    }

    /// Claims what an earlier claim gave back without having acted.
    async fn again(&self, row: &Row, binding: &Binding) -> Result<Option<Ticket>, StateError> {
        let same_call = row.binding.definition_hash == binding.definition_hash
            && row.binding.obligations == binding.obligations
            && row.binding.same_caller(binding);
        let event = if same_call {
            Event::Claim {
                owner: self.ledger.owner(),
                until: self.ledger.claim_until(),
            }
        } else {
            // Nothing happened yet, so a new operation with today's bindings takes its place.
            Event::Cancel
        };
        let note = Note {
            policy_version: Some(binding.policy_version.clone()),
            ..Note::default()
        };
        match self
            .ledger
            .step(&binding.tenant, &row.id, event, note)
            .await?
        {
            Stepped::Moved(machine) => Ok(self.ticket(binding, &row.id, machine)),
            _ => Ok(None),
        }
    }

    fn ticket(&self, binding: &Binding, id: &OperationId, machine: Machine) -> Option<Ticket> {
        Ticket::of(&self.ledger, &binding.tenant, id, machine)
    }
}
