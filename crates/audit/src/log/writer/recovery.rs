//! After a failed write: the file is given up, and a new one begins with a record that says so.

use std::io;

use jiff::Timestamp;

use super::{Failure, Mode, Writer, elapsed};
use crate::{
    error::StorageError,
    log::load::MAX_VOIDS,
    record::RECOVERED,
    segment::{Name, Void},
};

impl Writer {
    /// Gives the file up, for good.
    pub(super) fn fail(&mut self, error: StorageError, now: Timestamp) {
        if let Some(open) = self.open.take() {
            if open.durable == 0 {
                self.leftover = Some(open.name);
            } else {
                self.voids.push(Void {
                    segment: open.name.to_string(),
                    valid_bytes: open.durable,
                });
            }
        }
        // In strict mode whoever waits is told; in a second failure nobody's records are pending.
        let lost = match (self.options.mode, &self.failure) {
            (Mode::Buffered, None) => self.pending,
            _ => 0,
        };
        self.pending = 0;
        self.untold.clear();
        self.cursor = self.durable;
        let text = error.full();
        self.failure = Some(Failure { error, tried: now });
        self.shared.update(|health| {
            health.ready = false;
            health.failure = Some(text);
            health.failures += 1;
            health.lost += lost;
        });
    }

    /// Recovers from a failure, if there was one and the last try is long enough ago.
    pub(super) fn retry(&mut self) -> Result<(), StorageError> {
        let Some(failure) = &self.failure else {
            return Ok(());
        };
        let now = self.options.clock.now();
        if !elapsed(failure.tried, now, self.options.retry_interval) {
            return Err(failure.error.clone());
        }
        self.recover(now)
    }

    /// Opens a new file whose first record says what happened.
    pub(super) fn recover(&mut self, now: Timestamp) -> Result<(), StorageError> {
        let cause = self.failure.as_ref().map(|failure| failure.error.full());
        let recovered = self
            .clear_leftover()
            .and_then(|()| self.note_event(now, RECOVERED, cause));
        match recovered {
            Ok(()) => {
                self.failure = None;
                self.speak_of_voids();
                self.shared.update(|health| {
                    health.ready = true;
                    health.failure = None;
                    health.recoveries += 1;
                });
                Ok(())
            }
            Err(error) => {
                self.fail(error.clone(), now);
                Err(error)
            }
        }
    }

    /// Forgets what a record says by now; its names are taken for good.
    pub(super) fn speak_of_voids(&mut self) {
        let voids = self.voids.drain(..);
        self.spoken_of
            .extend(voids.filter_map(|void| Name::strict(&void.segment)));
    }

    /// Removes a file that holds nothing durable, or has it declared void.
    pub(super) fn clear_leftover(&mut self) -> Result<(), StorageError> {
        let Some(leftover) = self.leftover else {
            return Ok(());
        };
        if !self.names()?.contains(&leftover) {
            self.leftover = None;
            return Ok(());
        }
        let name = leftover.to_string();
        match self.storage.remove(&name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if self.voids.len() < MAX_VOIDS => self.voids.push(Void {
                segment: name,
                valid_bytes: 0,
            }),
            Err(error) => return Err(StorageError::new("remove", &name, error)),
        }
        self.leftover = None;
        Ok(())
    }
}
