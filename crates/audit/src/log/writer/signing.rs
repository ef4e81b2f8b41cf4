//! Checkpoints: what is durable, signed. The notary does it; the writer says when.

use jiff::Timestamp;

use super::{Mode, Writer, elapsed};
use crate::{ack::Completer, checkpoint::Checkpoint, error::AuditError};

impl Writer {
    /// Has all records that were written signed, and waits for it.
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint, AuditError> {
        self.before_signing()?;
        self.notary.sign()
    }

    /// Has all records that were written signed.
    pub(super) fn ask(&mut self, answer: Completer<Checkpoint>) {
        match self.before_signing() {
            Ok(()) => self.notary.ask(answer),
            Err(error) => answer.complete(Err(error)),
        }
    }

    /// Makes durable what was written: nothing else is signed.
    fn before_signing(&mut self) -> Result<(), AuditError> {
        let now = self.options.clock.now();
        self.retry().map_err(AuditError::Unavailable)?;
        if let Err(error) = self.sync() {
            self.fail(error.clone(), now);
            let _ = self.recover(now);
            return Err(AuditError::Storage(error));
        }
        self.checkpoint_tried = now;
        Ok(())
    }

    /// Has what is durable signed if that is due. A failure is kept in the state of health, and tried again when it is
    /// due again.
    pub(super) fn sign_if_due(&mut self, now: Timestamp) {
        let standing = self.notary.standing();
        let unsigned = self.durable.next.saturating_sub(standing.signed);
        let many = unsigned >= self.options.checkpoint_records && standing.failure.is_none();
        let due = many || elapsed(self.checkpoint_tried, now, self.options.checkpoint_interval);
        if standing.busy || !due || (unsigned == 0 && standing.failure.is_none()) {
            return;
        }
        if self.options.mode == Mode::Buffered && self.before_signing().is_err() {
            return;
        }
        self.checkpoint_tried = now;
        self.notary.due();
    }
}
