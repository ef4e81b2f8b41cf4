//! The proxy over real sockets: the whole way, and what attackers try on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastmcp_auth::proxy::{Consent, RedirectRules, UpstreamTokenError};
use fastmcp_auth::{TokenVerifier as _, VerifyError};
use http::{Method, Request};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::browser::{
    Browser, CHALLENGE, Client, Ground, Served, github, network, post, query, register, send,
    tokens,
};
use crate::host::{Answer, Host};
use crate::identity_provider::IdentityProvider;

const REDIRECT: &str = "http://127.0.0.1:9/callback";
const WEB: &str = "https://app.example/callback";

async fn world() -> (Ground, IdentityProvider, Served, Client) {
    let ground = Ground::new();
    let (provider, served) = github(&ground, |_| {}).await;
    let client = Client::register(&served, REDIRECT).await;
    (ground, provider, served, client)
}

/// Logs in and redeems the code.
async fn logged_in(served: &Served, client: &Client) -> (String, String) {
    let answer = Browser::default()
        .log_in(served, &client.asks(served, &[]))
        .await;
    tokens(&client.redeem(served, &answer["code"], &[]).await)
}

fn reason(refused: Result<fastmcp_auth::Caller, VerifyError>) -> &'static str {
    refused.unwrap_err().reason()
}

