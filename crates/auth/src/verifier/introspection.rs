//! Opaque tokens that their authorization server explains when it is asked.
//!
//! Source: RFC 7662 (token introspection); RFC 7800 (confirmation of possession).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastmcp_guard::clock::Clock;
use fastmcp_guard::http::{AllowedHost, Config, Trust, UrlFetcher};
use futures_core::future::BoxFuture;
use http::{HeaderValue, Method, Request, Uri, header};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use url::form_urlencoded;

use super::{TokenLookup, VerifyError};
use crate::basic;
use crate::claims::{ClaimError, ClaimName, parse_object, read};
use crate::endpoint;
use crate::error::ConfigError;
use crate::token::AccessToken;

const URL: &str = "introspection url";
const SECRET: &str = "introspection client secret";
/// Most bytes of an answer.
const MAX_BYTES: usize = 64 * 1024;

/// How an authorization server is asked about tokens.
#[derive(Clone, Debug)]
pub struct IntrospectionConfig {
    /// Its introspection endpoint: `https://`, or `http://` to this machine.
    pub url: String,
    /// As whom this server asks.
    pub client_id: String,
    /// The secret that goes with it.
    pub client_secret: SecretString,
    /// Who must have issued the tokens, compared exactly where the answer says who did. Default: not compared, since the
    /// server that answers is the one that was named here.
    pub issuer: Option<String>,
    /// The names of this server as an audience, compared exactly: a token must be for one of them. Without one, a token
    /// that the same server issued for another resource would be accepted, so at least one is needed.
    pub audiences: Vec<String>,
    /// Whether tokens that look like JSON Web Tokens are asked about too. Default no: beside verifiers of such tokens, this
    /// server would be shown those of other issuers.
    pub jwts: bool,
    /// How many questions may be open at a time; more wait. Default 64; 1 to 10,000.
    pub concurrency: usize,
    /// How long an answer may take. Default 5 s; 100 ms to 1 minute.
    pub timeout: Duration,
    /// Whose certificates are trusted. Default Mozilla's roots.
    pub trust: Trust,
    /// Where the tasks run that drive connections.
    pub tasks: TaskTracker,
}

impl IntrospectionConfig {
    /// The defaults, for one endpoint, client and audience.
    pub fn new(
        url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: SecretString,
        audience: impl Into<String>,
    ) -> Self {
        Self {
            url: url.into(),
            client_id: client_id.into(),
            client_secret,
            issuer: None,
            audiences: vec![audience.into()],
            jwts: false,
            concurrency: 64,
            timeout: Duration::from_secs(5),
            trust: Trust::default(),
            tasks: TaskTracker::new(),
        }
    }
}

/// Asks an authorization server about each token; a [`LookupVerifier`](super::LookupVerifier) makes callers of what it
/// says, and a [`CachedVerifier`](super::CachedVerifier) in front of that spares it the same question for up to a minute.
///
/// Tokens that are bound to a key or certificate (`cnf`) are refused: nothing here checks that their bearer holds it.
///
/// ```
/// # use std::sync::Arc;
/// # use fastmcp_auth::{Introspection, IntrospectionConfig, LookupVerifier, verifier::LookupConfig};
/// # use fastmcp_guard::clock::SystemClock;
/// # fn example() -> Result<LookupVerifier<Introspection>, fastmcp_auth::ConfigError> {
/// let clock = Arc::new(SystemClock);
/// let config = IntrospectionConfig::new(
///     "https://idp.example/introspect",
///     "gateway",
///     "the secret of this server".to_owned().into(),
///     "https://tools.example",
/// );
/// let tokens = Introspection::new(config, clock.clone())?;
/// Ok(LookupVerifier::new(tokens, LookupConfig::default(), clock))
/// # }
/// ```
pub struct Introspection {
    uri: Uri,
    authorization: HeaderValue,
    issuer: Option<String>,
    audiences: Vec<String>,
    jwts: bool,
    open: Semaphore,
    fetcher: UrlFetcher,
    clock: Arc<dyn Clock>,
}

