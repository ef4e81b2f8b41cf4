//! The identity provider behind a proxy: who it is, how it is asked, and how its tokens are verified.
//!
//! Source: RFC 6749, sections 2.3.1, 4.1 and 6; RFC 7009; RFC 7636; OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fastmcp_guard::clock::{Clock, Timestamp};
use fastmcp_guard::http::AllowedHost;
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::answer::extended;
use super::record::UpstreamTokens;
use crate::basic;
use crate::bearer::MAX_TOKEN_BYTES;
use crate::claims::ClaimNames;
use crate::endpoint;
use crate::error::ConfigError;
use crate::jwt::{JwtConfig, JwtVerifier};
use crate::keys::KeySource;
use crate::oauth::network::{Network, NetworkConfig};
use crate::verifier::{TokenVerifier, VerifyError};

/// The longest that a token is taken to be good, in seconds: 10 years.
const MAX_LIFETIME: u64 = 10 * 366 * 86_400;

/// The scopes of OpenID Connect, which mean the same everywhere.
const OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "offline_access",
];

/// How this server proves itself to the identity provider (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// With HTTP Basic, which every server must take.
    #[default]
    Basic,
    /// With `client_id` and `client_secret` in the body.
    Post,
}

/// How the identity provider names the scopes that clients ask for here.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ScopeNames {
    /// As they are called here.
    #[default]
    Same,
    /// With this in front, but for those of OpenID Connect: `api://tools/read` for `read`.
    Prefixed(String),
    /// Some have a long name (here, there), by which the answer calls them.
    Aliases(&'static [(&'static str, &'static str)]),
    /// Some contain others: whether the first, which was granted, contains the second.
    Containing(fn(&str, &str) -> bool),
}

impl ScopeNames {
    fn asked(&self, scope: &str) -> String {
        match self {
            Self::Prefixed(prefix) if !OPENID.contains(&scope) => format!("{prefix}{scope}"),
            _ => scope.to_owned(),
        }
    }

    fn grants(&self, granted: &str, scope: &str) -> bool {
        granted == scope
            || match self {
                Self::Same => false,
                Self::Prefixed(prefix) => granted.strip_prefix(prefix.as_str()) == Some(scope),
                Self::Aliases(aliases) => aliases.contains(&(scope, granted)),
                Self::Containing(contains) => contains(granted, scope),
            }
    }
}

/// How it is known who logged in.
#[derive(Clone)]
#[non_exhaustive]
pub enum Verification {
    /// By the access token of the identity provider, which is verified when somebody logs in and again at calls, so that
    /// what is revoked there ends here; the answer is kept for up to 60 seconds.
    Token(Arc<dyn TokenVerifier>),
    /// By the ID token, when somebody logs in and when tokens are renewed.
    IdToken(Arc<IdTokenVerifier>),
    /// By both, which must name the same subject; claims of the access token win.
    Both(Arc<dyn TokenVerifier>, Arc<IdTokenVerifier>),
}

impl Verification {
    pub(super) fn token(&self) -> Option<&Arc<dyn TokenVerifier>> {
        match self {
            Self::Token(verifier) | Self::Both(verifier, _) => Some(verifier),
            Self::IdToken(_) => None,
        }
    }

    pub(super) fn id_token(&self) -> Option<&Arc<IdTokenVerifier>> {
        match self {
            Self::IdToken(verifier) | Self::Both(_, verifier) => Some(verifier),
            Self::Token(_) => None,
        }
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::IdToken(_) => "IdToken",
            Self::Both(..) => "Both",
        })
    }
}

/// Verifies ID tokens that were issued to this server.
///
/// Source: OpenID Connect Core 1.0, sections 3.1.3.7 and 12.2.
#[derive(Debug)]
pub struct IdTokenVerifier {
    verifier: JwtVerifier,
    client_id: String,
    names: ClaimNames,
}

