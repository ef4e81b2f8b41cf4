//! `token mint`: the token alone, and one that the published keys verify.

use std::{fs, sync::Arc, time::Duration};

use fastmcp_auth::{Caller, JwkSet, JwtConfig, JwtVerifier, TokenVerifier as _};
use fastmcp_guard::clock::{Clock as _, SystemClock};

use crate::support::Home;

async fn caller(home: &Home, token: &str) -> Caller {
    let published = fs::read(home.data().join("keys/jwks.json")).unwrap();
    let keys = JwkSet::parse(&published).unwrap();
    let config = JwtConfig::new("https://idp.local", "fastmcp");
    let verifier = JwtVerifier::new(config, keys, Arc::new(SystemClock)).unwrap();
    verifier.verify(token).await.unwrap()
}

fn remaining(caller: &Caller) -> Duration {
    caller.expires_at().unwrap().since(SystemClock.now())
}

#[tokio::test]
async fn the_token_stands_alone_and_says_what_was_asked_for() {
    let home = Home::new();
    let full = [
        "--tenant",
        "acme",
        "--role",
        "data-analyst",
        "--role",
        "finance-write",
        "--scope",
        "ads.write",
        "--ttl",
        "1h",
    ];
    let token = home.mint("agent-1", &full).await;
    let caller_of = caller(&home, &token).await;
    assert_eq!(
        (caller_of.subject(), caller_of.tenant()),
        ("agent-1", Some("acme"))
    );
    assert_eq!(caller_of.roles(), ["data-analyst", "finance-write"]);
    assert_eq!(caller_of.scopes().unwrap(), ["ads.write"]);
    assert!((3_500..=3_600).contains(&remaining(&caller_of).as_secs()));

    let plain = caller(&home, &home.mint("agent-2", &[]).await).await;
    assert_eq!(plain.tenant(), Some("public"));
    assert!(plain.roles().is_empty() && plain.scopes().is_none());
    assert!(
        (500..=600).contains(&remaining(&plain).as_secs()),
        "JWT_TTL_MIN is 10"
    );
}

#[tokio::test]
async fn settings_of_the_gateway_hold_for_its_tokens() {
    let home = Home::new();
    let vars = [
        ("JWT_ISSUER", "https://other.example"),
        ("JWT_AUDIENCE", "other"),
    ];
    let output = home.run(&["token", "mint", "--sub", "a"], &vars).await;
    let token = String::from_utf8(output.stdout).unwrap();
    let keys = JwkSet::parse(&fs::read(home.data().join("keys/jwks.json")).unwrap()).unwrap();
    let config = JwtConfig::new("https://other.example", "other");
    let verifier = JwtVerifier::new(config, keys, Arc::new(SystemClock)).unwrap();
    assert_eq!(verifier.verify(token.trim()).await.unwrap().subject(), "a");
}

#[tokio::test]
async fn where_tokens_come_from_elsewhere_none_is_minted() {
    let home = Home::new();
    let vars = [
        ("JWT_JWKS_URL", "https://idp.example.com/jwks.json"),
        ("JWT_ISSUER", "https://idp.example.com"),
    ];
    let output = home.run(&["token", "mint", "--sub", "a"], &vars).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("tokens for this gateway come from `https://idp.example.com`"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.mint("a", &[]).await;
    let key = home.data().join("keys/dev-private.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = home.run(&["token", "mint", "--sub", "a"], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("dev-private.pem` is open to others (mode 0644); run `chmod 600"),
        "{said}"
    );
}
