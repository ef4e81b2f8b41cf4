//! The human part: somebody agrees, in a browser, and the browser brings back the answer.

use std::fmt;
use std::time::Duration;

use futures_core::future::BoxFuture;
use http::{Request, header};
use url::form_urlencoded;

use super::discovery::ServerMetadata;
use super::error::{OAuthError, ServerSays};
use super::network::{Network, NetworkConfig};
use crate::error::ConfigError;

/// Longest query that an answer may have, in bytes; a code is far shorter.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Shows a person where to agree, and brings back what the authorization server answers.
///
/// The implementation of the product opens a browser and listens on this machine; a server would send its user a link,
/// and take the answer at an address of its own.
pub trait Authorize: Send + Sync + fmt::Debug {
    /// Gets ready for one authorization: afterwards it is known where the answer will come to.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError`] if nothing can listen there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future must leave nothing behind.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Interaction>, AuthorizeError>>;
}

/// One authorization that is about to happen.
pub trait Interaction: Send + fmt::Debug {
    /// Where the authorization server is to send the browser: `https`, or `http` to this machine.
    fn redirect_uri(&self) -> &str;

    /// Shows `url` to the person, and returns the query of the URL that the browser is sent back to, without `?`.
    ///
    /// An answer that does not carry `state` is none: an implementation that listens goes on listening, so that a
    /// stranger cannot end the wait. `url` is an `http` or `https` URL; it must not be handed to a shell.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError`] if nobody could be asked, or nobody answered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future must stop listening.
    fn authorize<'a>(
        self: Box<Self>,
        url: &'a str,
        state: &'a str,
    ) -> BoxFuture<'a, Result<String, AuthorizeError>>;
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// This client has nobody to ask.
    #[error("the server wants somebody to log in, and this client can ask nobody: {0}")]
    Nobody(String),
    /// Nobody answered in time.
    #[error("nobody logged in within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Somebody turned it down here.
    #[error("the authorization was declined")]
    Declined,
    /// Asking failed.
    #[error("nobody could be asked to log in: {reason}")]
    Failed {
        /// What failed.
        reason: String,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl AuthorizeError {
    /// Asking failed, for that reason.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
            source: None,
        }
    }
}

/// Follows the authorization itself, without a person: for authorization servers that agree at once, as in tests and
/// with accounts of services.
#[derive(Clone)]
pub struct Headless {
    redirect_uri: String,
    network: Network,
}

impl Headless {
    /// Answers are read from the redirect to `redirect_uri`, to which no request is made.
    ///
    /// # Errors
    ///
    /// [`OAuthError::Config`] if the URI is neither `https` nor `http` to this machine, or the network settings cannot
    /// be used.
    pub fn new(redirect_uri: &str, network: &NetworkConfig) -> Result<Self, OAuthError> {
        crate::endpoint::parse("redirect_uri", redirect_uri)?;
        Ok(Self {
            redirect_uri: redirect_uri.to_owned(),
            network: Network::new(network, None)?,
        })
    }

    async fn follow(&self, url: &str) -> Result<String, AuthorizeError> {
        let request = Request::get(url)
            .body(bytes::Bytes::new())
            .map_err(|_| AuthorizeError::failed("the authorization url cannot be read"))?;
        let answer = self.network.head(request).await;
        let answer = answer.map_err(|error| AuthorizeError::Failed {
            reason: "the authorization server cannot be reached".to_owned(),
            source: Some(error.into()),
        })?;
        let location = answer.get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let rest = location.and_then(|to| to.strip_prefix(&self.redirect_uri));
        let query = rest.and_then(|rest| rest.strip_prefix('?'));
        query.map(str::to_owned).ok_or_else(|| {
            AuthorizeError::Nobody("the authorization server does not answer at once".to_owned())
        })
    }
}

impl fmt::Debug for Headless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headless")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