impl IdTokenVerifier {
    /// For the tokens of `issuer` to the client `client_id`, signed with `keys`, whose claims are named so.
    ///
    /// # Errors
    /// If the issuer or the client id is empty.
    pub fn new(
        issuer: &str,
        client_id: &str,
        names: ClaimNames,
        keys: impl Into<KeySource>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let config = JwtConfig {
            claims: names.clone(),
            ..JwtConfig::new(issuer, client_id)
        };
        Ok(Self {
            verifier: JwtVerifier::new(config, keys, clock)?,
            client_id: client_id.to_owned(),
            names,
        })
    }

    pub(super) const fn names(&self) -> &ClaimNames {
        &self.names
    }

    /// The subject and the claims of a token; with a nonce, it must be the one that was sent.
    pub(super) async fn verify(
        &self,
        token: &str,
        nonce: Option<&str>,
    ) -> Result<(String, Map<String, Value>), VerifyError> {
        let caller = self.verifier.verify(token).await?;
        let claims = caller.claims();
        let authorized = claims.get("azp").and_then(Value::as_str);
        let several = claims.get("aud").and_then(Value::as_array);
        if several.is_some_and(|several| several.len() > 1) && authorized.is_none() {
            return Err(VerifyError::Audience);
        }
        if authorized.is_some_and(|party| party != self.client_id) {
            return Err(VerifyError::Audience);
        }
        if nonce.is_some_and(|sent| claims.get("nonce").and_then(Value::as_str) != Some(sent)) {
            return Err(VerifyError::Malformed(
                "its `nonce` is not the one that was sent",
            ));
        }
        Ok((caller.subject().to_owned(), claims.clone()))
    }
}

/// An identity provider, and this server as the client that it knows.
#[derive(Clone)]
pub struct Upstream {
    /// How people know it: `GitHub`.
    pub name: String,
    /// Where people log in.
    pub authorization_endpoint: String,
    /// Where codes and refresh tokens are redeemed.
    pub token_endpoint: String,
    /// Where tokens are taken back (RFC 7009), if anywhere.
    pub revocation_endpoint: Option<String>,
    /// Its name, where its answers say who answers (RFC 9207): another one is refused.
    pub issuer: Option<String>,
    /// The client that this server is.
    pub client_id: String,
    /// Its secret; without one it is a public client, whose proof is PKCE alone.
    pub client_secret: Option<SecretString>,
    /// How the secret is sent.
    pub authentication: ClientAuthentication,
    /// The scopes that are always asked for, beyond those that clients ask for.
    pub scopes: Vec<String>,
    /// How it names the scopes that clients ask for.
    pub scope_names: ScopeNames,
    /// Further parameters for where people log in, such as `audience`.
    pub authorize_parameters: Vec<(String, String)>,
    /// Further parameters for where codes are redeemed.
    pub token_parameters: Vec<(String, String)>,
    /// How it is known who logged in.
    pub verification: Verification,
}

impl Upstream {
    /// An identity provider of that name, whose endpoints lie there.
    pub fn new(
        name: impl Into<String>,
        authorization_endpoint: impl Into<String>,
        token_endpoint: impl Into<String>,
        (client_id, client_secret): (impl Into<String>, SecretString),
        verification: Verification,
    ) -> Self {
        Self {
            name: name.into(),
            authorization_endpoint: authorization_endpoint.into(),
            token_endpoint: token_endpoint.into(),
            revocation_endpoint: None,
            issuer: None,
            client_id: client_id.into(),
            client_secret: Some(client_secret),
            authentication: ClientAuthentication::default(),
            scopes: Vec::new(),
            scope_names: ScopeNames::default(),
            authorize_parameters: Vec::new(),
            token_parameters: Vec::new(),
            verification,
        }
    }

    fn endpoints(&self) -> [(&'static str, Option<&str>); 3] {
        [
            (
                "authorization_endpoint",
                Some(self.authorization_endpoint.as_str()),
            ),
            ("token_endpoint", Some(self.token_endpoint.as_str())),
            ("revocation_endpoint", self.revocation_endpoint.as_deref()),
        ]
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, url) in self.endpoints() {
            if let Some(url) = url {
                endpoint::parse(field, url)?;
            }
        }
        ConfigError::unless_empty("client_id", self.client_id.is_empty())?;
        let secret = self.client_secret.as_ref();
        let empty = secret.is_some_and(|secret| secret.expose_secret().is_empty());
        ConfigError::unless_empty("client_secret", empty)
    }

