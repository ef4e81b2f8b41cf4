//! Tokens without a person.

use std::sync::Arc;

use fastmcp_auth::Algorithm;
use fastmcp_auth::oauth::{
    AssertionKey, AssertionSource, Enterprise, Grant, IdentityProvider, OAuthClient, OAuthError,
    RegisteredClient,
};
use fastmcp_auth::testing::SigningKey;
use secrecy::SecretString;
use serde_json::json;

use crate::authorization_server::Rules;
use crate::host::{Answer, Asked, Host};
use crate::resource;
use crate::world::World;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn statement(text: &str) -> Arc<dyn AssertionSource> {
    Arc::new(SecretString::from(text))
}

#[tokio::test]
async fn a_client_asks_for_itself_with_a_secret_or_a_key() {
    let key = SigningKey::ed25519("k1");
    for (method, registered) in [
        (
            "client_secret_basic",
            RegisteredClient::of_any_issuer("svc").with_secret("s:%é".into()),
        ),
        (
            "client_secret_post",
            RegisteredClient::of_any_issuer("svc").with_secret("s:%é".into()),
        ),
        (
            "private_key_jwt",
            RegisteredClient::of_any_issuer("svc").with_key(Arc::new(
                AssertionKey::from_pem(&key.private_pem(), Algorithm::EdDsa).unwrap(),
            )),
        ),
    ] {
        let server = Rules {
            method,
            refresh_tokens: false,
            keys: Some(key.jwk()),
            metadata: json!({"authorization_endpoint": null, "code_challenge_methods_supported": null}),
            ..Rules::default()
        };
        let rules = resource::Rules {
            scope: Some("a"),
            needs: vec![("tools/call", "b")],
            ..resource::Rules::default()
        };
        let world = World::start(server, rules).await;
        world.server.know("svc", Some("s:%é"));
        let mut config = world.config(Grant::Client);
        config.registered = vec![registered];
        let client = OAuthClient::new(config).unwrap();
        assert_eq!(
            world.ask(&client, "tools/list").await.unwrap(),
            200,
            "{method}"
        );
        let form = world.server.host.asked("/token")[0].form();
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["resource"], world.resource.url);
        assert_eq!(form["scope"], "a");
        // A step up, and a renewal without a refusal.
        assert_eq!(world.ask(&client, "tools/call").await.unwrap(), 200);
        assert_eq!(world.server.host.asked("/token")[1].form()["scope"], "a b");
        world.pass(3_590);
        let refusals = world.resource.host.asked("/mcp").len();
        assert_eq!(world.ask(&client, "tools/call").await.unwrap(), 200);
        assert_eq!(world.resource.host.asked("/mcp").len(), refusals + 1);
        assert_eq!(world.server.grants(), ["client_credentials"; 3]);
    }
}

#[test]
fn a_client_that_asks_for_itself_must_be_known() {
    let config = fastmcp_auth::oauth::OAuthConfig::new("https://h/mcp", Grant::Client);
    let error = OAuthClient::new(config).unwrap_err();
    assert!(error.to_string().contains("`registered`"), "{error}");
}

#[tokio::test]
async fn a_workload_hands_in_its_statement_and_gives_up_when_refused() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let config = world.config(Grant::Workload(statement("platform-jwt")));
    let client = OAuthClient::new(config.clone()).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    let form = world.server.host.asked("/token")[0].form();
    assert_eq!(form["grant_type"], JWT_BEARER);
    assert_eq!(form["assertion"], "platform-jwt");
    assert_eq!(form["resource"], world.resource.url);

    for code in ["invalid_grant", "invalid_scope", "unauthorized_client"] {
        let world = World::start(
            Rules {
                token_error: Some(code),
                ..Rules::default()
            },
            resource::Rules::default(),
        )
        .await;
        let client =
            OAuthClient::new(world.config(Grant::Workload(statement("platform-jwt")))).unwrap();
        let error = world.ask(&client, "tools/list").await.unwrap_err();
        assert!(error.is_token_error(code), "{error}");
        assert!(!error.to_string().contains("platform-jwt"));
        assert_eq!(
            world.server.grants(),
            [JWT_BEARER],
            "neither again nor otherwise"
        );
        assert_eq!(world.authorizations(), 0);
    }
}

/// An identity provider that exchanges every ID token but a wrong one.
fn identity_provider(issuer: &str, asked: &Asked) -> Answer {
    if asked.path == "/.well-known/openid-configuration" {
        let endpoint = format!("{issuer}/exchange");
        return Answer::json(200, &json!({"issuer": issuer, "token_endpoint": endpoint}));
    }
    if asked.path != "/exchange" {
        return Answer::status(404);
    }
    let wrong = asked.form()["subject_token"] == "wrong";
    let kind = if wrong { "access_token" } else { "id-jag" };
    Answer::json(
        200,
        &json!({
            "access_token": "identity-assertion",
            "issued_token_type": format!("urn:ietf:params:oauth:token-type:{kind}"),
            "token_type": "N_A",
        }),
    )
}

#[tokio::test]
async fn a_companys_identity_provider_vouches() {
    let (listener, idp_url) = Host::bind().await;
    let issuer = idp_url.clone();
    let idp = Host::serve(
        listener,
        Box::new(move |asked| {
            let answer = identity_provider(&issuer, &asked);
            Box::pin(async { answer })
        }),
    );
    let server = Rules {
        method: "client_secret_basic",
        ..Rules::default()
    };
    let rules = resource::Rules {
        scope: Some("a"),
        ..resource::Rules::default()
    };
    let world = World::start(server, rules).await;
    world.server.know("app", Some("secret"));
    let with = |provider: IdentityProvider, id_token: &str| {
        let mut config = world.config(Grant::Enterprise(Enterprise {
            provider,
            client: RegisteredClient::of_any_issuer("app-at-idp"),
            id_token: statement(id_token),
        }));
        config.registered = vec![
            RegisteredClient::new(world.server.issuer.clone(), "app").with_secret("secret".into()),
        ];
        OAuthClient::new(config).unwrap()
    };
    for (at, provider) in [
        IdentityProvider::Issuer(idp_url.clone()),
        IdentityProvider::TokenEndpoint(format!("{idp_url}/exchange")),
    ]
    .into_iter()
    .enumerate()
    {
        let client = with(provider, "id-token");
        assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
        let form = idp.asked("/exchange")[at].form();
        assert_eq!(
            form["grant_type"],
            "urn:ietf:params:oauth:grant-type:token-exchange"
        );
        assert_eq!(
            form["requested_token_type"],
            "urn:ietf:params:oauth:token-type:id-jag"
        );
        assert_eq!(
            form["subject_token_type"],
            "urn:ietf:params:oauth:token-type:id_token"
        );
        assert_eq!(form["subject_token"], "id-token");
        assert_eq!(form["audience"], world.server.issuer);
        assert_eq!(form["resource"], world.resource.url);
        assert_eq!(form["client_id"], "app-at-idp");
        assert_eq!(form["scope"], "a");
        let form = world.server.host.asked("/token")[at].form();
        assert_eq!(form["grant_type"], JWT_BEARER);
        assert_eq!(form["assertion"], "identity-assertion");
    }
    let client = with(IdentityProvider::Issuer(idp_url.clone()), "wrong");
    let error = world.ask(&client, "tools/list").await.unwrap_err();
    assert!(matches!(error, OAuthError::Unsupported { .. }), "{error}");
    assert_eq!(world.server.grants().len(), 2);
}
