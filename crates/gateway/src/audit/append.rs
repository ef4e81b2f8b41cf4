//! How records come into the log: none is lost for what it says beside who did what, and what came of it.

use fastmcp_audit::{Ack, AuditError, Draft, Object, Receipt};

use super::Audit;

impl Audit {
    /// Hands a record to the log. One that the log does not take for its form is handed over without what has no bounds of
    /// its own, and says so.
    pub(super) fn hand_over(&self, draft: &Draft) -> Result<Ack<Receipt>, AuditError> {
        match self.inner.log.try_append(draft) {
            Err(error @ AuditError::Draft { .. }) => {
                tracing::warn!(%error, corr_id = draft.corr_id, action = draft.action, "record is kept without its details");
                self.inner.log.try_append(&bare(draft))
            }
            handed => handed,
        }
    }
}

/// Members of details that say who did what, and the most bytes of them that are kept in any case.
const KEPT: [&str; 2] = ["actors", "claim"];
const MOST_KEPT: usize = 4 * 1024;

/// A record without its details, which names those that it had. Who acted stays, so that nobody hides that behind a long claim.
fn bare(draft: &Draft) -> Draft {
    let had = [
        ("details", draft.details.is_some()),
        ("provider_call_meta", draft.provider_call_meta.is_some()),
        ("rate_limit", draft.rate_limit.is_some()),
        ("user_agent", draft.user_agent.is_some()),
    ];
    let had = had.into_iter().filter(|(_, had)| *had);
    let mut details = Object::default();
    details.texts("left_out", had.map(|(name, _)| name));
    for name in KEPT {
        let said = draft.details.as_ref().and_then(|details| details.get(name));
        if let Some(said) = said.filter(|said| said.to_string().len() <= MOST_KEPT) {
            details.put(name, &said);
        }
    }
    Draft {
        details: Some(details),
        provider_call_meta: None,
        rate_limit: None,
        user_agent: None,
        ..draft.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_audit::{Filter, Log, Options, Signer, Status, generate_key};
    use fastmcp_guard::clock::SystemClock;
    use serde_json::json;

    use super::{super::Record, *};
    use crate::error::Error;

    #[tokio::test]
    async fn no_detail_costs_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
        let log = Log::open(folder.path(), Options::new("gw-1", signer)).unwrap();
        let audit = Audit::new(log, b"salt", Arc::new(SystemClock));
        let mut draft = Draft::event("tools.invoke", Status::Failed);
        draft.sub = Some("al".to_owned());
        draft.request_hash = Some("hmac-sha256:00".to_owned());
        draft.user_agent = Some("curl".to_owned());
        let mut details = Object::default();
        details.text("large", "\u{1}".repeat(20_000).as_str());
        details.put("actors", &json!([{"sub": "agent-1"}]));
        draft.details = Some(details);
        let record = Record {
            draft,
            writes: false,
            intended: false,
        };
        let ended = Err(Error::invalid("the query is none"));
        audit.close(record, &ended).await;
        audit.close_log().unwrap();
        let records = fastmcp_audit::read(folder.path(), Filter::default()).unwrap();
        let kept: Vec<_> = records
            .map(Result::unwrap)
            .filter(|record| record.action == "tools.invoke")
            .collect();
        let [kept] = kept.as_slice() else {
            panic!("{kept:?}")
        };
        assert_eq!(
            (kept.sub.as_deref(), kept.reason.as_deref()),
            (Some("al"), Some("the query is none"))
        );
        assert!(kept.request_hash.is_some() && kept.user_agent.is_none());
        let left_out =
            json!({"actors": [{"sub": "agent-1"}], "left_out": ["details", "user_agent"]});
        assert_eq!(
            kept.details.as_ref().map(|details| json!(details)),
            Some(left_out)
        );
    }
}
