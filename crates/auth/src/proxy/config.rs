//! How a proxy is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastmcp_guard::clock::{Clock, SystemClock};
use fastmcp_guard::random::{OsRandom, Random};
use fastmcp_store::KeyValueStore;
use serde_json::{Map, Value};

use super::keys::ProxyKeys;
use super::redirect::RedirectRules;
use super::upstream::Upstream;
use crate::challenge::{OFFLINE_ACCESS, checked_scopes};
use crate::endpoint;
use crate::error::ConfigError;
use crate::oauth::identifier::split_origin;
use crate::oauth::network::NetworkConfig;

/// What a proxy lives on: its keys, where it keeps what it must remember, and the ends of the machine.
///
/// The store is shared by all replicas, and everything in it is sealed: logins that were used, codes, sessions and the tokens
/// of the identity provider. With a store that forgets, everybody has to log in again when the process starts anew.
#[derive(Clone, Debug)]
pub struct Backing {
    pub(super) keys: Arc<ProxyKeys>,
    pub(super) store: Arc<dyn KeyValueStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

impl Backing {
    /// With the clock and the randomness of the machine.
    #[must_use]
    pub fn new(keys: ProxyKeys, store: Arc<dyn KeyValueStore>) -> Self {
        Self {
            keys: Arc::new(keys),
            store,
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
        }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes randomness from `random`.
    #[must_use]
    pub fn with_random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// What tells it the time.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

/// Whether a person is asked each time that a client wants to act for them.
///
/// There is no way not to ask at all: the identity provider knows this server as one client, and once it has been agreed
/// to would answer any client of ours without a word (the confused deputy of MCP's security best practices).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consent {
    /// Each time.
    Always,
    /// The first time, and then not for that long, in that browser, for the same client, redirect URI and scopes; at most 1
    /// year. Clients whose answers go to this machine or to an application are asked about each time, since any program
    /// could be behind them (RFC 8252, section 8.6).
    Remember(Duration),
}

impl Default for Consent {
    /// Remembers for 30 days.
    fn default() -> Self {
        Self::Remember(Duration::from_secs(30 * 86_400))
    }
}

/// How long things are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An access token. Default 1 hour; 1 minute to 24 hours. It ends with its session when that is revoked.
    pub access_token: Duration,
    /// A refresh token that is not used, and what is kept of the login. Default 30 days; 1 hour to 1 year.
    pub refresh_token: Duration,
    /// A session whose tokens of the identity provider have no end that it told, from the login and however often it is
    /// refreshed: its person has to log in again then. Default 90 days; 1 hour to 1 year.
    pub session: Duration,
    /// How long the refresh token before the last one is answered with the last one again, for clients that lost an answer
    /// or asked twice at once. Default 10 seconds; 0 to 60 seconds. Beyond that its use ends the session.
    pub refresh_leeway: Duration,
    /// A code. Default 1 minute; 10 seconds to 10 minutes.
    pub code: Duration,
    /// A login, from the page that asks to the answer of the identity provider. Default 10 minutes; 1 minute to 1 hour.
    pub login: Duration,
    /// A client's registration. Default 1 year; 1 day to 10 years.
    pub registration: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access_token: Duration::from_secs(3_600),
            refresh_token: Duration::from_secs(30 * 86_400),
            session: Duration::from_secs(90 * 86_400),
            refresh_leeway: Duration::from_secs(10),
            code: Duration::from_secs(60),
            login: Duration::from_secs(600),
            registration: Duration::from_secs(365 * 86_400),
        }
    }
}

impl Lifetimes {
    fn check(&self) -> Result<(), ConfigError> {
        const DAY: u64 = 86_400;
        for (field, given, range) in [
            ("access_token (seconds)", self.access_token, 60..=DAY),
            (
                "refresh_token (seconds)",
                self.refresh_token,
                3_600..=366 * DAY,
            ),
            ("session (seconds)", self.session, 3_600..=366 * DAY),
            ("refresh_leeway (seconds)", self.refresh_leeway, 0..=60),
            ("code (seconds)", self.code, 10..=600),
            ("login (seconds)", self.login, 60..=3_600),
            (
                "registration (seconds)",
                self.registration,
                DAY..=3_660 * DAY,
            ),
        ] {
            ConfigError::unless_outside(field, given.as_secs(), range)?;
        }
        Ok(())
    }
}

/// Decides by their claims who may log in.
pub type Admit = Arc<dyn Fn(&Map<String, Value>) -> bool + Send + Sync>;

