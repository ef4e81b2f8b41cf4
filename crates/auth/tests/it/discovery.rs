//! Where tokens are to be had, and where they are not.

use fastmcp_auth::oauth::{NetworkConfig, OAuthClient, OAuthError};
use serde_json::json;

use crate::authorization_server::{AuthorizationServer, Rules};
use crate::host::{Answer, Host};
use crate::resource;
use crate::world::{World, person};

const ROOT: &str = "/.well-known/oauth-protected-resource";

#[tokio::test]
async fn every_place_of_metadata_is_found_and_no_other_is_asked_before_it() {
    let at_path = "/.well-known/oauth-protected-resource/mcp";
    for (metadata_at, names_metadata, issuer_path, server_at, resource_asked, server_asked) in [
        (
            at_path,
            true,
            "",
            "/.well-known/oauth-authorization-server",
            vec![at_path],
            1,
        ),
        (
            at_path,
            false,
            "",
            "/.well-known/openid-configuration",
            vec![at_path],
            2,
        ),
        (
            ROOT,
            false,
            "/tenant1",
            "/.well-known/oauth-authorization-server/tenant1",
            vec![at_path, ROOT],
            1,
        ),
        (
            at_path,
            true,
            "/tenant1",
            "/.well-known/openid-configuration/tenant1",
            vec![at_path],
            2,
        ),
        (
            "/custom/metadata.json",
            true,
            "/tenant1",
            "/tenant1/.well-known/openid-configuration",
            vec!["/custom/metadata.json"],
            3,
        ),
    ] {
        let server = Rules {
            issuer_path,
            metadata_at: server_at,
            ..Rules::default()
        };
        let resource = resource::Rules {
            metadata_at: Some(metadata_at),
            names_metadata,
            ..resource::Rules::default()
        };
        let world = World::start(server, resource).await;
        assert_eq!(
            world.ask(&world.client(), "tools/list").await.unwrap(),
            200,
            "{server_at}"
        );

        let mut asked = world.resource.host.paths();
        asked.retain(|path| path != "/mcp");
        assert_eq!(asked, resource_asked);
        let well_known: Vec<String> = world.server.host.paths();
        let well_known = well_known
            .iter()
            .filter(|path| path.contains(".well-known"));
        let well_known: Vec<&String> = well_known.collect();
        assert_eq!(well_known.len(), server_asked, "{well_known:?}");
        if !issuer_path.is_empty() {
            assert!(
                well_known.iter().all(|path| path.contains(issuer_path)),
                "{well_known:?}"
            );
        }
    }
}

#[tokio::test]
async fn identifiers_are_sent_as_they_came() {
    let at_root = resource::Rules {
        metadata_at: Some(ROOT),
        names_metadata: false,
        ..resource::Rules::default()
    };
    let world = World::start(Rules::default(), at_root).await;
    world.ask(&world.client(), "tools/list").await.unwrap();
    let origin = world.resource.url.strip_suffix("/mcp").unwrap();
    let asked = world.server.host.asked("/authorize").remove(0);
    assert_eq!(asked.query["resource"], origin, "no slash is added");
    assert_eq!(
        world.server.host.asked("/token")[0].form()["resource"],
        origin
    );
}

