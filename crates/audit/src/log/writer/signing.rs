//! Checkpoints: what is durable, signed.

use super::Writer;
use crate::{
    checkpoint::{self, Checkpoint},
    error::{AuditError, StorageError},
    log::load::write_tiles,
};

impl Writer {
    /// Writes the tiles and then the checkpoint that relies on them.
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint, AuditError> {
        let now = self.options.clock.now();
        self.retry().map_err(AuditError::Unavailable)?;
        if let Err(error) = self.sync() {
            self.fail(error.clone(), now);
            let _ = self.recover(now);
            return Err(AuditError::Storage(error));
        }
        self.checkpoint_tried = now;
        let result = self.write_checkpoint();
        let size = self.tree.size();
        self.checkpoint_failure = result.as_ref().err().cloned();
        let failure = result.as_ref().err().map(|error| match error {
            AuditError::Storage(error) => error.full(),
            other => other.to_string(),
        });
        if result.is_ok() {
            self.checkpointed = size;
        }
        let checkpointed = self.checkpointed;
        self.shared.update(|health| {
            health.checkpoint_failure = failure;
            health.checkpointed = checkpointed;
        });
        result
    }

    fn write_checkpoint(&mut self) -> Result<Checkpoint, AuditError> {
        write_tiles(&*self.storage, &mut self.tiles, true).map_err(AuditError::Storage)?;
        let (size, root) = (self.tree.size(), self.tree.root());
        let checkpoint = Checkpoint::sign(&self.options.signer, size, root)?;
        self.storage
            .replace(checkpoint::FILE, checkpoint.note.as_bytes())
            .map_err(|error| {
                AuditError::Storage(StorageError::new("write", checkpoint::FILE, error))
            })?;
        Ok(checkpoint)
    }
}
