//! What a verifier accepts, and what it refuses and why.

use aws_lc_rs::hmac;
use fastmcp_guard::clock::ManualClock;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::keys::StaticKeys;
use crate::testing::{SigningKey, TokenBuilder};

/// The moment at which the tests' tokens are issued.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

struct Setup {
    key: SigningKey,
    clock: Arc<ManualClock>,
    config: JwtConfig,
}

impl Setup {
    fn new() -> Self {
        Self {
            key: SigningKey::ec("k1"),
            clock: Arc::new(ManualClock::new(NOW)),
            config: JwtConfig::new("https://idp.test", "fastmcp"),
        }
    }

    fn token(&self) -> TokenBuilder<'_> {
        self.key.token("agent-1", NOW)
    }

    fn verifier(&self) -> JwtVerifier {
        JwtVerifier::new(self.config.clone(), self.key.jwks(), self.clock.clone()).unwrap()
    }

    async fn verify(&self, token: &str) -> Result<Caller, VerifyError> {
        self.verifier().verify(token).await
    }

    async fn reason(&self, token: &str) -> &'static str {
        match self.verify(token).await {
            Ok(_) => "accepted",
            Err(refused) => refused.reason(),
        }
    }
}

#[tokio::test]
async fn a_good_token_becomes_a_caller() {
    let setup = Setup::new();
    let token = setup
        .token()
        .claim("tenant", "acme")
        .claim("roles", vec!["data-analyst"])
        .claim("scope", "database.read tools.invoke:write")
        .claim("azp", "cli")
        .claim("email", "ada@example.org")
        .sign();
    let caller = setup.verify(&token).await.unwrap();
    assert_eq!(caller.subject(), "agent-1");
    assert_eq!(caller.tenant(), Some("acme"));
    assert_eq!(caller.roles(), ["data-analyst"]);
    assert_eq!(
        caller.scopes().unwrap(),
        ["database.read", "tools.invoke:write"]
    );
    assert_eq!(caller.client_id(), Some("cli"));
    assert_eq!(caller.issuer(), Some("https://idp.test"));
    assert_eq!(caller.claims()["email"], "ada@example.org");
    let expires_at = NOW.saturating_add(Duration::from_secs(600));
    assert_eq!(caller.expires_at(), Some(expires_at));
    assert_eq!(
        caller.valid_until(),
        Some(expires_at.saturating_add(Duration::from_secs(300)))
    );
    let access = caller.token().unwrap();
    assert_eq!(
        (access.expose(), access.client_id()),
        (&*token, Some("cli"))
    );
    assert!(!format!("{caller:?}").contains(&token));
    assert_eq!(
        caller.principal().as_str(),
        r#"["token","https://idp.test","acme","agent-1"]"#
    );
}

#[tokio::test]
async fn every_required_claim_is_required() {
    let setup = Setup::new();
    for claim in ["iss", "aud", "exp", "sub"] {
        let absent = setup.token().without_claim(claim).sign();
        assert_eq!(setup.reason(&absent).await, "claim", "{claim}");
        for malformed in [json!(null), json!({}), json!(true), json!([1])] {
            let token = setup.token().claim(claim, malformed.clone()).sign();
            let reason = setup.reason(&token).await;
            assert!(
                ["claim", "malformed"].contains(&reason),
                "{claim} {malformed}: {reason}"
            );
        }
    }
}

#[tokio::test]
async fn issuer_and_audience_are_compared_exactly() {
    let setup = Setup::new();
    for issuer in [
        "https://idp.test/",
        "https://IDP.test",
        "https://idp.test.evil.example",
        "",
    ] {
        let token = setup.token().claim("iss", issuer).sign();
        assert_eq!(setup.reason(&token).await, "issuer", "{issuer}");
    }
    for (audience, reason) in [
        (json!("fastmcp"), "accepted"),
        (json!(["other", "fastmcp"]), "accepted"),
        (json!("other"), "audience"),
        (json!("fastmcp "), "audience"),
        (json!("FASTMCP"), "audience"),
        (json!([]), "audience"),
        (json!(["fastmcp", 1]), "claim"),
    ] {
        let token = setup.token().claim("aud", audience.clone()).sign();
        assert_eq!(setup.reason(&token).await, reason, "{audience}");
    }
}