/// How an [`OAuthProxy`](super::OAuthProxy) is set up.
#[derive(Clone)]
pub struct OAuthProxyConfig {
    /// Under which URL this server is reached, without a `/` at its end: `https://tools.example`, or `http` to this machine.
    /// It is the issuer of the tokens, and all endpoints lie beneath it.
    pub base_url: String,
    /// Where MCP is served beneath it. Default `/mcp`. Base URL and path are the audience of the tokens.
    pub resource_path: String,
    /// Where the identity provider sends the browser back to, beneath the base URL; it must know the URL. Default
    /// `/auth/callback`.
    pub callback_path: String,
    /// How people know the server; shown when they are asked. Default: the host of the base URL.
    pub name: Option<String>,
    /// The identity provider.
    pub upstream: Upstream,
    /// The scopes that clients may ask for. The required ones are always among them.
    pub scopes: Vec<String>,
    /// The scopes that every caller must bring; asked for where a client asks for none. Default none.
    pub required_scopes: Vec<String>,
    /// Where answers to clients may be sent.
    pub redirect_uris: RedirectRules,
    /// Whether people are asked each time.
    pub consent: Consent,
    /// How long things are good.
    pub lifetimes: Lifetimes,
    /// Decides by their claims who may log in, when they do and at each call. Default: whom the identity provider knows.
    pub admit: Option<Admit>,
    /// Whether clients may register themselves (RFC 7591). Default yes.
    pub registration: bool,
    /// Whether the URL of a metadata document may be a client id. Default yes.
    pub metadata_documents: bool,
    /// How many sessions a person may have, over all clients. Default 32; 1 to 1,000. Who logs in once more ends the one that
    /// was not refreshed for the longest time.
    pub max_sessions: usize,
    /// How the identity provider and metadata documents are reached. The hosts of the identity provider's endpoints are
    /// allowed wherever they are.
    pub network: NetworkConfig,
}

impl OAuthProxyConfig {
    /// The defaults, for a server that is reached under `base_url`, and one identity provider.
    #[must_use]
    pub fn new(base_url: impl Into<String>, upstream: Upstream) -> Self {
        Self {
            base_url: base_url.into(),
            resource_path: "/mcp".to_owned(),
            callback_path: "/auth/callback".to_owned(),
            name: None,
            upstream,
            scopes: Vec::new(),
            required_scopes: Vec::new(),
            redirect_uris: RedirectRules::default(),
            consent: Consent::default(),
            lifetimes: Lifetimes::default(),
            admit: None,
            registration: true,
            metadata_documents: true,
            max_sessions: 32,
            network: NetworkConfig::default(),
        }
    }

    /// The scopes that clients may ask for, the required ones first.
    pub(super) fn known_scopes(&self) -> Vec<String> {
        let mut known = self.required_scopes.clone();
        for scope in &self.scopes {
            if !known.contains(scope) {
                known.push(scope.clone());
            }
        }
        known
    }

    pub(super) fn resource(&self) -> String {
        format!("{}{}", self.base_url, self.resource_path)
    }

    /// The path of an endpoint as requests name it.
    pub(super) fn path(&self, beneath: &str) -> String {
        format!("{}{beneath}", split_origin(&self.base_url).1)
    }

    pub(super) fn callback(&self) -> String {
        format!("{}{}", self.base_url, self.callback_path)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let unfit = |field, value: &str, problem| {
            Err(ConfigError::Unfit {
                field,
                value: value.chars().take(200).collect(),
                problem,
            })
        };
        let url = endpoint::parse("base_url", &self.base_url)?;
        if url.query().is_some() || self.base_url.ends_with('/') {
            let problem = "must have no query, and no `/` at its end";
            return unfit("base_url", &self.base_url, problem);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        for (field, path) in [
            ("resource_path", &self.resource_path),
            ("callback_path", &self.callback_path),
        ] {
            let empty = path.is_empty() && field == "resource_path";
            let fits = path.starts_with('/') && path.len() <= 255 && path.bytes().all(plain);
            if !empty && !fits {
                let problem = "must begin with `/`, and have letters, digits, `-._~` and `/` alone";
                return unfit(field, path, problem);
            }
        }
        let mut scopes = self.known_scopes();
        scopes.retain(|scope| scope != OFFLINE_ACCESS);
        checked_scopes("scopes", scopes)?;
        let sessions = u64::try_from(self.max_sessions).unwrap_or(u64::MAX);
        ConfigError::unless_outside("max_sessions", sessions, 1..=1_000)?;
        if let Consent::Remember(long) = self.consent {
            ConfigError::unless_outside("consent (seconds)", long.as_secs(), 1..=366 * 86_400)?;
        }
        self.lifetimes.check()?;
        self.upstream.check()
    }
}

impl fmt::Debug for OAuthProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthProxyConfig")
            .field("base_url", &self.base_url)
            .field("upstream", &self.upstream)
            .field("scopes", &self.known_scopes())
            .field("consent", &self.consent)
            .finish_non_exhaustive()
    }
}