    /// The way to it: what the operator named may be anywhere.
    pub(super) fn network(&self, config: &NetworkConfig) -> Result<NetworkConfig, ConfigError> {
        let mut config = config.clone();
        for (field, url) in self.endpoints() {
            let Some(url) = url else { continue };
            let host = AllowedHost::of_url(&endpoint::parse(field, url)?);
            let host = host.map_err(|_| ConfigError::Unfit {
                field,
                value: url.to_owned(),
                problem: "has no host that can be reached",
            })?;
            config = config.allow_host(host);
        }
        Ok(config)
    }

    /// The URL that a person is sent to.
    pub(super) fn login(&self, callback: &str, state: &str, sent: &Sent<'_>) -> String {
        let mut scopes: Vec<String> = self.scopes.clone();
        for scope in sent.scopes {
            let asked = self.scope_names.asked(scope);
            if !scopes.contains(&asked) {
                scopes.push(asked);
            }
        }
        let scope = scopes.join(" ");
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", callback),
            ("state", state),
            ("code_challenge", sent.challenge),
            ("code_challenge_method", "S256"),
        ];
        if !scope.is_empty() {
            parameters.push(("scope", &scope));
        }
        if self.verification.id_token().is_some() {
            parameters.push(("nonce", sent.nonce));
        }
        for (name, value) in &self.authorize_parameters {
            parameters.push((name, value));
        }
        extended(&self.authorization_endpoint, &parameters)
    }

    /// Which of `asked` the answer grants: all, if it does not say (RFC 6749, section 5.1).
    pub(super) fn granted(&self, asked: &[String], answer: Option<&str>) -> Vec<String> {
        let Some(answer) = answer.filter(|answer| !answer.trim().is_empty()) else {
            return asked.to_vec();
        };
        let granted: Vec<&str> = answer.split([' ', ',']).collect();
        let openid = |scope: &str| {
            matches!(self.scope_names, ScopeNames::Prefixed(_)) && OPENID.contains(&scope)
        };
        let is_granted = |scope: &&String| {
            let mut granted = granted.iter();
            openid(scope) || granted.any(|granted| self.scope_names.grants(granted, scope))
        };
        asked.iter().filter(is_granted).cloned().collect()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("authorization_endpoint", &self.authorization_endpoint)
            .field("token_endpoint", &self.token_endpoint)
            .field("client_id", &self.client_id)
            .field("verification", &self.verification)
            .finish_non_exhaustive()
    }
}

/// What belongs to one login.
pub(super) struct Sent<'a> {
    pub(super) challenge: &'a str,
    pub(super) nonce: &'a str,
    pub(super) scopes: &'a [String],
}

/// Why the identity provider gives no tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// It says no.
    #[error("the identity provider refuses: {0}")]
    Refused(String),
    /// It cannot be asked, or its answer cannot be read.
    #[error("the identity provider cannot be asked: {0}")]
    Unavailable(String),
}

/// What a token request is answered with (RFC 6749, sections 5.1 and 5.2); some tell of errors with a status of 200.
#[derive(Deserialize)]
struct Said {
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
    refresh_token: Option<String>,
    scope: Option<String>,
    id_token: Option<String>,
    error: Option<String>,
}

/// Tokens, and what came with them.
pub(super) struct Tokens {
    pub(super) tokens: UpstreamTokens,
    pub(super) scope: Option<String>,
    pub(super) id_token: Option<String>,
}

/// Asks the identity provider.
pub(super) struct Asking<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) network: &'a Network,
    pub(super) now: Timestamp,
}