#[tokio::test]
async fn metadata_for_another_resource_ends_it() {
    for resource in ["https://evil.example/mcp", "http://127.0.0.1:1/mcp", ""] {
        let rules = resource::Rules {
            metadata: json!({"resource": resource}),
            ..resource::Rules::default()
        };
        let world = World::start(Rules::default(), rules).await;
        let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
        assert!(
            matches!(error, OAuthError::ResourceMismatch { .. }),
            "{error}"
        );
        assert!(world.server.host.paths().is_empty());
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_ends_it() {
    let server = Rules::default();
    let world = World::start(server, resource::Rules::default()).await;
    for issuer in [
        "https://attacker.example".to_owned(),
        format!("{}/", world.server.issuer),
        world.server.issuer.to_uppercase(),
    ] {
        world
            .server
            .change(|rules| rules.metadata = json!({"issuer": issuer}));
        let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
        assert!(
            matches!(error, OAuthError::IssuerMismatch { .. }),
            "{error}"
        );
    }
    let paths = world.server.host.paths();
    assert!(
        paths.iter().all(|path| path.contains(".well-known")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn without_pkce_nobody_is_asked() {
    for methods in [json!(null), json!([]), json!(["plain"])] {
        let server = Rules {
            metadata: json!({"code_challenge_methods_supported": methods}),
            ..Rules::default()
        };
        let world = World::start(server, resource::Rules::default()).await;
        let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
        assert!(matches!(error, OAuthError::NoPkce { .. }), "{error}");
        assert_eq!(world.authorizations(), 0);
        assert!(world.server.host.asked("/register").is_empty());
    }
}

#[tokio::test]
async fn a_server_without_metadata_needs_a_configured_issuer() {
    let silent = resource::Rules {
        metadata_at: None,
        ..resource::Rules::default()
    };
    let world = World::start(Rules::default(), silent).await;
    let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("configure its authorization server"),
        "{error}"
    );
    let mut config = world.config(person());
    config.authorization_server = Some(world.server.issuer.clone());
    let client = OAuthClient::new(config).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
}

#[tokio::test]
async fn documents_that_cannot_be_used_name_the_member() {
    for (metadata, named) in [
        (
            json!({"authorization_servers": []}),
            "authorization_servers",
        ),
        (
            json!({"authorization_servers": ["ftp://h"]}),
            "authorization_servers",
        ),
        (
            json!({"authorization_servers": "x"}),
            "authorization_servers",
        ),
        (json!({"scopes_supported": [1]}), "scopes_supported"),
    ] {
        let rules = resource::Rules {
            metadata,
            ..resource::Rules::default()
        };
        let world = World::start(Rules::default(), rules).await;
        let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

/// A client that was not allowed to reach this machine, but for the server's own host.
fn guarded(world: &World) -> OAuthClient {
    let mut config = world.config(person());
    config.network = NetworkConfig::public();
    OAuthClient::new(config).unwrap()
}

#[tokio::test]
async fn what_others_name_is_not_asked_on_this_machine_or_in_private_networks() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    // The resource's own host is asked; the authorization server that it names on this machine is not.
    let error = world.ask(&guarded(&world), "tools/list").await.unwrap_err();
    assert!(error.to_string().contains("allow its host"), "{error}");
    assert!(world.server.host.paths().is_empty());

    for url in [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "https://localhost/x",
        "http://192.168.1.1/",
        "https://[fd00:ec2::254]/",
        "https://2130706433/",
        "file:///etc/passwd",
    ] {
        world
            .resource
            .change(|rules| rules.metadata_url = Some(url.to_owned()));
        let error = world.ask(&guarded(&world), "tools/list").await.unwrap_err();
        let OAuthError::Fetch { source, .. } = error else {
            panic!("{url}: {error}");
        };
        assert!(source.refusal().is_some(), "{url}: {source}");
    }
    // This machine may be allowed; the local link never is by that.
    world
        .resource
        .change(|rules| rules.metadata_url = Some("http://169.254.169.254/".to_owned()));
    let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
    assert!(matches!(error, OAuthError::Fetch { .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_of_metadata_is_judged_like_a_url() {
    let (listener, _) = Host::bind().await;
    let victim = Host::serve(
        listener,
        Box::new(|_| Box::pin(async { Answer::status(200) })),
    );
    let (listener, url) = Host::bind().await;
    let to = format!("{}/secret", victim.url);
    let server_url = format!("{url}/mcp");
    let _redirecting = Host::serve(
        listener,
        Box::new(move |_| {
            let to = to.clone();
            Box::pin(async move { Answer::redirect(&to) })
        }),
    );
    let server = AuthorizationServer::start(Rules::default()).await;
    let mut world = World::start(Rules::default(), resource::Rules::default()).await;
    world.server = server;
    let mut config = world.config(person());
    config.server_url = server_url.clone();
    config.network = NetworkConfig::public();
    let client = OAuthClient::new(config).unwrap();
    let refusal = fastmcp_auth::oauth::Refusal {
        status: 401,
        headers: &http::HeaderMap::new(),
        url: &server_url,
        operation: "tools/list",
        sent: None,
    };
    let error = client.challenged(refusal).await.unwrap_err();
    assert!(
        matches!(&error, OAuthError::Fetch { source, .. } if source.refusal().is_some()),
        "{error}"
    );
    assert!(victim.paths().is_empty());
}

#[tokio::test]
async fn endpoints_of_metadata_are_judged_too() {
    for (member, url) in [
        ("token_endpoint", "http://10.0.0.1/token"),
        ("registration_endpoint", "https://169.254.169.254/register"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "file:///x"),
        ("token_endpoint", "https://user:secret@h/token"),
    ] {
        let server = Rules {
            metadata: json!({member: url}),
            ..Rules::default()
        };
        let world = World::start(server, resource::Rules::default()).await;
        let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
        assert!(error.to_string().contains(member), "{error}");
        assert_eq!(world.authorizations(), 0);
    }
}
