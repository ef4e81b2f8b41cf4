//! How the record is: whether it is whole, and what does not go as it should.

use std::{collections::BTreeMap, sync::PoisonError};

use fastmcp_audit::Health;
use serde_json::{Map, Value};

use super::Audit;

impl Audit {
    /// How the log is. Lost are, beside what the log lost, the records that it did not take and that could not be kept.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = self.inner.log.health();
        health.lost += self.inner.late.dropped();
        health
    }

    /// Notes how something went that goes on beside the calls.
    pub fn note_trouble(&self, what: &'static str, trouble: Option<String>) {
        let mut troubles = self
            .inner
            .troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => troubles.insert(what, trouble),
            None => troubles.remove(what),
        };
    }

    /// What does not go as it should although calls are served, by name, with the reason.
    #[must_use]
    pub fn degraded(&self) -> BTreeMap<String, String> {
        let troubles = self
            .inner
            .troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let named = troubles
            .iter()
            .map(|(what, why)| (format!("audit.{what}"), why.clone()));
        let Health {
            lost,
            checkpoint_failure,
            ..
        } = self.health();
        let lost = (lost > 0).then(|| format!("{lost} records were lost"));
        let own = [
            ("lost", lost),
            ("late", self.inner.late.told()),
            ("checkpoint", checkpoint_failure),
        ];
        let own = own
            .into_iter()
            .filter_map(|(what, why)| Some((format!("audit.{what}"), why?)));
        named
            .chain(own)
            .chain(self.inner.exports.degraded())
            .collect()
    }

    /// How the sinks are, by name.
    #[must_use]
    pub fn exports(&self) -> Map<String, Value> {
        self.inner.exports.health()
    }
}
