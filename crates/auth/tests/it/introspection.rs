//! Opaque tokens, explained by an authorization server over a real socket.

use std::sync::Arc;

use fastmcp_auth::verifier::LookupConfig;
use fastmcp_auth::{
    Caller, Introspection, IntrospectionConfig, LookupVerifier, TokenVerifier as _, VerifyError,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::host::{Answer, Host};

/// Verifies the token `opaque+1` at a server that says `answer`.
async fn verify(
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> (Host, Result<Caller, VerifyError>) {
    let (listener, url) = Host::bind().await;
    let host = Host::serve(
        listener,
        Box::new(move |_| {
            let answer = answer();
            Box::pin(async move { answer })
        }),
    );
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let url = format!("{url}/introspect");
    let mut config =
        IntrospectionConfig::new(url, "gate:way", "s3cret".to_owned().into(), "https://tools");
    config.issuer = Some("https://idp".to_owned());
    let tokens = Introspection::new(config, clock.clone()).unwrap();
    assert!(!format!("{tokens:?}").contains("s3cret"));
    let config = LookupConfig {
        issuer: Some("https://idp".to_owned()),
        require_tenant: true,
        ..LookupConfig::default()
    };
    let verifier = LookupVerifier::new(tokens, config, clock);
    let verified = verifier.verify("opaque+1").await;
    (host, verified)
}

fn good() -> Value {
    json!({
        "active": true, "iss": "https://idp", "aud": ["https://other", "https://tools"], "sub": "ada",
        "client_id": "cli", "scope": "read write", "tenant": "acme", "roles": ["analyst"], "exp": 2_000, "nbf": 900,
        "token_type": "Bearer",
    })
}

async fn reason(change: Value) -> &'static str {
    let mut said = good();
    for (name, value) in change.as_object().unwrap() {
        said[name] = value.clone();
    }
    let (_host, verified) = verify(move || Answer::json(200, &said)).await;
    verified.unwrap_err().reason()
}

#[tokio::test]
async fn an_active_token_becomes_a_caller() {
    let (host, verified) = verify(|| Answer::json(200, &good())).await;
    let caller = verified.unwrap();
    assert_eq!((caller.subject(), caller.tenant()), ("ada", Some("acme")));
    assert_eq!(
        (caller.issuer(), caller.client_id()),
        (Some("https://idp"), Some("cli"))
    );
    assert_eq!(caller.roles(), ["analyst"]);
    assert!(caller.has_scope("read") && caller.has_scope("write"));
    let asked = &host.asked("/introspect")[0];
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.form()["token"], "opaque+1");
    // `gate%3Away:s3cret`: both parts are form-encoded first.
    assert_eq!(
        asked.header("authorization").unwrap(),
        "Basic Z2F0ZSUzQXdheTpzM2NyZXQ="
    );
}

#[tokio::test]
async fn whatever_is_not_meant_for_this_server_now_is_refused() {
    for (change, expected) in [
        (json!({"active": false}), "unknown_token"),
        (json!({"active": "true"}), "unavailable"),
        (json!({"active": null}), "unavailable"),
        (json!({"iss": "https://evil"}), "issuer"),
        (json!({"aud": "https://other"}), "audience"),
        (json!({"aud": null}), "claim"),
        (json!({"exp": 1_000}), "expired"),
        (json!({"nbf": 1_001}), "not_yet_valid"),
        (json!({"tenant": null}), "claim"),
        (json!({"tenant": "a", "tenant_id": "b"}), "claim"),
        (json!({"token_type": "DPoP"}), "type"),
        (json!({"cnf": {"jkt": "x"}}), "malformed"),
    ] {
        assert_eq!(reason(change.clone()).await, expected, "{change}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_no_verdict() {
    for status in [401, 404, 500] {
        let (_host, verified) = verify(move || Answer::error(status, "invalid_client")).await;
        assert!(verified.unwrap_err().is_unavailable(), "{status}");
    }
    let (_host, verified) = verify(|| Answer::redirect("http://127.0.0.1:1/")).await;
    assert!(verified.unwrap_err().is_unavailable());
}

#[test]
fn settings_are_checked() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(0)));
    let refused = |change: fn(&mut IntrospectionConfig)| {
        let mut config =
            IntrospectionConfig::new("https://idp/i", "me", "s".to_owned().into(), "a");
        change(&mut config);
        Introspection::new(config, clock.clone())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(|c| c.url = "http://idp/i".to_owned()).contains("https://"));
    assert!(refused(|c| c.client_id = String::new()).contains("client_id"));
    assert!(refused(|c| c.audiences.clear()).contains("audiences"));
    assert!(refused(|c| c.timeout = std::time::Duration::ZERO).contains("timeout"));
}
