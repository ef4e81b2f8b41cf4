//! Whether calls can be served, and who can be let in to make them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Rest, reply};

/// Who can be let in, as it is by now.
pub trait Admission: fmt::Debug + Send + Sync {
    /// The issuers whose tokens are believed, each with the reason why its tokens cannot be checked now, if they cannot.
    fn issuers(&self) -> Vec<(String, Option<String>)>;

    /// Whether anybody can be let in without them: with an API key, or a token of development keys.
    fn does_without(&self) -> bool;
}

/// Says whether calls can be served, and what is in the way.
#[utoipa::path(get, path = "/ready", tag = "operation", responses((status = 200, description = "Ready"), (status = 503, description = "Not ready, with the reasons")))]
pub(super) async fn ready(State(rest): State<Arc<Rest>>) -> Response {
    let audit = rest.pipeline.audit.health();
    let state = rest.state.ready().await;
    let mut providers = Map::new();
    for adapter in rest.pipeline.catalog.adapters().iter() {
        let ready = adapter.ready().await;
        providers.insert(
            adapter.provider_id().to_owned(),
            json!({"ready": ready.is_ok(), "reason": ready.err()}),
        );
    }
    let limits = rest.pipeline.limit.health();
    let mut degraded = rest.pipeline.audit.degraded();
    if let Some(told) = rest.state.ledger().missing_told() {
        degraded.insert("seal_keys".to_owned(), told);
    }
    let (issuers, admits) = admission(&*rest.admission, &mut degraded);
    let ready = audit.ready && state.is_ok() && limits.as_ref().is_none_or(|l| l.ready) && admits;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({
        "ready": ready,
        "degraded": degraded,
        "dependencies": {
            "audit": {"ready": audit.ready, "reason": audit.failure, "size": audit.size, "checkpointed": audit.checkpointed, "lost": audit.lost,
                "exports": rest.pipeline.audit.exports()},
            "state": {"ready": state.is_ok(), "reason": state.err().map(|e| e.to_string())},
            "policy": {"ready": true, "version": rest.pipeline.policy.current().version().to_string()},
            "providers": providers,
            "issuers": issuers,
        },
    });
    let dependencies = body.get_mut("dependencies").and_then(|d| d.as_object_mut());
    if let (Some(limits), Some(dependencies)) = (limits, dependencies) {
        let redis =
            json!({"ready": limits.ready, "degraded": limits.degraded, "reason": limits.reason});
        dependencies.insert("redis".to_owned(), redis);
    }
    reply::json(status, &body)
}

/// How the issuers are, and whether anybody can be let in at all. One that is away keeps only its own callers out.
fn admission(
    admission: &dyn Admission,
    degraded: &mut BTreeMap<String, String>,
) -> (Map<String, Value>, bool) {
    let issuers = admission.issuers();
    let admits = admission.does_without() || issuers.iter().any(|(_, away)| away.is_none());
    if !admits {
        let why = "nobody can be let in: no issuer has keys, and there are no API keys";
        degraded.insert("callers".to_owned(), why.to_owned());
    }
    let mut told = Map::new();
    for (issuer, away) in issuers {
        let health = json!({"ready": away.is_none(), "reason": away});
        if let Some(why) = away {
            degraded.insert(format!("issuers.{issuer}"), why);
        }
        told.insert(issuer, health);
    }
    (told, admits)
}
