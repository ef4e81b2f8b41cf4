//! What a record says of the way to a result: the limit, the credential, and what the result is about.

use std::collections::BTreeSet;

use fastmcp_audit::Object;
use fastmcp_guard::redact::{REDACTED, Redactor};

use super::{Audit, Record};
use crate::call::TokenMeta;

/// Which names of what is told of a credential are names of secrets: the same for every call, so it is asked once.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretNames {
    audience: bool,
    token_type: bool,
    expires_in: bool,
}

impl SecretNames {
    pub(super) fn of(redactor: &Redactor) -> Self {
        Self {
            audience: redactor.is_secret_name("audience"),
            token_type: redactor.is_secret_name("token_type"),
            expires_in: redactor.is_secret_name("expires_in"),
        }
    }
}

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
        let secret = audit.inner.secret_names;
        let mut meta = Object::default();
        let text = |meta: &mut Object, name, value: &str, is_secret: bool| {
            let is_secret = is_secret || Redactor::is_secret_text(value);
            meta.text(name, if is_secret { REDACTED } else { value });
        };
        if let Some(audience) = &told.audience {
            text(&mut meta, "audience", audience, secret.audience);
        }
        match told.expires_in {
            Some(_) if secret.expires_in => meta.text("expires_in", REDACTED),
            Some(expires_in) => meta.count("expires_in", expires_in),
            None => &mut meta,
        };
        if let Some(token_type) = &told.token_type {
            text(&mut meta, "token_type", token_type, secret.token_type);
        }
        self.draft.provider_call_meta = Some(meta);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_audit::{Draft, Log, Options, Signer, Status, generate_key};
    use fastmcp_guard::clock::SystemClock;
    use serde_json::{Value, json};

    use super::{
        super::{What, export::Exports},
        *,
    };

    /// What a record says of a credential.
    fn recorded(redactor: Redactor, told: Value) -> [Option<Value>; 3] {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
        let log = Log::open(folder.path(), Options::new("gw-1", signer)).unwrap();
        let what = What {
            redactor,
            ..What::default()
        };
        let audit = Audit::with(
            log,
            b"salt",
            Arc::new(SystemClock),
            Exports::default(),
            what,
        );
        let mut record = Record {
            draft: Box::new(Draft::event("tools.invoke", Status::Success)),
            writes: false,
            intended: false,
        };
        record.grant(&audit, &serde_json::from_value(told).unwrap());
        let meta = record.draft.provider_call_meta.unwrap();
        ["audience", "expires_in", "token_type"].map(|name| meta.get(name))
    }

    #[test]
    fn what_is_told_of_a_credential_is_recorded_without_what_is_secret_by_name_or_form() {
        let told = json!({"token_type": "Bearer", "expires_in": 240, "audience": "crm"});
        assert_eq!(
            recorded(Redactor::default(), told.clone()),
            [Some(json!("crm")), Some(json!(240)), Some(json!("Bearer"))]
        );
        let names = Redactor::default()
            .with_secret_name("audience")
            .and_then(|names| names.with_secret_name("in"));
        assert_eq!(
            recorded(names.unwrap(), told),
            [
                Some(json!(REDACTED)),
                Some(json!(REDACTED)),
                Some(json!("Bearer"))
            ]
        );
        let odd =
            json!({"audience": "BeArEr abcdefghijklmnopqrstuvwx", "kept": "by another version"});
        assert_eq!(
            recorded(Redactor::default(), odd),
            [Some(json!(REDACTED)), None, None]
        );
    }

    #[test]
    fn nothing_is_told_where_there_was_no_credential() {
        assert_eq!(json!(TokenMeta::default()), json!({}));
        assert_eq!(
            serde_json::from_value::<TokenMeta>(json!({})).unwrap(),
            TokenMeta::default()
        );
    }
}
