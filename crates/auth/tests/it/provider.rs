//! Providers by name, each against a server of this machine that speaks its wire.

use std::sync::Arc;
use std::time::Duration;

use fastmcp_auth::TokenVerifier as _;
use fastmcp_auth::provider::{
    Auth0Provider, AuthKitProvider, AwsCognitoProvider, AzureProvider, ClerkProvider,
    DescopeProvider, DiscordProvider, GoogleProvider, HuggingFaceProvider, KeycloakProvider,
    OciProvider, PropelAuthProvider, ScalekitProvider, WorkOsProvider,
};
use fastmcp_auth::proxy::{Backing, OAuthProxyConfig, OidcProxy, ProxyKeys};
use fastmcp_auth::testing::SigningKey;
use fastmcp_guard::clock::Clock as _;
use secrecy::SecretString;
use serde_json::json;

use crate::browser::{Browser, Client, Ground, Served, network, tokens};
use crate::host::{Answer, Host};
use crate::identity_provider::{CLIENT, IdentityProvider, SECRET};

const REDIRECT: &str = "http://127.0.0.1:9/callback";

fn us() -> (&'static str, SecretString) {
    (CLIENT, SECRET.into())
}

/// Starts an identity provider, and a proxy that `make` sets up for its URL and its own.
async fn world(
    make: impl AsyncFnOnce(&str, &str, Backing) -> OAuthProxyConfig,
) -> (IdentityProvider, Served, Client) {
    let ground = Ground::new();
    let provider = IdentityProvider::start(ground.clock.clone()).await;
    world_of(&ground, provider, make).await
}

async fn world_of(
    ground: &Ground,
    provider: IdentityProvider,
    make: impl AsyncFnOnce(&str, &str, Backing) -> OAuthProxyConfig,
) -> (IdentityProvider, Served, Client) {
    let url = provider.url();
    let served = ground
        .serve(async |base, backing| make(&url, base, backing).await)
        .await;
    let client = Client::register(&served, REDIRECT).await;
    (provider, served, client)
}

async fn access(served: &Served, client: &Client) -> String {
    let answer = Browser::default()
        .log_in(served, &client.asks(served, &[]))
        .await;
    let code = answer
        .get("code")
        .unwrap_or_else(|| panic!("no code: {answer:?}"));
    tokens(&client.redeem(served, code, &[]).await).0
}

async fn error(served: &Served, client: &Client) -> String {
    let answer = Browser::default()
        .log_in(served, &client.asks(served, &[]))
        .await;
    answer
        .get("error")
        .unwrap_or_else(|| panic!("no error: {answer:?}"))
        .clone()
}

async fn google(domains: Option<&'static str>) -> (IdentityProvider, Served, Client) {
    world(async |idp, base, backing| {
        let google = GoogleProvider::new(us(), base).at(idp).network(network());
        let google = match domains {
            Some(domain) => google.allowed_domains([domain]),
            None => google,
        };
        google.config(&backing).unwrap()
    })
    .await
}

#[tokio::test]
async fn google_says_who_a_token_is_of_and_for() {
    let (provider, served, client) = google(None).await;
    // As Google names them in its answer.
    provider.now_it(|it| {
        it.scope = Some("openid https://www.googleapis.com/auth/userinfo.email".to_owned());
        it.expires_in = Some(3_599);
    });
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.subject(), "583231");
    assert_eq!(caller.claims()["email"], "ada@acme.example");
    assert!(caller.has_scope("email"));
    let asked = &provider.host.asked("/o/oauth2/v2/auth")[0].query;
    assert_eq!(
        (&*asked["access_type"], &*asked["prompt"]),
        ("offline", "consent")
    );
    assert_eq!(asked["scope"], "openid email");
    assert_eq!(provider.host.asked("/tokeninfo").len(), 1);
    // A token that was issued to another client.
    provider.now_it(|it| it.application = "another-client");
    assert_eq!(error(&served, &client).await, "server_error");
}

