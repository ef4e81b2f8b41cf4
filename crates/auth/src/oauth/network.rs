//! How this client reaches metadata, registration and token endpoints, whose URLs others name.
//!
//! Public hosts are reached over `https` alone, and only at public addresses. Hosts that the operator names, and the
//! host of the MCP server itself, may also be on this machine or in a private network, and may speak `http`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastmcp_guard::http::{
    AllowedHost, Config, FetchError, Ports, Refusal, Resolver, Response, Schemes, SystemResolver,
    Trust, UrlFetcher,
};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use tokio_util::task::TaskTracker;
use url::Url;

use super::error::OAuthError;
use super::identifier;
use crate::error::ConfigError;

/// Most bytes of a document or an answer.
const MAX_BYTES: usize = 256 * 1024;

/// Most redirects that a document may be behind.
const MAX_REDIRECTS: u8 = 3;

/// The names of this machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whom this client may ask.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    hosts: Vec<AllowedHost>,
    trust: Trust,
    resolver: Arc<dyn Resolver>,
    timeout: Duration,
    tasks: TaskTracker,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::public()
    }
}

impl NetworkConfig {
    /// Public hosts over `https`, and the MCP server's own host.
    #[must_use]
    pub fn public() -> Self {
        Self {
            hosts: Vec::new(),
            trust: Trust::default(),
            resolver: Arc::new(SystemResolver),
            timeout: Duration::from_secs(15),
            tasks: TaskTracker::new(),
        }
    }

    /// Allows a host wherever it is, over `http` too: an authorization server in the company's network.
    #[must_use]
    pub fn allow_host(mut self, host: AllowedHost) -> Self {
        self.hosts.push(host);
        self
    }

    /// Allows everything on this machine, over `http` too: for development and tests. An MCP server could then make
    /// this client send requests to any port of this machine.
    #[must_use]
    pub fn allow_loopback(mut self) -> Self {
        // These names parse.
        let names = LOOPBACK
            .iter()
            .filter_map(|name| AllowedHost::new(name).ok());
        self.hosts.extend(names);
        self
    }

    /// Trusts these certificates; default Mozilla's roots.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Looks up names with `resolver`; default the operating system.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Gives each request that much time, above zero and at most 1 hour; default 15 s.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs connections and token requests where their owner can wait for them.
    #[must_use]
    pub fn with_tasks(mut self, tasks: TaskTracker) -> Self {
        self.tasks = tasks;
        self
    }

    fn complete(&self, mut config: Config, redirects: u8) -> Config {
        config.trust = self.trust.clone();
        config.resolver = Arc::clone(&self.resolver);
        config.connect_timeout = self.timeout.min(Duration::from_secs(5));
        config.total_timeout = self.timeout;
        config.max_bytes = MAX_BYTES;
        config.max_redirects = redirects;
        config.tasks = self.tasks.clone();
        config
    }
}

/// The guarded way out.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    public: UrlFetcher,
    named: UrlFetcher,
    tasks: TaskTracker,
}

impl Network {
    /// A way out for the client of `server`.
    pub(crate) fn new(config: &NetworkConfig, server: Option<&Url>) -> Result<Self, OAuthError> {
        Self::with(config, server, MAX_REDIRECTS)
    }

    /// The same, whose documents may be behind as many redirects.
    pub(crate) fn with(
        config: &NetworkConfig,
        server: Option<&Url>,
        redirects: u8,
    ) -> Result<Self, OAuthError> {
        let unfit = |error: FetchError| {
            OAuthError::Config(ConfigError::Unfit {
                field: "network",
                value: error.to_string(),
                problem: "cannot be used",
            })
        };
        let mut hosts = config.hosts.clone();
        if let Some(server) = server {
            hosts.push(AllowedHost::of_url(server).map_err(unfit)?);
        }
        let mut public = config.complete(Config::public(), redirects);
        public.schemes = Schemes::HttpsOnly;
        public.ports = Ports::Any;
        let named = config.complete(Config::configured(hosts), redirects);
        Ok(Self {
            public: UrlFetcher::new(&public).map_err(unfit)?,
            named: UrlFetcher::new(&named).map_err(unfit)?,
            tasks: config.tasks.clone(),
        })
    }

    pub(crate) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn fetcher(&self, url: &Url) -> &UrlFetcher {
        if self.named.check(url).is_ok() {
            &self.named
        } else {
            &self.public
        }
    }

    /// Judges a URL that a person is to be sent to, by its text.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refusal> {
        self.fetcher(url).check(url)
    }

    /// Gets a JSON document; `None` if there is none (a status of 400 to 499).
    pub(crate) async fn document(
        &self,
        what: &'static str,
        url: &str,
    ) -> Result<Option<Bytes>, OAuthError> {
        let mut request = Request::new(Bytes::new());
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.send(what, url, request).await?;
        match answer.status.as_u16() {
            200 => Ok(Some(answer.body)),
            400..=499 => Ok(None),
            status => Err(OAuthError::Status {
                what,
                url: url.to_owned(),
                status,
            }),
        }
    }

    /// Gets an answer, whatever it is.
    #[cfg(feature = "oauth-proxy")]
    pub(crate) async fn get(
        &self,
        what: &'static str,
        url: &str,
        headers: HeaderMap,
    ) -> Result<Response, OAuthError> {
        let mut request = Request::new(Bytes::new());
        *request.headers_mut() = headers;
        self.send(what, url, request).await
    }

    /// Posts a body, whatever the answer is. Redirects are not followed.
    pub(crate) async fn post(
        &self,
        what: &'static str,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, OAuthError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.headers_mut() = headers;
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.send(what, url, request).await
    }

    /// Makes a request and returns the headers of its answer; redirects are not followed.
    pub(crate) async fn head(&self, request: Request<Bytes>) -> Result<HeaderMap, FetchError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| Refusal::Unparsable)?;
        let answer = self.fetcher(&url).stream(request).await?;
        Ok(answer.headers().clone())
    }

    async fn send(
        &self,
        what: &'static str,
        url: &str,
        mut request: Request<Bytes>,
    ) -> Result<Response, OAuthError> {
        let fetch = |source: FetchError| OAuthError::Fetch {
            what,
            url: url.to_owned(),
            source: Box::new(source),
        };
        let parsed = identifier::parse(url).map_err(|_| fetch(Refusal::Unparsable.into()))?;
        let sent = url.split_once('#').map_or(url, |(sent, _)| sent);
        *request.uri_mut() = sent
            .parse()
            .map_err(|_| fetch(Refusal::Unparsable.into()))?;
        self.fetcher(&parsed).request(request).await.map_err(fetch)
    }
}