#[tokio::test]
async fn times_are_exact_to_the_millisecond() {
    let mut setup = Setup::new();
    let seconds = NOW.unix_seconds();
    for leeway in [0, 300] {
        setup.config.leeway = Duration::from_secs(leeway);
        let token = setup
            .token()
            .claim("exp", seconds + 600)
            .claim("nbf", seconds)
            .claim("iat", seconds)
            .sign();
        let (first, last) = (seconds - leeway, seconds + 600 + leeway);
        for (now_ms, reason) in [
            (first * 1_000 - 1, "not_yet_valid"),
            (first * 1_000, "accepted"),
            (last * 1_000 - 1, "accepted"),
            (last * 1_000, "expired"),
        ] {
            setup.clock.set(Timestamp::from_unix_millis(now_ms));
            assert_eq!(
                setup.reason(&token).await,
                reason,
                "leeway {leeway}, {now_ms}"
            );
        }
        let future = setup.token().claim("exp", seconds + 9_000).sign();
        setup
            .clock
            .set(Timestamp::from_unix_millis(first * 1_000 - 1));
        assert_eq!(setup.reason(&future).await, "issued_in_future");
        setup.clock.set(Timestamp::from_unix_seconds(first));
        assert_eq!(setup.reason(&future).await, "accepted");
    }
}

#[tokio::test]
async fn times_of_other_kinds_are_refused() {
    let setup = Setup::new();
    for claim in ["exp", "nbf", "iat"] {
        for wrong in [
            json!("1700000600"),
            json!(-1),
            json!(1_700_000_600_000_u64),
            json!(null),
        ] {
            let token = setup.token().claim(claim, wrong.clone()).sign();
            assert_eq!(setup.reason(&token).await, "claim", "{claim} {wrong}");
        }
    }
    let fraction = setup.token().claim("exp", 1_700_000_600.5).sign();
    assert_eq!(setup.reason(&fraction).await, "accepted");
    let without = setup.token().without_claim("iat").sign();
    assert_eq!(setup.reason(&without).await, "accepted");
}

#[tokio::test]
async fn a_tenant_can_be_demanded() {
    let mut setup = Setup::new();
    assert_eq!(setup.reason(&setup.token().sign()).await, "accepted");
    setup.config.require_tenant = true;
    assert_eq!(setup.reason(&setup.token().sign()).await, "no_tenant");
    for (claim, value, reason) in [
        ("tenant", json!("acme"), "accepted"),
        ("tenant_id", json!("acme"), "accepted"),
        ("tenant", json!(""), "claim"),
        ("tenant", json!(["acme"]), "claim"),
        ("tenant", json!(null), "claim"),
    ] {
        let token = setup.token().claim(claim, value.clone()).sign();
        assert_eq!(setup.reason(&token).await, reason, "{claim} {value}");
    }
    let both = setup.token().claim("tenant", "a").claim("tenant_id", "b");
    assert_eq!(setup.reason(&both.sign()).await, "claim");
}

#[tokio::test]
async fn the_algorithm_is_the_servers_choice() {
    let setup = Setup::new();
    let claims = json!({
        "iss": "https://idp.test", "aud": "fastmcp", "sub": "root",
        "iat": NOW.unix_seconds(), "exp": NOW.unix_seconds() + 600,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());

    for none in ["none", "None", "NONE", "nOnE"] {
        let unsigned = format!(
            "{}.{}.",
            part(&json!({"alg": none, "kid": "k1"})),
            part(&claims)
        );
        assert_eq!(setup.reason(&unsigned).await, "algorithm", "{none}");
    }
    let stripped = format!(
        "{}.{}.",
        part(&json!({"alg": "ES256", "kid": "k1"})),
        part(&claims)
    );
    assert_eq!(setup.reason(&stripped).await, "signature");

    // The classic confusion: the public key, known to all, taken as the shared secret of an HMAC.
    let jwk = setup.key.jwk();
    let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let y = URL_SAFE_NO_PAD.decode(jwk["y"].as_str().unwrap()).unwrap();
    let point = [&[4], &*x, &*y].concat();
    for secret in [point, x, jwk.to_string().into_bytes()] {
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "HS256", "kid": "k1"})),
            part(&claims)
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let tag = hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(setup.reason(&token).await, "algorithm");
    }
    for other in ["RS256", "EdDSA", "PS256"] {
        let token = setup.token().header("alg", other).sign();
        assert_eq!(setup.reason(&token).await, "algorithm", "{other}");
    }
    let mut narrowed = Setup::new();
    narrowed.config.algorithms = vec![Algorithm::Rs256];
    let token = narrowed.token().sign();
    assert_eq!(narrowed.reason(&token).await, "algorithm");
}

