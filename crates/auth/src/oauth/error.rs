//! Why there is no token.

use std::fmt;

use fastmcp_guard::http::FetchError;
use fastmcp_guard::random::RandomError;

use super::authorize::AuthorizeError;
use super::storage::StorageError;
use crate::error::ConfigError;

/// Longest text of a server that an error repeats, in characters.
const MAX_QUOTED: usize = 200;

/// Why there is no token, and what to do about it. Never holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// A setting that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A document or endpoint could not be reached, or may not be.
    #[error(
        "cannot reach {what} at `{url}`{}",
        if source.refusal().is_some() { ": it may not be asked; if it is meant to be, allow its host in the network settings" } else { "" }
    )]
    Fetch {
        /// What was asked for.
        what: &'static str,
        /// Where.
        url: String,
        /// What broke or was refused.
        #[source]
        source: Box<FetchError>,
    },
    /// An endpoint answered with a status that it must not answer with.
    #[error("{what} at `{url}` answered with status {status}")]
    Status {
        /// What was asked.
        what: &'static str,
        /// Where.
        url: String,
        /// The status.
        status: u16,
    },
    /// A document that cannot be used.
    #[error("{what} at `{url}` cannot be used: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Where it was got.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server does not say where tokens for it are to be had.
    #[error(
        "the server publishes no resource metadata (looked at {}): configure its authorization server, or ask its operator",
        list(tried)
    )]
    NoResourceMetadata {
        /// The URLs that were tried.
        tried: Vec<String>,
    },
    /// The metadata is about another server.
    #[error("the resource metadata at `{url}` is for `{resource}`, not for `{server}`")]
    ResourceMismatch {
        /// Where the metadata was got.
        url: String,
        /// What it is for.
        resource: String,
        /// The server that is asked.
        server: String,
    },
    /// The authorization server publishes no metadata.
    #[error(
        "the authorization server `{issuer}` publishes no metadata (looked at {})",
        list(tried)
    )]
    NoServerMetadata {
        /// The authorization server.
        issuer: String,
        /// The URLs that were tried.
        tried: Vec<String>,
    },
    /// The metadata is about another authorization server.
    #[error("the metadata at `{url}` is of the issuer `{found}`, not of `{expected}`")]
    IssuerMismatch {
        /// Where the metadata was got.
        url: String,
        /// The issuer that was asked for.
        expected: String,
        /// The issuer that the metadata names.
        found: String,
    },
    /// The authorization server does not say that it checks PKCE with S256.
    #[error(
        "the authorization server `{issuer}` does not announce PKCE with S256, without which a code could be stolen"
    )]
    NoPkce {
        /// The authorization server.
        issuer: String,
    },
    /// The authorization server lacks something that is needed.
    #[error("the authorization server `{issuer}` {lacks}")]
    Unsupported {
        /// The authorization server.
        issuer: String,
        /// What it lacks.
        lacks: String,
    },
    /// The client was registered with another authorization server than the one the server names now.
    #[error(
        "client `{client_id}` is registered with `{registered}`, but the server now names {}: register a client there and configure it",
        list(offered)
    )]
    OtherIssuer {
        /// The client.
        client_id: String,
        /// Where it was registered.
        registered: String,
        /// What the server names.
        offered: Vec<String>,
    },
    /// There is no way to become a client of the authorization server.
    #[error(
        "the authorization server `{issuer}` takes neither client metadata documents nor registrations: register a client with it and configure its client id"
    )]
    NoRegistration {
        /// The authorization server.
        issuer: String,
    },
    /// The authorization server refused to register this client.
    #[error("the authorization server `{issuer}` refused to register this client: {says}")]
    Registration {
        /// The authorization server.
        issuer: String,
        /// What it says.
        says: ServerSays,
    },
    /// The human part failed.
    #[error(transparent)]
    Authorize(#[from] AuthorizeError),
    /// The answer to the authorization request comes from someone else, or cannot be read; it was not used.
    #[error("the answer to the authorization request was not used: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The authorization request was refused.
    #[error("`{issuer}` refused the authorization: {says}")]
    Denied {
        /// The authorization server.
        issuer: String,
        /// What it says.
        says: ServerSays,
    },
    /// The token request was refused.
    #[error("`{issuer}` refused the token request: {says}")]
    TokenRefused {
        /// The authorization server.
        issuer: String,
        /// What it says.
        says: ServerSays,
    },
    /// The authorization server did not take a token back; it is forgotten all the same.
    #[error("`{issuer}` did not revoke the token, which stays good until it expires: {says}")]
    RevocationRefused {
        /// The authorization server.
        issuer: String,
        /// What it says.
        says: ServerSays,
    },
    /// The server goes on refusing.
    #[error(
        "gave up on `{operation}` after {attempts} authorizations: the server still refuses{}",
        wants(scopes)
    )]
    TooManyAttempts {
        /// The operation.
        operation: String,
        /// How often it was tried.
        attempts: usize,
        /// The scopes that it asks for.
        scopes: String,
    },
    /// The authorization that this request waited for failed.
    #[error("the authorization that was under way failed: {reason}")]
    Meanwhile {
        /// Why.
        reason: String,
    },
    /// A key or assertion cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Key {
        /// Which one.
        what: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// What proves the workload or the user could not be had.
    #[error("no {what} is to be had")]
    Assertion {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The source of randomness failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The task that fetched the token ended early.
    #[error("the task that fetches tokens was stopped")]
    Stopped,
}

