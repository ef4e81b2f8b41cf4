//! What a record says of the way to a result: the limit, the credential, and what the result is about.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Audit, Record};

impl Record {
    /// Names the labels that whoever is given the result carries from here on.
    pub fn labels(&mut self, labels: &BTreeSet<String>) {
        let details = self.draft.details.get_or_insert_default();
        details.texts("result_labels", labels.iter().map(String::as_str));
    }

    /// Names the limit: how the call stands with the nearest, or which one refused it.
    pub fn rate_limit(&mut self, standing: &Map<String, Value>) {
        self.draft.rate_limit = (!standing.is_empty()).then(|| standing.clone());
    }

    /// Names the credential by what callers are `told` of it: never its value.
    pub fn grant(&mut self, audit: &Audit, told: &Map<String, Value>) {
        self.draft.provider_call_meta = Some(audit.redacted(told.clone()));
    }
}