impl Asking<'_> {
    /// Redeems a code.
    pub(super) async fn redeem(
        &self,
        code: &str,
        callback: &str,
        verifier: &str,
    ) -> Result<Tokens, UpstreamError> {
        self.tokens(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback),
            ("code_verifier", verifier),
        ])
        .await
    }

    /// Renews tokens. Where there is no new refresh token, the old one stays good (RFC 6749, section 6).
    pub(super) async fn renew(&self, refresh: &str) -> Result<Tokens, UpstreamError> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let mut renewed = self.tokens(&form).await?;
        let kept = renewed.tokens.refresh.take();
        renewed.tokens.refresh = kept.or_else(|| Some(refresh.to_owned()));
        Ok(renewed)
    }

    /// Has the tokens taken back, as well as that can be.
    pub(super) async fn revoke(&self, tokens: &UpstreamTokens) {
        let Some(url) = &self.upstream.revocation_endpoint else {
            return;
        };
        let (token, hint) = match &tokens.refresh {
            Some(refresh) => (refresh, "refresh_token"),
            None => (&tokens.access, "access_token"),
        };
        let Some((headers, body)) = self.compose(&[("token", token), ("token_type_hint", hint)])
        else {
            return;
        };
        let what = "the identity provider's revocation endpoint";
        match self.network.post(what, url, headers, body).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => {
                tracing::warn!(
                    status = answer.status.as_u16(),
                    "{what} did not take a token back"
                );
            }
            Err(error) => tracing::warn!(%error, "{what} cannot be asked"),
        }
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, UpstreamError> {
        let extra = self.upstream.token_parameters.iter();
        let extra = extra.map(|(name, value)| (name.as_str(), value.as_str()));
        let form: Vec<(&str, &str)> = form.iter().copied().chain(extra).collect();
        let unavailable = |why: &str| UpstreamError::Unavailable(why.to_owned());
        let (headers, body) = self
            .compose(&form)
            .ok_or_else(|| unavailable("its client secret cannot be sent"))?;
        let url = &self.upstream.token_endpoint;
        let what = "the identity provider's token endpoint";
        let answer = self.network.post(what, url, headers, body).await;
        let answer = answer.map_err(|error| UpstreamError::Unavailable(error.to_string()))?;
        // Neither the answer nor what is wrong with it is repeated: it holds tokens.
        let said: Said = serde_json::from_slice(&answer.body)
            .map_err(|_| unavailable("its answer is not JSON of the right form"))?;
        if let Some(error) = said.error {
            let error = error
                .chars()
                .filter(char::is_ascii_graphic)
                .take(64)
                .collect();
            return Err(if answer.status.is_server_error() {
                UpstreamError::Unavailable(error)
            } else {
                UpstreamError::Refused(error)
            });
        }
        if !answer.status.is_success() {
            return Err(unavailable("its answer is neither tokens nor an error"));
        }
        let short = |token: &String| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES;
        let access = said.access_token.filter(short);
        let access = access.ok_or_else(|| unavailable("its answer has no usable access token"))?;
        let seconds = match &said.expires_in {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let lives = |seconds: u64| std::time::Duration::from_secs(seconds.min(MAX_LIFETIME));
        Ok(Tokens {
            tokens: UpstreamTokens {
                access,
                refresh: said.refresh_token.filter(short),
                expires_at: seconds.map(|seconds| self.now.saturating_add(lives(seconds))),
            },
            scope: said.scope,
            id_token: said.id_token,
        })
    }

    fn compose(&self, form: &[(&str, &str)]) -> Option<(HeaderMap, Bytes)> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        let mut body = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form {
            body.append_pair(name, value);
        }
        let id = &self.upstream.client_id;
        match (&self.upstream.client_secret, self.upstream.authentication) {
            (None, _) => {
                body.append_pair("client_id", id);
            }
            (Some(secret), ClientAuthentication::Post) => {
                body.append_pair("client_id", id);
                body.append_pair("client_secret", secret.expose_secret());
            }
            (Some(secret), ClientAuthentication::Basic) => {
                headers.insert(header::AUTHORIZATION, basic::authorization(id, secret)?);
            }
        }
        Some((headers, body.finish().into()))
    }
}