#[tokio::test]
async fn google_lets_in_the_domains_that_are_allowed() {
    let (provider, served, client) = google(Some("Acme.example")).await;
    assert_eq!(
        error(&served, &client).await,
        "access_denied",
        "an account of nobody's domain"
    );
    provider.now_it(|it| it.domain = Some("evil.example"));
    assert_eq!(error(&served, &client).await, "access_denied");
    provider.now_it(|it| it.domain = Some("acme.example"));
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.claims()["hd"], "acme.example");
}

#[tokio::test]
async fn an_id_token_must_be_the_answer_to_this_login() {
    let (provider, served, client) = google(None).await;
    provider.now_it(|it| it.nonce = Some("of another login"));
    assert_eq!(error(&served, &client).await, "server_error");
    // Another server answers (mix-up, RFC 9207).
    let (provider, served, client) = google(None).await;
    provider.now_it(|it| it.iss = Some("https://evil.example".to_owned()));
    assert_eq!(error(&served, &client).await, "server_error");
    assert!(
        provider.host.asked("/token").is_empty(),
        "its code was not redeemed"
    );
    provider.now_it(|it| it.iss = Some(it_is(&served, "")));
    assert_eq!(error(&served, &client).await, "server_error");
    let own = provider.url();
    provider.now_it(|it| it.iss = Some(own));
    access(&served, &client).await;
}

fn it_is(served: &Served, path: &str) -> String {
    format!("{}{path}", served.url)
}

#[tokio::test]
async fn discord_says_who_a_token_is_of_and_for() {
    let (provider, served, client) = world(async |idp, base, backing| {
        let discord = DiscordProvider::new(us(), base).at(idp).network(network());
        discord.config(&backing).unwrap()
    })
    .await;
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.subject(), "583231");
    assert_eq!(caller.claims()["username"], "ada");
    assert_eq!(provider.host.asked("/api/oauth2/token").len(), 1);
    provider.now_it(|it| it.application = "another-application");
    assert_eq!(error(&served, &client).await, "server_error");
}

#[tokio::test]
async fn workos_and_clerk_show_the_user() {
    for (path, required) in [("oauth2", ""), ("oauth", "email openid profile")] {
        let (provider, served, client) = world(async |idp, base, backing| {
            if path == "oauth2" {
                let workos = WorkOsProvider::new(idp, us(), base).network(network());
                return workos.config(&backing).unwrap();
            }
            let clerk = ClerkProvider::new(idp, us(), base).network(network());
            clerk.config(&backing).unwrap()
        })
        .await;
        let token = access(&served, &client).await;
        let caller = served.proxy.verify(&token).await.unwrap();
        assert_eq!(caller.claims()["email"], "ada@acme.example");
        assert!(
            caller.roles().is_empty(),
            "what a user endpoint shows gives no rights"
        );
        assert_eq!(caller.scopes().unwrap().join(" "), required);
        for last in ["authorize", "token", "userinfo"] {
            assert_eq!(
                provider.host.asked(&format!("/{path}/{last}")).len(),
                1,
                "{last}"
            );
        }
    }
}

const TENANT: &str = "2d4ee7a2-5a3c-4a24-8f0d-1c3f5ce1c0a1";

async fn azure() -> (IdentityProvider, Served, Client) {
    let (provider, served, client) = world(async |idp, base, backing| {
        let azure = AzureProvider::new(TENANT, us(), base).authority(idp);
        let azure = azure.required_scopes(["read"]).network(network());
        azure.config(&backing).unwrap()
    })
    .await;
    let issuer = format!("{}/{TENANT}/v2.0", provider.url());
    provider.now_it(|it| {
        it.issuer = Some(issuer);
        it.expires_in = Some(3_600);
        it.jwt = Some(json!({
            "aud": CLIENT, "scp": "read", "tid": TENANT, "roles": ["Task.Admin"], "ver": "2.0",
        }));
    });
    (provider, served, client)
}

#[tokio::test]
async fn entra_issues_tokens_for_the_api_of_the_app() {
    let (provider, served, client) = azure().await;
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.tenant(), Some(TENANT));
    assert_eq!(caller.roles(), ["Task.Admin"]);
    assert!(caller.has_scope("read"));
    let asked = provider
        .host
        .asked(&format!("/{TENANT}/oauth2/v2.0/authorize"));
    let expected = format!("offline_access api://{CLIENT}/read");
    assert_eq!(asked[0].query["scope"], expected);
    assert!(!asked[0].query.contains_key("resource"));
    assert_eq!(
        provider
            .host
            .asked(&format!("/{TENANT}/discovery/v2.0/keys"))
            .len(),
        1
    );
}

