//! A proxy behind a real socket, and browsers that use it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastmcp_auth::oauth::NetworkConfig;
use fastmcp_auth::proxy::{Backing, Endpoint, OAuthProxy, OAuthProxyConfig, ProxyKeys};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use fastmcp_guard::http::{AllowedHost, Config, UrlFetcher};
use fastmcp_store::{MemoryLimits, MemoryStore};
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::identity_provider::IdentityProvider;

/// An answer, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn location(&self) -> &str {
        let location = self.headers.get(header::LOCATION);
        let location = location.unwrap_or_else(|| panic!("no redirect: {self:?}"));
        location.to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let at = self
            .body
            .find(&begin)
            .unwrap_or_else(|| panic!("no field: {self:?}"));
        let rest = &self.body[at + begin.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }
}

/// The parameters of a URL.
pub(crate) fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

fn fetcher() -> UrlFetcher {
    let hosts = vec![AllowedHost::new("127.0.0.1").unwrap()];
    UrlFetcher::new(&Config::configured(hosts)).unwrap()
}

/// Makes one request and reads its answer; redirects are answers.
pub(crate) async fn send(request: Request<Bytes>) -> Seen {
    let answer = fetcher().stream(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Seen {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

/// Posts a form, as programs do.
pub(crate) async fn post(url: &str, pairs: &[(&str, &str)]) -> Seen {
    let request = Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form(pairs)))
        .unwrap();
    send(request).await
}

/// A browser with a cookie jar for one host.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookies: Mutex<HashMap<String, String>>,
}

impl Browser {
    pub(crate) async fn get(&self, url: &str) -> Seen {
        self.send(Request::get(url).body(Bytes::new()).unwrap())
            .await
    }

    pub(crate) async fn send(&self, mut request: Request<Bytes>) -> Seen {
        let cookies: Vec<String> = {
            let jar = self.cookies.lock().unwrap();
            jar.iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        if !cookies.is_empty() {
            let cookies = cookies.join("; ").parse().unwrap();
            request.headers_mut().insert(header::COOKIE, cookies);
        }
        let seen = send(request).await;
        for cookie in seen.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = cookie.split_once('=').unwrap();
            let mut jar = self.cookies.lock().unwrap();
            jar.insert(name.to_owned(), value.to_owned());
        }
        seen
    }

    /// Sends the form of a page that asks, as a browser does.
    pub(crate) async fn decide(&self, proxy: &Served, page: &Seen, decision: &str) -> Seen {
        let sealed = page.field("request");
        self.submit(proxy, &sealed, decision, &proxy.url).await
    }

    pub(crate) async fn submit(
        &self,
        proxy: &Served,
        sealed: &str,
        decision: &str,
        origin: &str,
    ) -> Seen {
        let body = form(&[("request", sealed), ("decision", decision)]);
        let request = Request::post(format!("{}/consent", proxy.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", origin)
            .body(Bytes::from(body))
            .unwrap();
        self.send(request).await
    }

    /// Goes all the way from a page's URL to the answer for the client, agreeing to everything.
    pub(crate) async fn log_in(&self, proxy: &Served, url: &str) -> HashMap<String, String> {
        let mut seen = self.get(url).await;
        if seen.status == 200 {
            seen = self.decide(proxy, &seen, "allow").await;
        }
        assert_eq!(seen.status, 303, "{seen:?}");
        let back = send(Request::get(seen.location()).body(Bytes::new()).unwrap()).await;
        let answer = self.get(back.location()).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        query(answer.location())
    }
}

/// A proxy that is served.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) proxy: OAuthProxy,
    pub(crate) clock: Arc<ManualClock>,
}

/// What a proxy lives on in tests: keys and a store that may be shared.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) clock: Arc<ManualClock>,
    secret: [u8; 32],
    pub(crate) store: Arc<MemoryStore>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
            1_800_000_000,
        )));
        let store = MemoryStore::new(MemoryLimits::default(), clock.clone()).unwrap();
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).unwrap();
        Self {
            clock,
            secret,
            store: Arc::new(store),
        }
    }

    pub(crate) fn backing(&self) -> Backing {
        let keys = ProxyKeys::new(&[self.secret]).unwrap();
        Backing::new(keys, self.store.clone()).with_clock(self.clock.clone())
    }

    /// Serves what `make` makes of the URL that it will have.
    pub(crate) async fn serve(
        &self,
        make: impl AsyncFnOnce(&str, Backing) -> OAuthProxyConfig,
    ) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut config = make(&url, self.backing()).await;
        config.network = config.network.allow_loopback();
        let proxy = OAuthProxy::new(config, self.backing()).unwrap();
        listen(listener, proxy.clone());
        Served {
            url,
            proxy,
            clock: self.clock.clone(),
        }
    }
}

