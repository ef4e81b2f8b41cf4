//! What a record says of the way to a result: the limit, the credential, and what the result is about.

use std::collections::BTreeSet;

use fastmcp_audit::Object;

use super::{Audit, Record};
use crate::call::TokenMeta;

impl Record {
    /// Names the labels that whoever is given the result carries from here on.
    pub fn labels(&mut self, labels: &BTreeSet<String>) {
        let details = self.draft.details.get_or_insert_default();
        details.texts("result_labels", labels.iter().map(String::as_str));
    }

    /// Names the limit: how the call stands with the nearest, or which one refused it.
    pub fn rate_limit(&mut self, standing: Object) {
        self.draft.rate_limit = (!standing.is_empty()).then_some(standing);
    }

    /// Names the credential by what callers are `told` of it: never its value.
    pub fn grant(&mut self, audit: &Audit, told: &TokenMeta) {
        let mut meta = Object::default();
        if let Some(audience) = &told.audience {
            meta.text("audience", &*audit.plain(audience));
        }
        if let Some(expires_in) = told.expires_in {
            meta.count("expires_in", expires_in);
        }
        if let Some(token_type) = &told.token_type {
            meta.text("token_type", &*audit.plain(token_type));
        }
        self.draft.provider_call_meta = Some(meta);
    }
}