#[tokio::test]
async fn entra_is_one_directory_and_one_app() {
    // Tokens for Microsoft Graph, and of another directory.
    let (provider, served, client) = azure().await;
    provider.now_it(|it| it.jwt = Some(json!({"aud": "00000003-0000-0000-c000-000000000000"})));
    assert_eq!(error(&served, &client).await, "server_error");
    let (provider, served, client) = azure().await;
    provider
        .now_it(|it| it.issuer = Some("https://login.microsoftonline.com/evil/v2.0".to_owned()));
    assert_eq!(error(&served, &client).await, "server_error");
    let backing = Ground::new().backing();
    let base = "https://tools.example";
    let common = AzureProvider::new("common", us(), base).required_scopes(["read"]);
    assert!(common.config(&backing).is_err());
    assert!(
        AzureProvider::new(TENANT, us(), base)
            .config(&backing)
            .is_err()
    );
}

#[tokio::test]
async fn auth0_is_found_by_discovery_and_both_tokens_are_verified() {
    let ground = Ground::new();
    let provider = IdentityProvider::start(ground.clock.clone()).await;
    let issuer = format!("{}/", provider.url());
    provider.now_it(|it| {
        it.issuer = Some(issuer.clone());
        it.expires_in = Some(300);
        it.jwt = Some(json!({"aud": ["https://api.example", "https://other"], "scope": "openid"}));
    });
    let (provider, served, client) = world_of(&ground, provider, async |idp, base, backing| {
        let auth0 = Auth0Provider::new(idp, "https://api.example", us(), base).network(network());
        auth0.config(&backing).await.unwrap()
    })
    .await;
    let token = access(&served, &client).await;
    assert_eq!(
        provider.host.asked("/authorize")[0].query["audience"],
        "https://api.example"
    );
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.issuer(), Some(issuer.as_str()));
    // Tokens are renewed, and verified again.
    served.clock.advance(Duration::from_secs(250));
    assert!(served.proxy.verify(&token).await.is_ok());
    assert_eq!(provider.host.asked("/token").len(), 2);
    provider.now_it(|it| it.jwt = Some(json!({"aud": "https://another-api.example"})));
    assert_eq!(error(&served, &client).await, "server_error");
}

#[tokio::test]
async fn cognito_and_hugging_face_are_known_by_their_id_token() {
    let (provider, served, client) = world(async |idp, base, backing| {
        let cognito = AwsCognitoProvider::new("eu-central-1_AbCdEfGhI", us(), base);
        cognito
            .at(idp)
            .network(network())
            .config(&backing)
            .await
            .unwrap()
    })
    .await;
    provider.now_it(|it| it.expires_in = Some(300));
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.subject(), "583231");
    assert_eq!(caller.roles(), ["admins"]);
    // Another person must not come of a renewal.
    provider.now_it(|it| it.user = "666");
    served.clock.advance(Duration::from_secs(250));
    assert!(served.proxy.verify(&token).await.is_err());

    let (_, served, client) = world(async |idp, base, backing| {
        let hub = HuggingFaceProvider::new(us(), base)
            .at(idp)
            .network(network());
        hub.config(&backing).await.unwrap()
    })
    .await;
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.claims()["email"], "ada@acme.example");
}

#[tokio::test]
async fn an_issuer_that_is_another_is_no_issuer() {
    let ground = Ground::new();
    let provider = IdentityProvider::start(ground.clock.clone()).await;
    provider.now_it(|it| it.issuer = Some("https://evil.example".to_owned()));
    let proxy = OidcProxy::new(provider.url(), us(), "https://tools.example").network(network());
    let refused = proxy.build(ground.backing()).await.unwrap_err().to_string();
    assert!(refused.contains("evil.example"), "{refused}");
}

