//! How records come into the log: none is lost for what it says beside who did what, and what came of it.

use fastmcp_audit::{Ack, AuditError, Draft, Object, Receipt};
use serde_json::json;

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

/// Members of details that say who did what, and the most bytes of each, and of what decided, that are kept in any case.
const KEPT: [&str; 2] = ["actors", "claim"];
const MOST_KEPT: usize = 4 * 1024;

/// A record without its details, which names those that it had. Who acted stays, so that nobody hides that behind a long claim.
fn bare(draft: &Draft) -> Draft {
    let policy_ids = first(&draft.policy_ids);
    let had = [
        ("details", draft.details.is_some()),
        ("policy_ids", policy_ids.len() < draft.policy_ids.len()),
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
        policy_ids: policy_ids.to_vec(),
        provider_call_meta: None,
        rate_limit: None,
        user_agent: None,
        ..draft.clone()
    }
}

/// The first of the policies, as many as are kept.
fn first(policy_ids: &[String]) -> &[String] {
    let mut bytes = 0;
    let kept = policy_ids.iter().take_while(|id| {
        bytes += json!(id).to_string().len() + 1;
        bytes <= MOST_KEPT
    });
    policy_ids.split_at(kept.take(256).count()).0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_audit::{Filter, Log, Options, Signer, Status, generate_key};
    use fastmcp_guard::clock::SystemClock;
    use tempfile::TempDir;

    use super::{super::Record, *};
    use crate::error::{Code, Error};

    fn audit(folder: &TempDir) -> Audit {
        let signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
        let log = Log::open(folder.path(), Options::new("gw-1", signer)).unwrap();
        Audit::new(log, b"salt", Arc::new(SystemClock))
    }

    /// The one call that is recorded, after the log is closed.
    fn only(folder: &TempDir, audit: &Audit) -> fastmcp_audit::Record {
        audit.close_log().unwrap();
        let records = fastmcp_audit::read(folder.path(), Filter::default()).unwrap();
        let mut kept: Vec<_> = records
            .map(Result::unwrap)
            .filter(|record| record.action == "tools.invoke")
            .collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept.remove(0)
    }

    #[tokio::test]
    async fn who_asks_for_what_cannot_be_recorded_is_told_why_and_the_refusal_is_recorded() {
        let mut details = Object::default();
        details.text("claim", "x");
        details.text("attributes", "x".repeat(70_000).as_str());
        let mut large = Draft::event("tools.invoke", Status::Failed);
        large.details = Some(details);
        let mut many = Draft::event("tools.invoke", Status::Failed);
        many.policy_ids = (0..300).map(|n| format!("rule-{n}")).collect();
        for (draft, field, why) in [
            (
                large,
                "details",
                "at most 65023 fit into a line; `attributes` is the longest",
            ),
            (many, "policy_ids", "has 300 entries, at most 256"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let audit = audit(&folder);
            let mut record = Record {
                draft: Box::new(draft),
                writes: true,
                intended: false,
            };
            let refused = audit.intend_change(&mut record).await.unwrap_err();
            assert_eq!(refused.code(), Code::ValidationError, "{refused}");
            assert!(refused.message().contains(why), "{refused}");
            assert_eq!(refused.details()["field"], field);
            audit.close(record, &Err(refused)).await;
            let kept = only(&folder, &audit);
            assert!(kept.reason.unwrap().contains(why));
            assert_eq!(kept.details.unwrap()["left_out"], json!([field]));
            assert!(audit.degraded().is_empty(), "{:?}", audit.degraded());
        }
    }

    #[tokio::test]
    async fn no_detail_costs_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(&folder);
        let mut draft = Draft::event("tools.invoke", Status::Failed);
        draft.sub = Some("al".to_owned());
        draft.request_hash = Some("hmac-sha256:00".to_owned());
        draft.user_agent = Some("curl".to_owned());
        let mut details = Object::default();
        details.text("large", "\u{1}".repeat(20_000).as_str());
        details.put("actors", &json!([{"sub": "agent-1"}]));
        draft.details = Some(details);
        let record = Record {
            draft: Box::new(draft),
            writes: false,
            intended: false,
        };
        let ended = Err(Error::invalid("the query is none"));
        audit.close(record, &ended).await;
        let kept = only(&folder, &audit);
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