impl Authorize for Headless {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Interaction>, AuthorizeError>> {
        Box::pin(async { Ok(Box::new(self.clone()) as Box<dyn Interaction>) })
    }
}

impl Interaction for Headless {
    fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    fn authorize<'a>(
        self: Box<Self>,
        url: &'a str,
        _state: &'a str,
    ) -> BoxFuture<'a, Result<String, AuthorizeError>> {
        Box::pin(async move { self.follow(url).await })
    }
}

/// Refuses a redirect URI that a code must not be sent to.
///
/// Source: MCP 2026-07-28, basic/authorization/security-considerations, "Communication Security".
pub(crate) fn check_redirect_uri(uri: &str) -> Result<(), ConfigError> {
    crate::endpoint::parse("redirect_uri", uri).map(|_| ())
}

/// What an authorization request asks for.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) challenge: &'a str,
    pub(crate) state: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) scope: String,
    pub(crate) dpop_jkt: Option<String>,
}

impl Question<'_> {
    /// The URL that the person is sent to.
    ///
    /// Source: RFC 6749, section 4.1.1; RFC 7636, section 4.3; RFC 8707, section 2; RFC 9449, section 10.
    pub(crate) fn url(&self, endpoint: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("code_challenge", self.challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", self.state)
            .append_pair("resource", self.resource);
        if !self.scope.is_empty() {
            query.append_pair("scope", &self.scope);
        }
        if self.scope.split(' ').any(|scope| scope == "offline_access") {
            // OpenID Connect Core 1.0, section 11: without consent a provider must ignore `offline_access`.
            query.append_pair("prompt", "consent");
        }
        if let Some(thumbprint) = &self.dpop_jkt {
            query.append_pair("dpop_jkt", thumbprint);
        }
        let mark = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{mark}{}", query.finish())
    }
}

/// Reads the answer to an authorization request, and returns the code.
///
/// Who answers is settled first: what a stranger says is neither used nor shown.
///
/// Source: RFC 9207, section 2.4; RFC 6749, sections 3.1, 4.1.2 and 10.12; MCP 2026-07-28, basic/authorization,
/// "Authorization Response Validation".
pub(crate) fn code(
    query: &str,
    state: &str,
    server: &ServerMetadata,
) -> Result<secrecy::SecretString, OAuthError> {
    let refuse = |reason| Err(OAuthError::Answer { reason });
    if query.len() > MAX_QUERY_BYTES {
        return refuse("it is longer than 16 KiB");
    }
    let answer = match Answer::read(query) {
        Ok(answer) => answer,
        Err(reason) => return refuse(reason),
    };
    match &answer.iss {
        Some(iss) if *iss != server.issuer => {
            return refuse("it names another issuer than the one that was asked");
        }
        None if server.authorization_response_iss_parameter_supported => {
            return refuse("it names no issuer, though the authorization server says that it does");
        }
        _ => {}
    }
    let same = answer.state.as_ref().is_some_and(|answered| {
        subtle::ConstantTimeEq::ct_eq(answered.as_bytes(), state.as_bytes()).into()
    });
    if !same {
        return refuse("its `state` is not the one that was sent");
    }
    if let Some(error) = answer.error {
        return Err(OAuthError::Denied {
            issuer: server.issuer.clone(),
            says: ServerSays::new(&error, answer.error_description.as_deref()),
        });
    }
    match answer.code {
        Some(code) if !code.is_empty() => Ok(code.into()),
        _ => refuse("it holds no code"),
    }
}

/// The parameters of an answer that mean something here.
#[derive(Default)]
struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Answer {
    /// A parameter that stands there twice could be read in two ways (RFC 6749, section 3.1).
    fn read(query: &str) -> Result<Self, &'static str> {
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "code" => &mut answer.code,
                "state" => &mut answer.state,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                "error_description" => &mut answer.error_description,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err("it holds a parameter twice");
            }
        }
        Ok(answer)
    }
}