#[tokio::test]
async fn settings_are_checked_when_a_proxy_is_made() {
    let ground = Ground::new();
    let make = |base: &str, change: fn(&mut OAuthProxyConfig)| {
        let google = GoogleProvider::new(us(), base);
        let mut config = google.config(&ground.backing()).unwrap();
        change(&mut config);
        fastmcp_auth::proxy::OAuthProxy::new(config, ground.backing()).map(|_| ())
    };
    assert!(make("https://tools.example", |_| {}).is_ok());
    assert!(make("https://tools.example/api", |_| {}).is_ok());
    for base in [
        "",
        "http://tools.example",
        "https://tools.example/",
        "https://h?x",
        "tools",
    ] {
        assert!(make(base, |_| {}).is_err(), "{base}");
    }
    let good = "https://tools.example";
    assert!(make(good, |c| c.lifetimes.code = Duration::from_secs(3_600)).is_err());
    assert!(make(good, |c| c.max_sessions = 0).is_err());
    assert!(make(good, |c| c.callback_path = "x".to_owned()).is_err());
    assert!(make(good, |c| c.scopes = vec!["a b".to_owned()]).is_err());
    assert!(
        make(good, |c| c.upstream.token_endpoint =
            "http://idp.example/".to_owned())
        .is_err()
    );
    assert!(make(good, |c| c.upstream.client_id.clear()).is_err());
    assert!(ProxyKeys::new(&[[1; 32]]).is_err());
}

/// A provider whose key is `key`, at its address.
async fn keys_of(key: &SigningKey) -> (Host, String) {
    let jwk = key.jwk();
    let (listener, url) = Host::bind().await;
    let host = Host::serve(
        listener,
        Box::new(move |_| {
            let keys = json!({"keys": [jwk]});
            Box::pin(async move { Answer::json(200, &keys) })
        }),
    );
    (host, url)
}

#[tokio::test]
async fn authkit_and_keycloak_register_clients_themselves() {
    let ground = Ground::new();
    let key = Arc::new(SigningKey::ec("remote-1"));
    let (host, url) = keys_of(&key).await;
    let resource = "https://tools.example/mcp";
    let realm = format!("{url}/realms/acme");
    let authkit = AuthKitProvider::new(&url, resource).network(network());
    let authkit = authkit.build(ground.clock.clone()).unwrap();
    let keycloak = KeycloakProvider::new(&realm, resource).network(network());
    let keycloak = keycloak
        .required_scopes(["tools"])
        .build(ground.clock.clone())
        .unwrap();
    let headers = |issuer: &str, audience: &str| {
        let token = key.token("ada", ground.clock.now());
        let token = token
            .claim("iss", issuer)
            .claim("aud", audience)
            .claim("scope", "tools");
        let token = token.claim("realm_access", json!({"roles": ["admin"]}));
        let mut headers = http::HeaderMap::new();
        let bearer = format!("Bearer {}", token.sign()).parse().unwrap();
        headers.insert("authorization", bearer);
        headers
    };
    let caller = authkit
        .authenticator()
        .authenticate(&headers(&url, resource))
        .await
        .unwrap();
    assert_eq!(caller.subject(), "ada");
    let door = keycloak.authenticator();
    let caller = door.authenticate(&headers(&realm, resource)).await.unwrap();
    assert_eq!(caller.roles(), ["admin"]);
    for (issuer, audience) in [(&realm, "https://other.example/mcp"), (&url, resource)] {
        assert!(door.authenticate(&headers(issuer, audience)).await.is_err());
    }
    let said: serde_json::Value =
        serde_json::from_str(&keycloak.resource_metadata().to_json()).unwrap();
    assert_eq!(said["authorization_servers"], json!([realm]));
    assert_eq!(said["scopes_supported"], json!(["tools"]));
    assert_eq!(host.asked("/oauth2/jwks").len(), 1);
    assert_eq!(
        host.asked("/realms/acme/protocol/openid-connect/certs")
            .len(),
        1
    );
}

const ORACLE: &str = "https://identity.oraclecloud.com/";