impl Introspection {
    /// Prepares to ask; nobody is asked yet.
    ///
    /// # Errors
    /// If a setting is not allowed.
    pub fn new(config: IntrospectionConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let url = endpoint::parse(URL, &config.url)?;
        ConfigError::unless_empty("introspection client_id", config.client_id.is_empty())?;
        let any_empty =
            config.audiences.is_empty() || config.audiences.iter().any(String::is_empty);
        ConfigError::unless_empty("introspection audiences", any_empty)?;
        let wait = u64::try_from(config.timeout.as_millis()).unwrap_or(u64::MAX);
        ConfigError::unless_outside("introspection timeout (milliseconds)", wait, 100..=60_000)?;
        let open = u64::try_from(config.concurrency).unwrap_or(u64::MAX);
        ConfigError::unless_outside("introspection concurrency", open, 1..=10_000)?;
        let unsendable = ConfigError::UnfitSecret {
            field: SECRET,
            problem: "cannot be sent",
        };
        let authorization = basic::authorization(&config.client_id, &config.client_secret);
        let unfit = |_| ConfigError::Unfit {
            field: URL,
            value: config.url.chars().take(200).collect(),
            problem: "cannot be reached",
        };
        let mut outbound = Config::configured(vec![AllowedHost::of_url(&url).map_err(unfit)?]);
        outbound.total_timeout = config.timeout;
        outbound.connect_timeout = config.timeout.min(outbound.connect_timeout);
        outbound.max_bytes = MAX_BYTES;
        outbound.trust = config.trust;
        outbound.tasks = config.tasks;
        let unreadable = |_| ConfigError::Unfit {
            field: URL,
            value: config.url.chars().take(200).collect(),
            problem: "is not a URL",
        };
        Ok(Self {
            uri: url.as_str().parse().map_err(unreadable)?,
            authorization: authorization.ok_or(unsendable)?,
            issuer: config.issuer,
            audiences: config.audiences,
            jwts: config.jwts,
            open: Semaphore::new(config.concurrency),
            fetcher: UrlFetcher::new(&outbound).map_err(unfit)?,
            clock,
        })
    }

    async fn ask(&self, token: &str) -> Result<Option<AccessToken>, VerifyError> {
        if !self.jwts && is_jwt(token) {
            return Ok(None);
        }
        let closed = |_| VerifyError::Unavailable("the server ends".into());
        let _open = self.open.acquire().await.map_err(closed)?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.fetcher.request(request).await;
        let answer = answer.map_err(|error| VerifyError::Unavailable(error.into()))?;
        // 401 is about this server's own credentials, not about the token (RFC 7662, section 2.3).
        if answer.status != http::StatusCode::OK {
            let said = format!("the introspection endpoint answers {}", answer.status);
            return Err(VerifyError::Unavailable(said.into()));
        }
        let said: Map<String, Value> =
            parse_object(&answer.body).map_err(|error| VerifyError::Unavailable(error.into()))?;
        self.read(token, said)
    }

    /// Source: RFC 7662, section 2.2.
    fn read(
        &self,
        token: &str,
        said: Map<String, Value>,
    ) -> Result<Option<AccessToken>, VerifyError> {
        match said.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(None),
            _ => return Err(VerifyError::Unavailable("`active` is missing".into())),
        }
        if said.contains_key("cnf") {
            return Err(VerifyError::Malformed(
                "it is bound to a key or certificate",
            ));
        }
        let is_bearer = |kind: String| kind.eq_ignore_ascii_case("bearer");
        if !text(&said, "token_type")?.is_none_or(is_bearer) {
            return Err(VerifyError::Type);
        }
        if let (Some(issuer), Some(by)) = (&self.issuer, text(&said, "iss")?)
            && *issuer != by
        {
            return Err(VerifyError::Issuer);
        }
        let audiences = read::audiences(&said)?;
        if !audiences
            .iter()
            .any(|a| self.audiences.iter().any(|b| a == b))
        {
            return Err(VerifyError::Audience);
        }
        if read::moment(&said, "nbf")?.is_some_and(|begin| self.clock.now() < begin) {
            return Err(VerifyError::NotYetValid);
        }
        let expires_at = read::moment(&said, "exp")?;
        let mut known = AccessToken::new(token);
        if let Some(client) = text(&said, "client_id")? {
            known = known.with_client_id(client);
        }
        if let Some(end) = expires_at {
            known = known.with_expires_at(end);
        }
        Ok(Some(known.with_claims(said)))
    }
}

/// Whether a token has the form of a signed or encrypted JWT, whose header is a JSON object.
fn is_jwt(token: &str) -> bool {
    token.starts_with("eyJ") && token.contains('.')
}

/// A member that is a text, where it is there.
fn text(said: &Map<String, Value>, name: &'static str) -> Result<Option<String>, ClaimError> {
    read::text(said, &ClaimName::plain(name))
}

impl TokenLookup for Introspection {
    fn look_up<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<AccessToken>, VerifyError>> {
        Box::pin(self.ask(token))
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("uri", &self.uri)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}