/// How the settings of a test reach everything on this machine.
pub(crate) fn network() -> NetworkConfig {
    NetworkConfig::public().allow_loopback()
}

fn listen(listener: TcpListener, proxy: OAuthProxy) {
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = proxy.clone();
            let service = service_fn(move |request| answered(proxy.clone(), request));
            connections.spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answered(
    proxy: OAuthProxy,
    request: Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path();
    let mut endpoints = Endpoint::ALL.into_iter();
    let Some(endpoint) = endpoints.find(|endpoint| proxy.path(*endpoint) == path) else {
        let nothing = http::Response::builder().status(404);
        return Ok(nothing.body(Full::default()).unwrap());
    };
    let answer = proxy.answer(endpoint, Request::from_parts(head, body));
    Ok(answer.await.map(Full::new))
}

/// An MCP client that registered itself.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) redirect_uri: String,
}

pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B: the challenge of that verifier.
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

impl Client {
    pub(crate) async fn register(proxy: &Served, redirect_uri: &str) -> Self {
        let body = serde_json::json!({
            "client_name": "Editor", "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
        });
        let seen = register(proxy, &body).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        Self {
            id: seen.json()["client_id"].as_str().unwrap().to_owned(),
            redirect_uri: redirect_uri.to_owned(),
        }
    }

    /// The URL that it sends people to, with parameters changed; an empty value takes one out.
    pub(crate) fn asks(&self, proxy: &Served, changes: &[(&str, &str)]) -> String {
        let resource = format!("{}/mcp", proxy.url);
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "the-clients-state"),
            ("resource", &resource),
        ];
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        format!("{}/authorize?{}", proxy.url, form(&parameters))
    }

    /// Redeems a code, with parameters changed.
    pub(crate) async fn redeem(
        &self,
        proxy: &Served,
        code: &str,
        changes: &[(&str, &str)],
    ) -> Seen {
        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("code", code),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name, value));
        }
        post(&format!("{}/token", proxy.url), &parameters).await
    }

    pub(crate) async fn refresh(&self, proxy: &Served, token: &str) -> Seen {
        let parameters = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.id),
            ("refresh_token", token),
        ];
        post(&format!("{}/token", proxy.url), &parameters).await
    }
}

pub(crate) async fn register(proxy: &Served, body: &Value) -> Seen {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/register", proxy.url))
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    send(request).await
}

/// Access and refresh token of an answer.
pub(crate) fn tokens(seen: &Seen) -> (String, String) {
    assert_eq!(seen.status, 200, "{seen:?}");
    let body = seen.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("access_token"), text("refresh_token"))
}

/// An identity provider that GitHub's provider takes for GitHub, and a proxy in front of it.
pub(crate) async fn github(
    ground: &Ground,
    change: impl FnOnce(&mut OAuthProxyConfig),
) -> (IdentityProvider, Served) {
    let provider = IdentityProvider::start(ground.clock.clone()).await;
    let url = provider.url();
    let served = ground
        .serve(async |base, backing| {
            let github = fastmcp_auth::provider::GitHubProvider::new(
                (
                    crate::identity_provider::CLIENT,
                    crate::identity_provider::SECRET.into(),
                ),
                base,
            );
            let github = github.enterprise(url).required_scopes(["read:user"]);
            let mut config = github
                .scopes(["repo"])
                .network(network())
                .config(&backing)
                .unwrap();
            change(&mut config);
            config
        })
        .await;
    (provider, served)
}