async fn oci() -> (IdentityProvider, Served, Client) {
    let (provider, served, client) = world(async |idp, base, backing| {
        let oci = OciProvider::new(idp, us(), base).network(network());
        oci.config(&backing).unwrap()
    })
    .await;
    // Every identity domain calls itself so.
    provider.now_it(|it| {
        it.issuer = Some(ORACLE.to_owned());
        it.id_claims = Some(json!({
            "aud": [ORACLE, CLIENT], "azp": CLIENT, "tok_type": "IT", "tenant": "idcs-1", "user_displayname": "Ada",
        }));
    });
    (provider, served, client)
}

#[tokio::test]
async fn oracle_says_who_logged_in_by_the_id_token_of_the_application() {
    let (provider, served, client) = oci().await;
    let token = access(&served, &client).await;
    let caller = served.proxy.verify(&token).await.unwrap();
    assert_eq!(caller.subject(), "583231");
    assert_eq!(caller.claims()["user_displayname"], "Ada");
    for path in [
        "/oauth2/v1/authorize",
        "/oauth2/v1/token",
        "/admin/v1/SigningCert/jwk",
    ] {
        assert_eq!(provider.host.asked(path).len(), 1, "{path}");
    }
    // Of another application, to another application, and of another service.
    for change in [
        json!({"aud": [ORACLE, "another-application"], "azp": "another-application"}),
        json!({"aud": [ORACLE, CLIENT], "azp": "another-application"}),
        json!({"aud": ORACLE, "azp": CLIENT}),
        json!({"iss": "https://identity.evil.example/"}),
    ] {
        let (provider, served, client) = oci().await;
        provider.now_it(|it| {
            let claims = it.id_claims.as_mut().unwrap();
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
        });
        assert_eq!(error(&served, &client).await, "server_error", "{change}");
    }
    let elsewhere = OciProvider::new("idcs-1", us(), "https://tools.example");
    assert!(elsewhere.config(&Ground::new().backing()).is_err());
}

const RESOURCE: &str = "https://tools.example/mcp";

/// The headers of a request with a token.
fn bearer(token: &str) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    let bearer = format!("Bearer {token}").parse().unwrap();
    headers.insert("authorization", bearer);
    headers
}

#[tokio::test]
async fn descope_and_scalekit_issue_tokens_for_one_server() {
    let ground = Ground::new();
    let key = Arc::new(SigningKey::ec("remote-1"));
    let (host, url) = keys_of(&key).await;
    let signed = |issuer: &str, audience: serde_json::Value| {
        let token = key.token("ada", ground.clock.now());
        let token = token.claim("iss", issuer).claim("aud", audience);
        bearer(&token.claim("scope", "tools").sign())
    };
    let server = format!("{url}/v1/apps/agentic/P2abc/MS3xyz");
    for given in [
        server.clone(),
        format!("{server}/.well-known/openid-configuration"),
    ] {
        let descope = DescopeProvider::new(given, RESOURCE)
            .unwrap()
            .network(network());
        let descope = descope
            .required_scopes(["tools"])
            .build(ground.clock.clone())
            .unwrap();
        let door = descope.authenticator();
        let project = format!("{url}/v1/apps/P2abc");
        for issuer in [&server, &project] {
            let headers = signed(issuer, json!(["client", RESOURCE]));
            let caller = door.authenticate(&headers).await.unwrap();
            assert_eq!(caller.subject(), "ada");
        }
        for (issuer, audience) in [
            // For the whole project, for another server, and of others.
            (&server, json!(["client", "P2abc"])),
            (&server, json!("https://other.example/mcp")),
            (&format!("{url}/v1/apps/P9other"), json!(RESOURCE)),
            (
                &format!("{url}/v1/apps/agentic/P2abc/MS9other"),
                json!(RESOURCE),
            ),
        ] {
            let refused = door.authenticate(&signed(issuer, audience.clone())).await;
            assert!(refused.is_err(), "{issuer} {audience}");
        }
        let said: serde_json::Value =
            serde_json::from_str(&descope.resource_metadata().to_json()).unwrap();
        assert_eq!(said["authorization_servers"], json!([server]));
    }
    assert_eq!(host.asked("/P2abc/.well-known/jwks.json").len(), 2);
    for bad in [
        "https://api.descope.com",
        "https://api.descope.com/v1/apps/P2abc",
        "https://api.descope.com/v1/apps/agentic/P2abc",
        "https://api.descope.com/v1/apps/agentic/P2abc/",
        "https://api.descope.com/v1/apps/agentic/P2abc/M/x",
        "https://api.descope.com/v1/apps/agentic/../M",
    ] {
        let error = DescopeProvider::new(bad, RESOURCE).unwrap_err().to_string();
        assert!(
            error.contains("/v1/apps/agentic/PROJECT/SERVER"),
            "{bad}: {error}"
        );
    }

    let scalekit = ScalekitProvider::new(format!("{url}/"), "res_1", RESOURCE).network(network());
    let scalekit = scalekit.build(ground.clock.clone()).unwrap();
    let door = scalekit.authenticator();
    let caller = door.authenticate(&signed(&url, json!(["res_1"]))).await;
    assert_eq!(caller.unwrap().subject(), "ada");
    for (issuer, audience) in [
        (url.clone(), json!(["res_2"])),
        (url.clone(), json!(RESOURCE)),
        (format!("{url}/resources/res_1"), json!(["res_1"])),
    ] {
        assert!(door.authenticate(&signed(&issuer, audience)).await.is_err());
    }
    let said: serde_json::Value =
        serde_json::from_str(&scalekit.resource_metadata().to_json()).unwrap();
    assert_eq!(said["resource"], RESOURCE);
    assert_eq!(
        said["authorization_servers"],
        json!([format!("{url}/resources/res_1")])
    );
    assert_eq!(host.asked("/keys").len(), 1);
    let nameless = ScalekitProvider::new(&url, "", RESOURCE).network(network());
    assert!(nameless.build(ground.clock.clone()).is_err());
}