impl OAuthError {
    /// Whether the authorization server answered the token request with `code` (RFC 6749, section 5.2).
    #[must_use]
    pub fn is_token_error(&self, code: &str) -> bool {
        matches!(self, Self::TokenRefused { says, .. } if says.error() == code)
    }

    /// Whether the authorization server cannot revoke tokens of that type (RFC 7009, section 2.2.1).
    pub(crate) fn is_unsupported_token_type(&self) -> bool {
        matches!(self, Self::RevocationRefused { says, .. } if says.error() == "unsupported_token_type")
    }

    /// Whether the authorization server will refuse the same refresh token again. What is only out of order today
    /// (a status of 500 and more, `temporarily_unavailable`) must not cost the tokens.
    pub(crate) fn is_final(&self) -> bool {
        const FINAL: [&str; 6] = [
            "invalid_client",
            "invalid_grant",
            "invalid_scope",
            "invalid_target",
            "unauthorized_client",
            "unsupported_grant_type",
        ];
        FINAL.iter().any(|code| self.is_token_error(code))
    }
}

/// What an authorization server says about its refusal (RFC 6749, sections 4.1.2.1 and 5.2; RFC 7591, section 3.2.2).
///
/// Its text is a stranger's: control characters are taken out, and it is cut to 200 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSays {
    error: String,
    description: Option<String>,
}

impl ServerSays {
    /// What was said.
    #[must_use]
    pub fn new(error: &str, description: Option<&str>) -> Self {
        Self {
            error: quoted(error),
            description: description.map(quoted).filter(|text| !text.is_empty()),
        }
    }

    /// The error code.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }

    /// The text for people.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

impl fmt::Display for ServerSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.description {
            Some(description) => write!(f, "{} ({description})", self.error),
            None => f.write_str(&self.error),
        }
    }
}

/// A text of a server as it may be repeated.
pub(crate) fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_QUOTED)
        .collect()
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("`{text}`")).collect();
    texts.join(", ")
}

fn wants(scopes: &str) -> String {
    if scopes.is_empty() {
        String::new()
    } else {
        format!(" and asks for `{scopes}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_cut_and_plain() {
        let says = ServerSays::new("access_denied\r\n", Some(&"\u{1b}[31mx".repeat(200)));
        assert_eq!(says.error(), "access_denied");
        assert_eq!(says.description().unwrap().chars().count(), MAX_QUOTED);
        assert!(!says.to_string().contains('\u{1b}'));
        assert_eq!(ServerSays::new("x", Some("\n")).to_string(), "x");
    }
}