#[tokio::test]
async fn every_kind_of_key_works() {
    let mut setup = Setup::new();
    for key in [SigningKey::rsa("k1"), SigningKey::ed25519("k1")] {
        setup.key = key;
        assert_eq!(setup.reason(&setup.token().sign()).await, "accepted");
    }
    let rsa = SigningKey::rsa("k1");
    let claims = json!({
        "iss": "https://idp.test", "aud": "fastmcp", "sub": "a", "exp": NOW.unix_seconds() + 600,
    });
    let header = json!({"alg": "PS256", "kid": "k1"});
    let pss = rsa.sign_as(Algorithm::Ps256, &header, &claims);
    setup.key = rsa;
    assert_eq!(setup.reason(&pss).await, "accepted");
}

#[tokio::test]
async fn a_token_does_not_bring_its_own_key() {
    let setup = Setup::new();
    let attacker = SigningKey::ec("k1");
    let forged = attacker.token("root", NOW);
    assert_eq!(setup.reason(&forged.sign()).await, "signature");
    let with_key = forged
        .header("jwk", attacker.jwk())
        .header("jku", "https://evil.example/jwks")
        .header("x5u", "https://evil.example/x5u");
    assert_eq!(setup.reason(&with_key.sign()).await, "signature");
}

#[tokio::test]
async fn keys_are_chosen_by_id_or_alone() {
    let setup = Setup::new();
    for (token, reason) in [
        (setup.token().without_header("kid"), "accepted"),
        (setup.token().header("kid", "k2"), "unknown_key"),
        (setup.token().header("kid", ""), "unknown_key"),
        (setup.token().header("kid", "k1\u{0}"), "unknown_key"),
    ] {
        assert_eq!(setup.reason(&token.sign()).await, reason);
    }
    let other = SigningKey::ec("k2");
    let set = json!({"keys": [setup.key.jwk(), other.jwk()]}).to_string();
    let set = crate::jwks::JwkSet::parse(set.as_bytes()).unwrap();
    let verifier = JwtVerifier::new(setup.config.clone(), set, setup.clock.clone()).unwrap();
    let anonymous = setup.token().without_header("kid").sign();
    let refused = verifier.verify(&anonymous).await.unwrap_err();
    assert_eq!(refused.reason(), "ambiguous_key");
    assert!(verifier.verify(&other.token("b", NOW).sign()).await.is_ok());
}

#[tokio::test]
async fn keys_rotate_under_a_running_verifier() {
    let setup = Setup::new();
    let next = SigningKey::ec("k2");
    let keys = Arc::new(StaticKeys::new(setup.key.jwks()));
    let source = Arc::clone(&keys);
    let verifier = JwtVerifier::new(setup.config.clone(), source, setup.clock.clone()).unwrap();
    let (old, new) = (setup.token().sign(), next.token("a", NOW).sign());
    assert!(verifier.verify(&old).await.is_ok());
    assert!(verifier.verify(&new).await.is_err());
    keys.reload(next.jwks());
    assert!(verifier.verify(&new).await.is_ok());
    let refused = verifier.verify(&old).await.unwrap_err();
    assert_eq!(refused.reason(), "unknown_key");
}

#[tokio::test]
async fn size_is_bounded() {
    let setup = Setup::new();
    let large = setup.token().claim("pad", "x".repeat(17_000)).sign();
    assert_eq!(setup.reason(&large).await, "too_long");
    let fits = setup.token().claim("pad", "x".repeat(10_000)).sign();
    assert_eq!(setup.reason(&fits).await, "accepted");
}

#[test]
fn configurations_are_checked() {
    let build = |change: fn(&mut JwtConfig)| {
        let mut setup = Setup::new();
        change(&mut setup.config);
        JwtVerifier::new(setup.config, setup.key.jwks(), setup.clock).map(|_| ())
    };
    assert_eq!(build(|_| {}), Ok(()));
    assert!(build(|c| c.issuers.clear()).is_err());
    assert!(build(|c| c.issuers.push(String::new())).is_err());
    assert!(build(|c| c.audiences.clear()).is_err());
    assert!(build(|c| c.algorithms.clear()).is_err());
    assert!(build(|c| c.leeway = Duration::from_secs(901)).is_err());
    assert!(build(|c| c.max_token_bytes = MAX_TOKEN_BYTES + 1).is_err());
    assert!(build(|c| c.required_scopes = vec!["a b".to_owned()]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_change_of_a_token_is_refused(at in 0_usize..10_000, to in "[A-Za-z0-9_.-]") {
        let setup = Setup::new();
        let token = setup.token().claim("tenant", "acme").sign();
        let at = at % token.len();
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assume!(changed != token);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(setup.verify(&changed)).is_err());
    }

    #[test]
    fn garbage_is_refused_without_a_panic(token in "\\PC{0,200}") {
        let setup = Setup::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(setup.verify(&token)).is_err());
    }
}