#[tokio::test]
async fn propelauth_is_asked_whose_a_token_is_and_for_which_server() {
    let ground = Ground::new();
    let (listener, url) = Host::bind().await;
    let host = Host::serve(
        listener,
        Box::new(move |asked| {
            let token = asked.form().remove("token").unwrap_or_default();
            let audience = match token.as_str() {
                "ours" => json!(RESOURCE),
                "another" => json!("https://other.example/mcp"),
                _ => json!(null),
            };
            let mut said = json!({
                "active": token != "ended", "sub": "ada", "client_id": "c", "scope": "read:user_data",
                "token_type": "Bearer", "email": "ada@acme.example",
            });
            if !audience.is_null() {
                said["aud"] = audience;
            }
            Box::pin(async move { Answer::json(200, &said) })
        }),
    );
    let propel = PropelAuthProvider::new(&url, us(), RESOURCE);
    assert!(!format!("{propel:?}").contains(SECRET));
    let made = |scope: &str| {
        let propel = propel.clone().required_scopes([scope]);
        propel.build(ground.clock.clone()).unwrap()
    };
    let remote = made("read:user_data");
    let door = remote.authenticator();
    let caller = door.authenticate(&bearer("ours")).await.unwrap();
    assert_eq!((caller.subject(), caller.client_id()), ("ada", Some("c")));
    assert_eq!(caller.issuer(), Some(format!("{url}/oauth/2.1").as_str()));
    for token in ["another", "unbound", "ended"] {
        assert!(door.authenticate(&bearer(token)).await.is_err(), "{token}");
    }
    door.authenticate(&bearer("ours")).await.unwrap();
    let asked = host.asked("/oauth/2.1/introspect");
    assert_eq!(asked.len(), 4, "it is asked once for each");
    let expected = format!("{}:{}", CLIENT, SECRET);
    let basic = asked[0].header("authorization").unwrap();
    assert!(basic.starts_with("Basic ") && !basic.contains(&expected));
    let writes = made("write:user_data").authenticator();
    assert!(writes.authenticate(&bearer("ours")).await.is_err());
    let said: serde_json::Value =
        serde_json::from_str(&remote.resource_metadata().to_json()).unwrap();
    assert_eq!(
        said["authorization_servers"],
        json!([format!("{url}/oauth/2.1")])
    );
}