#[tokio::test]
async fn a_client_registers_a_person_agrees_and_logs_in_and_tokens_come() {
    let (_, provider, served, client) = world().await;
    let browser = Browser::default();
    let page = browser
        .get(&client.asks(&served, &[("scope", "repo")]))
        .await;
    assert_eq!(page.status, 200);
    for shown in [
        "Editor",
        "127.0.0.1 (a program",
        "read:user",
        "repo",
        "GitHub",
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    assert!(provider.host.paths().is_empty(), "nobody was asked yet");

    let sent = browser.decide(&served, &page, "allow").await;
    assert_eq!(sent.status, 303);
    let asked = query(sent.location());
    assert!(
        sent.location()
            .starts_with(&format!("{}/login/oauth/authorize?", provider.url()))
    );
    assert_eq!(
        asked["redirect_uri"],
        format!("{}/auth/callback", served.url)
    );
    assert_eq!(asked["scope"], "repo read:user");
    assert_ne!(
        asked["code_challenge"], CHALLENGE,
        "its own proof, not the client's"
    );
    assert_ne!(asked["state"], "the-clients-state");

    let back = send(Request::get(sent.location()).body(Bytes::new()).unwrap()).await;
    let answer = browser.get(back.location()).await;
    assert!(answer.location().starts_with(&format!("{REDIRECT}?")));
    let answer = query(answer.location());
    assert_eq!(answer["state"], "the-clients-state");
    assert_eq!(answer["iss"], served.url, "RFC 9207");

    let seen = client.redeem(&served, &answer["code"], &[]).await;
    assert_eq!(seen.headers["cache-control"], "no-store");
    assert_eq!(seen.json()["token_type"], "Bearer");
    assert_eq!(seen.json()["expires_in"], 3_600);
    assert_eq!(seen.json()["scope"], "repo read:user");
    let (access, _) = tokens(&seen);
    let upstream = provider.access_tokens();
    assert!(!seen.body.contains(&upstream[0]), "no token passes through");

    let caller = served.proxy.verify(&access).await.unwrap();
    assert_eq!(caller.subject(), "583231");
    assert_eq!(caller.issuer(), Some(provider.url().as_str()));
    assert_eq!(caller.claims()["login"], "ada");
    assert!(caller.has_scope("repo") && caller.has_scope("read:user"));
    // What the user endpoint shows beyond the user gives no rights.
    assert!(caller.roles().is_empty() && caller.tenant().is_none());
    assert_eq!(
        caller.token().unwrap().client_id(),
        Some(client.id.as_str())
    );
    let token = served.proxy.upstream_token(&caller).await.unwrap();
    assert_eq!(token.expose_secret(), upstream[0]);
    // The answer about the token was kept: one question for the login and the calls.
    served.proxy.verify(&access).await.unwrap();
    assert_eq!(provider.host.asked("/api/v3/user").len(), 1);
}

#[tokio::test]
async fn the_proxy_describes_itself() {
    let (_, _, served, _) = world().await;
    let url = format!("{}/.well-known/oauth-authorization-server", served.url);
    let seen = send(Request::get(url).body(Bytes::new()).unwrap()).await;
    let said = seen.json();
    assert_eq!(said["issuer"], served.url);
    for (member, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
        ("revocation_endpoint", "/revoke"),
    ] {
        assert_eq!(said[member], format!("{}{path}", served.url));
    }
    assert_eq!(said["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(said["scopes_supported"], json!(["read:user", "repo"]));
    assert_eq!(said["authorization_response_iss_parameter_supported"], true);
    assert_eq!(seen.headers["access-control-allow-origin"], "*");
    let resource = served.proxy.resource_metadata();
    assert_eq!(resource.resource(), format!("{}/mcp", served.url));
    let preflight = Request::builder().method(Method::OPTIONS);
    let preflight = preflight.uri(format!("{}/token", served.url));
    let seen = send(preflight.body(Bytes::new()).unwrap()).await;
    assert_eq!(seen.status, 204);
    assert!(seen.headers.contains_key("access-control-allow-methods"));
}

#[tokio::test]
async fn registrations_are_checked_and_bounded() {
    let (_, _, served, _) = world().await;
    for (body, error) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": []}), "invalid_redirect_uri"),
        (
            json!({"redirect_uris": ["javascript:alert(1)"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": ["http://evil.example/"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": vec![REDIRECT; 11]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": [REDIRECT], "grant_types": ["implicit"]}),
            "invalid_client_metadata",
        ),
        (
            json!({"redirect_uris": [REDIRECT], "client_name": "x".repeat(101)}),
            "invalid_client_metadata",
        ),
        (json!([]), "invalid_client_metadata"),
    ] {
        let seen = register(&served, &body).await;
        assert_eq!(seen.status, 400, "{body}");
        assert_eq!(seen.json()["error"], error, "{body}");
    }
    // Who asks for a secret is told that there is none (RFC 7591, section 3.2.1).
    let body = json!({"redirect_uris": [WEB], "token_endpoint_auth_method": "client_secret_post"});
    let seen = register(&served, &body).await.json();
    assert_eq!(seen["token_endpoint_auth_method"], "none");
    assert!(seen.get("client_secret").is_none());
}

#[tokio::test]
async fn a_registration_ends_and_is_of_one_server() {
    let (ground, _, served, client) = world().await;
    let mut forged = client.id.clone();
    forged.replace_range(10..11, if &forged[10..11] == "A" { "B" } else { "A" });
    for id in ["", "unknown", &forged, &"x".repeat(5_000)] {
        let seen = Browser::default()
            .get(&client.asks(&served, &[("client_id", id)]))
            .await;
        assert_eq!(seen.status, 400, "{id}");
    }
    // Another server with the same keys does not take it.
    let (_, other) = github(&ground, |_| {}).await;
    let seen = Browser::default().get(&client.asks(&other, &[])).await;
    assert_eq!(seen.status, 400);
    served.clock.advance(Duration::from_secs(366 * 86_400));
    let seen = Browser::default().get(&client.asks(&served, &[])).await;
    assert_eq!(seen.status, 400);
}

#[tokio::test]
async fn redirect_uris_are_matched_and_errors_lead_nowhere_else() {
    let (_, _, served, client) = world().await;
    for uri in [
        "http://127.0.0.1:9/callback/x",
        "http://127.0.0.1:9/callback?x=1",
        "https://evil.example/callback",
        "http://127.0.0.1:9@evil.example/callback",
        "",
    ] {
        let seen = Browser::default()
            .get(&client.asks(&served, &[("redirect_uri", uri)]))
            .await;
        assert_eq!(seen.status, 400, "{uri}");
        assert!(!seen.headers.contains_key("location"), "{uri}");
        assert!(!seen.body.contains("evil.example"));
    }
    // The port of this machine is the client's affair (RFC 8252, section 7.3).
    let other_port = ("redirect_uri", "http://127.0.0.1:51004/callback");
    let seen = Browser::default()
        .get(&client.asks(&served, &[other_port]))
        .await;
    assert_eq!(seen.status, 200);
    // Anybody can register a URI: an error must not make this server a redirect to it.
    let web = Client::register(&served, WEB).await;
    let seen = Browser::default()
        .get(&web.asks(&served, &[("scope", "unknown")]))
        .await;
    assert_eq!(seen.status, 400);
    assert!(!seen.headers.contains_key("location"));
}

#[tokio::test]
async fn only_what_is_safe_is_asked_about() {
    let (_, _, served, client) = world().await;
    for (changes, error) in [
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge", "too-short")], "invalid_request"),
        (
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (vec![("scope", "read:user admin:org")], "invalid_scope"),
        (
            vec![("resource", "https://other.example/mcp")],
            "invalid_target",
        ),
    ] {
        let seen = Browser::default()
            .get(&client.asks(&served, &changes))
            .await;
        assert_eq!(seen.status, 303, "{changes:?}");
        let answer = query(seen.location());
        assert_eq!(answer["error"], error, "{changes:?}");
        assert_eq!(answer["state"], "the-clients-state");
        assert_eq!(answer["iss"], served.url);
        assert!(!answer.contains_key("code"));
    }
    let twice = format!("{}&client_id=other", client.asks(&served, &[]));
    assert_eq!(Browser::default().get(&twice).await.status, 400);
    let long = client.asks(&served, &[("state", &"s".repeat(3_000))]);
    let answer = query(Browser::default().get(&long).await.location());
    assert_eq!(answer["error"], "invalid_request");
    assert!(!answer.contains_key("state"));
}

#[tokio::test]
async fn another_site_cannot_agree_for_a_person() {
    let (_, provider, served, client) = world().await;
    let url = client.asks(&served, &[]);
    // The attacker gets a page of their own, and has the victim's browser send its form.
    let (attacker, victim) = (Browser::default(), Browser::default());
    let page = attacker.get(&url).await;
    victim.get(&url).await;
    let sealed = page.field("request");
    let seen = victim.submit(&served, &sealed, "allow", &served.url).await;
    assert_eq!(seen.status, 403, "the form was made for another browser");
    // Its own form, sent by another site.
    let page = victim.get(&url).await;
    let sealed = page.field("request");
    for origin in ["https://evil.example", "null"] {
        let seen = victim.submit(&served, &sealed, "allow", origin).await;
        assert_eq!(seen.status, 403, "{origin}");
    }
    // Without a cookie, with a forged form, without a decision, too late, by GET.
    let seen = Browser::default()
        .submit(&served, &sealed, "allow", &served.url)
        .await;
    assert_eq!(seen.status, 403);
    let seen = victim
        .submit(&served, &sealed[1..], "allow", &served.url)
        .await;
    assert_eq!(seen.status, 403);
    let seen = victim.submit(&served, &sealed, "", &served.url).await;
    assert_eq!(seen.status, 400);
    let consent = format!("{}/consent?request={sealed}&decision=allow", served.url);
    assert_eq!(victim.get(&consent).await.status, 405);
    served.clock.advance(Duration::from_secs(601));
    let seen = victim.submit(&served, &sealed, "allow", &served.url).await;
    assert_eq!(seen.status, 403);
    assert!(
        provider.host.paths().is_empty(),
        "nobody was sent to log in"
    );
}

#[tokio::test]
async fn the_page_that_asks_cannot_be_framed_and_its_cookie_is_guarded() {
    let (_, _, served, client) = world().await;
    let page = Browser::default().get(&client.asks(&served, &[])).await;
    assert_eq!(page.headers["x-frame-options"], "DENY");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
    let cookie = page.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_login_is_of_the_browser_that_agreed() {
    let (_, provider, served, client) = world().await;
    let url = client.asks(&served, &[]);
    // The attacker agrees, and has the victim open where the identity provider is asked.
    let attacker = Browser::default();
    let page = attacker.get(&url).await;
    let sent = attacker.decide(&served, &page, "allow").await;
    let back = send(Request::get(sent.location()).body(Bytes::new()).unwrap()).await;
    let victim = Browser::default();
    assert_eq!(
        victim.get(back.location()).await.status,
        403,
        "a browser without a cookie"
    );
    victim.get(&url).await;
    assert_eq!(
        victim.get(back.location()).await.status,
        403,
        "a browser that agreed to nothing"
    );
    assert!(
        provider.host.asked("/login/oauth/access_token").is_empty(),
        "no code was redeemed"
    );
    // A program that looks at links ahead uses nothing up.
    let head = Request::head(back.location()).body(Bytes::new()).unwrap();
    assert_eq!(attacker.send(head).await.status, 405);
    // It is good for who agreed, once.
    assert_eq!(attacker.get(back.location()).await.status, 303);
    assert_eq!(attacker.get(back.location()).await.status, 403);
    // A state that nobody gave out.
    let forged = format!("{}/auth/callback?code=x&state=y", served.url);
    assert_eq!(attacker.get(&forged).await.status, 403);
}

#[tokio::test]
async fn a_login_takes_no_longer_than_it_may() {
    let (_, _, served, client) = world().await;
    let browser = Browser::default();
    let page = browser.get(&client.asks(&served, &[])).await;
    let sent = browser.decide(&served, &page, "allow").await;
    let back = send(Request::get(sent.location()).body(Bytes::new()).unwrap()).await;
    served.clock.advance(Duration::from_secs(601));
    assert_eq!(browser.get(back.location()).await.status, 403);
}

#[tokio::test]
async fn who_denies_is_not_sent_to_log_in() {
    let (_, provider, served, client) = world().await;
    let browser = Browser::default();
    let page = browser.get(&client.asks(&served, &[])).await;
    let seen = browser.decide(&served, &page, "deny").await;
    let answer = query(seen.location());
    assert_eq!(answer["error"], "access_denied");
    assert_eq!(answer["state"], "the-clients-state");
    assert!(provider.host.paths().is_empty());
    // Nor is who declines there let in here.
    provider.now_it(|it| it.declines = true);
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    assert_eq!(answer["error"], "access_denied");
}

#[tokio::test]
async fn approvals_are_remembered_for_one_client_one_place_and_one_browser() {
    let (_, _, served, native) = world().await;
    let web = Client::register(&served, WEB).await;
    let browser = Browser::default();
    let url = web.asks(&served, &[]);
    browser.log_in(&served, &url).await;
    assert_eq!(browser.get(&url).await.status, 303, "it is remembered");
    assert_eq!(
        Browser::default().get(&url).await.status,
        200,
        "in that browser alone"
    );
    let more = web.asks(&served, &[("scope", "repo")]);
    assert_eq!(
        browser.get(&more).await.status,
        200,
        "for those scopes alone"
    );
    let same_name = Client::register(&served, WEB).await;
    let other = same_name.asks(&served, &[]);
    assert_eq!(
        browser.get(&other).await.status,
        200,
        "for that client alone"
    );
    // Any program of this machine could be behind a port of it (RFC 8252, section 8.6).
    let url = native.asks(&served, &[]);
    browser.log_in(&served, &url).await;
    assert_eq!(browser.get(&url).await.status, 200);
    served.clock.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(
        browser.get(&web.asks(&served, &[])).await.status,
        200,
        "it ends"
    );
}

#[tokio::test]
async fn people_can_be_asked_each_time() {
    let ground = Ground::new();
    let (_, served) = github(&ground, |config| config.consent = Consent::Always).await;
    let web = Client::register(&served, WEB).await;
    let browser = Browser::default();
    let url = web.asks(&served, &[]);
    browser.log_in(&served, &url).await;
    assert_eq!(browser.get(&url).await.status, 200);
}

#[tokio::test]
async fn a_code_is_good_once_and_its_second_use_ends_the_session() {
    let (_, provider, served, client) = world().await;
    let url = client.asks(&served, &[]);
    let answer = Browser::default().log_in(&served, &url).await;
    let (access, refresh) = tokens(&client.redeem(&served, &answer["code"], &[]).await);
    assert!(served.proxy.verify(&access).await.is_ok());
    let again = client.redeem(&served, &answer["code"], &[]).await;
    assert_eq!(
        (again.status, again.json()["error"].clone()),
        (400, "invalid_grant".into())
    );
    assert_eq!(reason(served.proxy.verify(&access).await), "unknown_token");
    assert_eq!(client.refresh(&served, &refresh).await.status, 400);
    // A minute later it is good for nothing either.
    let answer = Browser::default().log_in(&served, &url).await;
    served.clock.advance(Duration::from_secs(61));
    assert_eq!(
        client.redeem(&served, &answer["code"], &[]).await.status,
        400
    );
    assert_eq!(provider.host.asked("/login/oauth/access_token").len(), 2);
}

#[tokio::test]
async fn a_code_is_for_its_client_its_place_and_its_verifier() {
    let (_, _, served, client) = world().await;
    let thief = Client::register(&served, REDIRECT).await;
    let other = "a".repeat(43);
    let other_port = "http://127.0.0.1:10/callback";
    for changes in [
        vec![("client_id", thief.id.as_str())],
        vec![("redirect_uri", other_port)],
        vec![("redirect_uri", "")],
        vec![("code_verifier", other.as_str())],
        vec![("code_verifier", "")],
        // The challenge is in the URL that everybody sees: `plain` would take it.
        vec![("code_verifier", CHALLENGE)],
        vec![("resource", "https://other.example/mcp")],
    ] {
        let url = client.asks(&served, &[]);
        let answer = Browser::default().log_in(&served, &url).await;
        let code = &answer["code"];
        let seen = client.redeem(&served, code, &changes).await;
        assert_eq!(seen.status, 400, "{changes:?}");
        // It was tried, and is good for nobody any more.
        assert_eq!(
            client.redeem(&served, code, &[]).await.status,
            400,
            "{changes:?}"
        );
    }
}

#[tokio::test]
async fn of_many_who_redeem_a_code_at_once_none_keeps_more_than_one_session() {
    let (_, _, served, client) = world().await;
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    let tries = (0..8).map(|_| client.redeem(&served, &answer["code"], &[]));
    let seen = futures_util::future::join_all(tries).await;
    let won: Vec<_> = seen.iter().filter(|seen| seen.status == 200).collect();
    assert!(won.len() <= 1, "{}", won.len());
    for seen in won {
        // The others were replays: what the first one got is over.
        let (access, _) = tokens(seen);
        assert_eq!(reason(served.proxy.verify(&access).await), "unknown_token");
    }
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_stolen_one_ends_the_session() {
    let (_, _, served, client) = world().await;
    let (first, refresh) = logged_in(&served, &client).await;
    served.clock.advance(Duration::from_secs(3_700));
    assert_eq!(reason(served.proxy.verify(&first).await), "expired");
    let (second, next) = tokens(&client.refresh(&served, &refresh).await);
    assert_ne!(refresh, next);
    assert!(served.proxy.verify(&second).await.is_ok());
    // The answer was lost, and the client asks again at once.
    let (third, same) = tokens(&client.refresh(&served, &refresh).await);
    assert!(served.proxy.verify(&third).await.is_ok());
    // Later that is somebody else.
    served.clock.advance(Duration::from_secs(11));
    let stolen = client.refresh(&served, &refresh).await;
    assert_eq!(stolen.json()["error"], "invalid_grant");
    for access in [&second, &third] {
        assert_eq!(reason(served.proxy.verify(access).await), "unknown_token");
    }
    for refresh in [&next, &same] {
        assert_eq!(client.refresh(&served, refresh).await.status, 400);
    }
}

#[tokio::test]
async fn without_leeway_a_refresh_token_is_good_once() {
    let ground = Ground::new();
    let change = |config: &mut fastmcp_auth::proxy::OAuthProxyConfig| {
        config.lifetimes.refresh_leeway = Duration::ZERO;
    };
    let (_, served) = github(&ground, change).await;
    let client = Client::register(&served, REDIRECT).await;
    let (_, refresh) = logged_in(&served, &client).await;
    tokens(&client.refresh(&served, &refresh).await);
    assert_eq!(client.refresh(&served, &refresh).await.status, 400);
}

#[tokio::test]
async fn a_refresh_token_is_of_its_client_and_only_narrows() {
    let (_, _, served, client) = world().await;
    let url = client.asks(&served, &[("scope", "repo read:user")]);
    let answer = Browser::default().log_in(&served, &url).await;
    let (access, refresh) = tokens(&client.redeem(&served, &answer["code"], &[]).await);
    let thief = Client::register(&served, REDIRECT).await;
    assert_eq!(thief.refresh(&served, &refresh).await.status, 400);
    // An access token is no refresh token.
    assert_eq!(client.refresh(&served, &access).await.status, 400);
    let token = format!("{}/token", served.url);
    let ask = |scope: &'static str| {
        let pairs = [
            ("grant_type", "refresh_token"),
            ("client_id", client.id.as_str()),
            ("refresh_token", refresh.as_str()),
            ("scope", scope),
        ];
        let token = token.clone();
        async move { post(&token, &pairs).await }
    };
    assert_eq!(ask("admin:org").await.json()["error"], "invalid_scope");
    let (narrow, _) = tokens(&ask("read:user").await);
    let caller = served.proxy.verify(&narrow).await.unwrap();
    assert!(caller.has_scope("read:user") && !caller.has_scope("repo"));
}

#[tokio::test]
async fn what_is_taken_back_is_over_here_and_there() {
    let ground = Ground::new();
    let provider = IdentityProvider::start(ground.clock.clone()).await;
    let url = provider.url();
    let served = ground
        .serve(async |base, backing| {
            let client = (
                crate::identity_provider::CLIENT,
                crate::identity_provider::SECRET.into(),
            );
            let discord = fastmcp_auth::provider::DiscordProvider::new(client, base).at(&url);
            discord.config(&backing).unwrap()
        })
        .await;
    let client = Client::register(&served, REDIRECT).await;
    let revoke = format!("{}/revoke", served.url);
    for by in ["access", "refresh"] {
        let (access, refresh) = logged_in(&served, &client).await;
        let token = if by == "access" { &access } else { &refresh };
        let other = Client::register(&served, REDIRECT).await;
        let seen = post(&revoke, &[("token", token), ("client_id", &other.id)]).await;
        assert_eq!(seen.status, 200);
        assert!(
            served.proxy.verify(&access).await.is_ok(),
            "only its client may"
        );
        let seen = post(&revoke, &[("token", token), ("client_id", &client.id)]).await;
        assert_eq!(seen.status, 200);
        assert_eq!(reason(served.proxy.verify(&access).await), "unknown_token");
        assert_eq!(client.refresh(&served, &refresh).await.status, 400);
    }
    assert_eq!(provider.revoked(), 2, "with its own token");
    let asked = provider.host.asked("/api/oauth2/token/revoke");
    assert!(asked[0].form()["token"].starts_with("upstream-refresh-"));
    let seen = post(&revoke, &[("token", "unknown"), ("client_id", &client.id)]).await;
    assert_eq!(seen.status, 200, "a token that is none is none any more");
}

#[tokio::test]
async fn only_tokens_of_the_proxy_for_this_server_let_anybody_in() {
    let (ground, provider, served, client) = world().await;
    let (access, refresh) = logged_in(&served, &client).await;
    for token in [provider.access_tokens()[0].as_str(), &refresh, "", "x.y.z"] {
        assert!(served.proxy.verify(token).await.is_err(), "{token}");
    }
    // Another server with the same keys and the same store.
    let (_, other) = github(&ground, |_| {}).await;
    assert_eq!(reason(other.proxy.verify(&access).await), "issuer");
    // The same issuer, but another resource.
    let base = served.url.clone();
    let (_, elsewhere) = github(&ground, move |config| {
        config.base_url = base;
        config.resource_path = "/other".to_owned();
    })
    .await;
    assert_eq!(reason(elsewhere.proxy.verify(&access).await), "audience");
    // Other keys.
    let (_, stranger) = github(&Ground::new(), |_| {}).await;
    assert!(stranger.proxy.verify(&access).await.is_err());
    let nobody = fastmcp_auth::Caller::anonymous();
    let token = served.proxy.upstream_token(&nobody).await;
    assert!(matches!(token, Err(UpstreamTokenError::NotOurs)));
}

#[tokio::test]
async fn a_replica_goes_on_where_another_began() {
    let ground = Ground::new();
    let (provider, served) = github(&ground, |_| {}).await;
    let client = Client::register(&served, REDIRECT).await;
    let url = served.url.clone();
    let idp = provider.url();
    let replica = ground
        .serve(async |_, backing| {
            let client = (
                crate::identity_provider::CLIENT,
                crate::identity_provider::SECRET.into(),
            );
            let github = fastmcp_auth::provider::GitHubProvider::new(client, &url);
            github
                .enterprise(idp)
                .required_scopes(["read:user"])
                .config(&backing)
                .unwrap()
        })
        .await;
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    let (access, refresh) = tokens(&client.redeem(&replica, &answer["code"], &[]).await);
    assert!(served.proxy.verify(&access).await.is_ok());
    assert!(replica.proxy.verify(&access).await.is_ok());
    tokens(&client.refresh(&replica, &refresh).await);
    served.clock.advance(Duration::from_secs(11));
    assert_eq!(client.refresh(&served, &refresh).await.status, 400);
    assert!(replica.proxy.verify(&access).await.is_err());
}

#[tokio::test]
async fn what_the_store_holds_shows_nothing() {
    use fastmcp_store::{Collection, KeyValueStore as _, Page};
    let (ground, provider, served, client) = world().await;
    let (access, _) = logged_in(&served, &client).await;
    let secrets = [
        provider.access_tokens()[0].clone(),
        access,
        "583231".to_owned(),
    ];
    let mut found = 0;
    for name in [
        "oauth-proxy.logins",
        "oauth-proxy.codes",
        "oauth-proxy.sessions",
        "oauth-proxy.people",
    ] {
        let collection = Collection::new(name).unwrap();
        let page = Page {
            after: None,
            limit: 100.try_into().unwrap(),
        };
        for key in ground.store.scan(&collection, "", page).await.unwrap() {
            let value = ground.store.get(&collection, &key).await.unwrap().unwrap();
            let shown = String::from_utf8_lossy(&value);
            assert!(secrets.iter().all(|secret| !shown.contains(secret)));
            found += 1;
        }
    }
    assert_eq!(
        found, 4,
        "a used login, a spent code, a session and the list of a person's"
    );
}

#[tokio::test]
async fn upstream_tokens_are_renewed_once_however_many_call() {
    let (_, provider, served, client) = world().await;
    provider.now_it(|it| it.expires_in = Some(300));
    let (access, _) = logged_in(&served, &client).await;
    let before = provider.access_tokens();
    served.clock.advance(Duration::from_secs(250));
    let calls = (0..16).map(|_| served.proxy.verify(&access));
    for caller in futures_util::future::join_all(calls).await {
        assert_eq!(caller.unwrap().subject(), "583231");
    }
    let asked = provider.host.asked("/login/oauth/access_token");
    let renewed = asked
        .iter()
        .filter(|asked| asked.form()["grant_type"] == "refresh_token");
    assert_eq!(renewed.count(), 1);
    let caller = served.proxy.verify(&access).await.unwrap();
    let token = served.proxy.upstream_token(&caller).await.unwrap();
    assert_ne!(token.expose_secret(), before[0]);
}

#[tokio::test]
async fn while_the_identity_provider_is_away_sessions_last_as_long_as_their_tokens() {
    let (_, provider, served, client) = world().await;
    provider.now_it(|it| it.expires_in = Some(300));
    let (access, refresh) = logged_in(&served, &client).await;
    provider.now_it(|it| it.broken = true);
    served.clock.advance(Duration::from_secs(250));
    assert!(served.proxy.verify(&access).await.is_ok());
    served.clock.advance(Duration::from_secs(51));
    assert_eq!(reason(served.proxy.verify(&access).await), "unavailable");
    let seen = client.refresh(&served, &refresh).await;
    assert_eq!(seen.status, 503);
    assert!(seen.headers.contains_key("retry-after"));
    provider.now_it(|it| it.broken = false);
    assert!(served.proxy.verify(&access).await.is_ok());
}

#[tokio::test]
async fn what_the_identity_provider_takes_back_ends_here() {
    let (_, provider, served, client) = world().await;
    // An access token that does not end is asked about again.
    let (access, _) = logged_in(&served, &client).await;
    provider.forget_all();
    served.clock.advance(Duration::from_secs(61));
    assert_eq!(reason(served.proxy.verify(&access).await), "unknown_token");
    // A refresh token that is refused ends the session.
    provider.now_it(|it| it.expires_in = Some(300));
    let (access, refresh) = logged_in(&served, &client).await;
    provider.forget_all();
    served.clock.advance(Duration::from_secs(250));
    assert_eq!(client.refresh(&served, &refresh).await.status, 400);
    assert_eq!(reason(served.proxy.verify(&access).await), "unknown_token");
}

#[tokio::test]
async fn tokens_end_with_what_cannot_be_renewed() {
    let (_, provider, served, client) = world().await;
    provider.now_it(|it| {
        it.expires_in = Some(300);
        it.refreshes = false;
    });
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    let seen = client.redeem(&served, &answer["code"], &[]).await;
    assert_eq!(seen.json()["expires_in"], 300);
    assert!(seen.json().get("refresh_token").is_none());
    let (access, _) = tokens(&seen);
    served.clock.advance(Duration::from_secs(301));
    assert!(served.proxy.verify(&access).await.is_err());
}

#[tokio::test]
async fn scopes_that_are_needed_must_be_granted() {
    let (_, provider, served, client) = world().await;
    provider.now_it(|it| it.scope = Some("repo".to_owned()));
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    assert_eq!(answer["error"], "access_denied");
    // A wider scope contains the one that is needed, and what was not granted is not in the token.
    provider.now_it(|it| it.scope = Some("user,gist".to_owned()));
    let url = client.asks(&served, &[("scope", "repo")]);
    let answer = Browser::default().log_in(&served, &url).await;
    let seen = client.redeem(&served, &answer["code"], &[]).await;
    assert_eq!(seen.json()["scope"], "read:user");
}

#[tokio::test]
async fn failures_of_the_identity_provider_reach_the_client_without_details() {
    let (_, provider, served, client) = world().await;
    provider.now_it(|it| it.broken = true);
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    assert_eq!(answer["error"], "temporarily_unavailable");
    assert_eq!(answer["state"], "the-clients-state");
}

#[tokio::test]
async fn who_is_not_admitted_is_not_let_in() {
    let ground = Ground::new();
    let (provider, served) = github(&ground, |config| {
        config.admit = Some(Arc::new(|claims| claims["sub"] == "583231"));
    })
    .await;
    let client = Client::register(&served, REDIRECT).await;
    logged_in(&served, &client).await;
    provider.now_it(|it| it.user = "666");
    let answer = Browser::default()
        .log_in(&served, &client.asks(&served, &[]))
        .await;
    assert_eq!(answer["error"], "access_denied");
}

/// Agrees, and logs in at the identity provider; what is left is to follow the link back.
async fn on_the_way_back(served: &Served, client: &Client, browser: &Browser) -> String {
    let page = browser.get(&client.asks(served, &[])).await;
    let sent = browser.decide(served, &page, "allow").await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let back = send(Request::get(sent.location()).body(Bytes::new()).unwrap()).await;
    back.location().to_owned()
}

/// A browser with the cookies of another.
fn copy(browser: &Browser) -> Browser {
    let cookies = browser.cookies.lock().unwrap().clone();
    Browser {
        cookies: cookies.into(),
    }
}

#[tokio::test]
async fn logins_under_way_leave_room_for_everybody() {
    let (ground, _, served, client) = world().await;
    for _ in 0..50 {
        on_the_way_back(&served, &client, &Browser::default()).await;
    }
    assert_eq!(ground.store.usage().entries, 0, "nothing is kept of them");
    logged_in(&served, &client).await;
    // One browser keeps the last few, and finishes them in any order.
    let browser = Browser::default();
    let mut back = Vec::new();
    for _ in 0..6 {
        back.push(on_the_way_back(&served, &client, &browser).await);
    }
    let logins = || {
        let jar = browser.cookies.lock().unwrap();
        let logins = jar.iter().filter(|(name, _)| name.contains("-login-"));
        logins.filter(|(_, value)| !value.is_empty()).count()
    };
    assert!((1..=4).contains(&logins()), "{}", logins());
    assert_eq!(browser.get(&back[5]).await.status, 303);
    let before = logins();
    assert_eq!(browser.get(&back[5]).await.status, 403);
    assert_eq!(logins(), before);
    // As long as they may be.
    let long = "s".repeat(2_048);
    let asked = client.asks(&served, &[("state", &long)]);
    let answer = browser.log_in(&served, &asked).await;
    assert_eq!(answer["state"], long);
    for _ in 0..6 {
        let page = browser.get(&asked).await;
        if page.status == 200 {
            assert_eq!(browser.decide(&served, &page, "allow").await.status, 303);
        }
        let jar = browser.cookies.lock().unwrap();
        let logins = jar.iter().filter(|(name, _)| name.contains("-login-"));
        let bytes: usize = logins.map(|(_, value)| value.len()).sum();
        assert!(bytes <= 13_000, "{bytes}");
    }
}

#[tokio::test]
async fn a_login_that_was_used_is_over_whoever_holds_its_cookie() {
    let ground = Ground::new();
    let (provider, served) = github(&ground, |_| {}).await;
    let client = Client::register(&served, REDIRECT).await;
    let (url, idp) = (served.url.clone(), provider.url());
    let replica = ground
        .serve(async |_, backing| {
            let client = (
                crate::identity_provider::CLIENT,
                crate::identity_provider::SECRET.into(),
            );
            let github = fastmcp_auth::provider::GitHubProvider::new(client, &url);
            let github = github.enterprise(idp).required_scopes(["read:user"]);
            github.network(network()).config(&backing).unwrap()
        })
        .await;
    let browser = Browser::default();
    let back = on_the_way_back(&served, &client, &browser).await;
    let thief = copy(&browser);
    assert_eq!(browser.get(&back).await.status, 303);
    let redeemed = provider.host.asked("/login/oauth/access_token").len();
    assert_eq!(thief.get(&back).await.status, 403);
    let elsewhere = back.replacen(&served.url, &replica.url, 1);
    assert_eq!(thief.get(&elsewhere).await.status, 403);
    // A login that came to nothing is over too: no code is tried after another.
    let back = on_the_way_back(&served, &client, &browser).await;
    let thief = copy(&browser);
    let (before, _) = back.split_once("code=").unwrap();
    let (_, state) = back.split_once("state=").unwrap();
    let state = state.split('&').next().unwrap();
    let callback = before.split('?').next().unwrap();
    let junk = format!("{callback}?code=junk&state={state}");
    let failed = browser.get(&junk).await;
    assert_eq!(query(failed.location())["error"], "server_error");
    assert_eq!(thief.get(&back).await.status, 403);
    let asked = provider.host.asked("/login/oauth/access_token").len();
    assert_eq!(asked, redeemed + 1);
    // The cookie of one login is nothing to another.
    let first = on_the_way_back(&served, &client, &browser).await;
    let other = Browser::default();
    on_the_way_back(&served, &client, &other).await;
    let mixed = copy(&other);
    let logins = browser.cookies.lock().unwrap().clone();
    let logins = logins
        .into_iter()
        .filter(|(name, _)| name.contains("-login-"));
    mixed.cookies.lock().unwrap().extend(logins);
    assert_eq!(mixed.get(&first).await.status, 403);
}

#[tokio::test]
async fn a_person_has_a_bounded_number_of_sessions() {
    let ground = Ground::new();
    let (provider, served) = github(&ground, |config| config.max_sessions = 2).await;
    let client = Client::register(&served, REDIRECT).await;
    let (first_access, first) = logged_in(&served, &client).await;
    served.clock.advance(Duration::from_secs(20));
    let (second_access, _) = logged_in(&served, &client).await;
    served.clock.advance(Duration::from_secs(20));
    // The one that was not refreshed for the longest time goes, not the one that began first.
    let (_, first) = tokens(&client.refresh(&served, &first).await);
    let (third_access, _) = logged_in(&served, &client).await;
    assert_eq!(
        reason(served.proxy.verify(&second_access).await),
        "unknown_token"
    );
    for alive in [&first_access, &third_access] {
        assert!(served.proxy.verify(alive).await.is_ok());
    }
    // Somebody else's are not counted.
    provider.now_it(|it| it.user = "4711");
    let (other, _) = logged_in(&served, &client).await;
    assert!(served.proxy.verify(&other).await.is_ok());
    // One that was taken back makes room.
    provider.now_it(|it| it.user = "583231");
    let revoked = [("token", first.as_str()), ("client_id", client.id.as_str())];
    post(&format!("{}/revoke", served.url), &revoked).await;
    let (fourth_access, _) = logged_in(&served, &client).await;
    for alive in [&third_access, &fourth_access] {
        assert!(served.proxy.verify(alive).await.is_ok());
    }
}

#[tokio::test]
async fn a_session_whose_tokens_have_no_end_has_one() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (_, _, served, client) = world().await;
    let (_, mut refresh) = logged_in(&served, &client).await;
    for _ in 0..4 {
        served.clock.advance(20 * DAY);
        (_, refresh) = tokens(&client.refresh(&served, &refresh).await);
    }
    served.clock.advance(10 * DAY - Duration::from_secs(60));
    let last = client.refresh(&served, &refresh).await;
    assert_eq!(last.json()["expires_in"], 60);
    let (access, refresh) = tokens(&last);
    assert!(served.proxy.verify(&access).await.is_ok());
    served.clock.advance(Duration::from_secs(61));
    assert!(served.proxy.verify(&access).await.is_err());
    assert_eq!(client.refresh(&served, &refresh).await.status, 400);
}

#[tokio::test]
async fn an_operator_says_where_answers_may_go() {
    let ground = Ground::new();
    let (_, served) = github(&ground, |config| {
        let rules = RedirectRules::new().allow("https://*.acme.example/callback");
        config.redirect_uris = rules.unwrap();
    })
    .await;
    Client::register(&served, "https://a.acme.example/callback").await;
    let seen = register(&served, &json!({"redirect_uris": [WEB]})).await;
    assert_eq!(seen.json()["error"], "invalid_redirect_uri");
}

/// A host that publishes documents of clients.
async fn documents(change: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Host {
    let (listener, url) = Host::bind().await;
    Host::serve(
        listener,
        Box::new(move |asked| {
            let id = format!("{url}{}", asked.path);
            let mut document = json!({
                "client_id": id, "client_name": "Described", "redirect_uris": [REDIRECT],
                "token_endpoint_auth_method": "none",
            });
            change(&asked.path, &mut document);
            let answer = match asked.path.as_str() {
                "/moved.json" => Answer::redirect(&format!("{url}/client.json")),
                "/large.json" => Answer::json(200, &json!({"x": "y".repeat(40_000)})),
                _ => Answer::json(200, &document),
            };
            Box::pin(async move { answer })
        }),
    )
}

#[tokio::test]
async fn a_client_can_be_described_by_a_document() {
    let (_, _, served, _) = world().await;
    let host = documents(|path, document| match path {
        "/other.json" => document["client_id"] = "https://other.example/client.json".into(),
        "/secret.json" => document["token_endpoint_auth_method"] = "client_secret_basic".into(),
        "/nowhere.json" => document["redirect_uris"] = json!([]),
        _ => {}
    })
    .await;
    let client = |path: &str| Client {
        id: format!("{}{path}", host.url),
        redirect_uri: REDIRECT.to_owned(),
    };
    let good = client("/client.json");
    let page = Browser::default().get(&good.asks(&served, &[])).await;
    assert!(
        page.body.contains("Described") && page.body.contains("published by"),
        "{page:?}"
    );
    let (access, refresh) = logged_in(&served, &good).await;
    let caller = served.proxy.verify(&access).await.unwrap();
    assert_eq!(caller.client_id(), Some(good.id.as_str()));
    tokens(&good.refresh(&served, &refresh).await);
    assert_eq!(
        host.asked("/client.json").len(),
        1,
        "it is kept for a while"
    );
    for path in [
        "/other.json",
        "/secret.json",
        "/nowhere.json",
        "/moved.json",
        "/large.json",
        "/a/../client.json",
        "/",
        "",
    ] {
        let seen = Browser::default()
            .get(&client(path).asks(&served, &[]))
            .await;
        assert_eq!(seen.status, 400, "{path}");
    }
}

#[tokio::test]
async fn documents_that_do_not_come_keep_nobody_waiting() {
    let (_, _, served, _) = world().await;
    let (listener, _) = Host::bind().await;
    let silent = Host::serve(listener, Box::new(|_| Box::pin(std::future::pending())));
    let host = documents(|_, _| {}).await;
    let client = |host: &Host, at: usize| Client {
        id: format!("{}/client-{at}.json", host.url),
        redirect_uri: REDIRECT.to_owned(),
    };
    let slow = (0..20).map(|at| {
        let asks = client(&silent, at).asks(&served, &[]);
        async move { Browser::default().get(&asks).await.status }
    });
    let slow = futures_util::future::join_all(slow);
    let honest = async {
        let all_there = async {
            while silent.paths().len() < 8 {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), all_there).await;
        waited.expect("they were asked");
        Browser::default()
            .get(&client(&host, 1).asks(&served, &[]))
            .await
    };
    let (slow, page) = tokio::join!(slow, honest);
    assert_eq!(page.status, 200, "{page:?}");
    assert!(slow.into_iter().all(|status| status == 503));
}

#[tokio::test]
async fn documents_of_inner_networks_are_not_fetched() {
    use fastmcp_auth::oauth::NetworkConfig;
    use fastmcp_auth::proxy::OAuthProxy;
    let ground = Ground::new();
    let host = documents(|_, _| {}).await;
    let provider = IdentityProvider::start(ground.clock.clone()).await;
    let client = (
        crate::identity_provider::CLIENT,
        crate::identity_provider::SECRET.into(),
    );
    let github = fastmcp_auth::provider::GitHubProvider::new(client, "http://127.0.0.1:1");
    let mut config = github
        .enterprise(provider.url())
        .config(&ground.backing())
        .unwrap();
    config.network = NetworkConfig::public();
    let proxy = OAuthProxy::new(config, ground.backing()).unwrap();
    for id in [
        format!("{}/client.json", host.url),
        host.url.replace("http:", "https:") + "/client.json",
        "https://169.254.169.254/latest".to_owned(),
        "https://[::1]/client.json".to_owned(),
    ] {
        let query = crate::browser::form(&[("client_id", &id), ("redirect_uri", REDIRECT)]);
        let uri = format!("http://127.0.0.1:1/authorize?{query}");
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        let endpoint = fastmcp_auth::proxy::Endpoint::Authorize;
        assert_eq!(proxy.answer(endpoint, request).await.status(), 400, "{id}");
    }
    assert!(host.paths().is_empty());
}

#[tokio::test]
async fn the_token_endpoint_refuses_what_it_does_not_know() {
    let (_, _, served, client) = world().await;
    let token = format!("{}/token", served.url);
    for (pairs, error) in [
        (vec![], "invalid_request"),
        (
            vec![("grant_type", "authorization_code")],
            "invalid_request",
        ),
        (
            vec![("grant_type", "password"), ("client_id", "x")],
            "unsupported_grant_type",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", "x"),
                ("refresh_token", "y"),
            ],
            "invalid_grant",
        ),
        (
            vec![
                ("grant_type", "authorization_code"),
                ("client_id", &client.id),
                ("code", "unknown"),
            ],
            "invalid_grant",
        ),
    ] {
        let seen = post(&token, &pairs).await;
        assert_eq!(seen.status, 400, "{pairs:?}");
        assert_eq!(seen.json()["error"], error, "{pairs:?}");
    }
    let json = Request::post(&token).header("content-type", "application/json");
    assert_eq!(
        send(json.body(Bytes::from("{}")).unwrap()).await.status,
        400
    );
    let large = "x".repeat(40_000);
    let seen = post(&token, &[("grant_type", &large)]).await;
    assert_eq!(seen.status, 413);
}
