//! What a refused client is told: the `WWW-Authenticate` header.
//!
//! Source: RFC 6750, section 3; RFC 9728, section 5.1 (`resource_metadata`); RFC 9110, section 11.6.1; MCP 2026-07-28,
//! basic/authorization, "Protected Resource Metadata Discovery" and "Scope Challenge Handling".

use http::HeaderValue;

use crate::claims::read::is_scope;
use crate::endpoint;
use crate::error::ConfigError;

/// A refresh token is between a client and its authorization server, so this scope has no place in a challenge.
///
/// Source: MCP 2026-07-28, basic/authorization, "Scope Selection Strategy".
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// Builds the challenges of one protected resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenger {
    resource_metadata: Option<String>,
    scopes: Vec<String>,
}

impl Challenger {
    /// Challenges that say no more than that a bearer token is needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the URL of the resource's metadata ([`ResourceMetadata::url`](crate::ResourceMetadata::url)), from which a
    /// client learns where to get a token.
    ///
    /// # Errors
    /// If it is not an `https` URL (or an `http` one to this machine).
    pub fn with_resource_metadata(mut self, url: &str) -> Result<Self, ConfigError> {
        endpoint::parse("resource_metadata", url)?;
        self.resource_metadata = Some(url.to_owned());
        Ok(self)
    }

    /// Names the scopes that a client should ask for to get in.
    ///
    /// # Errors
    /// If one is not a scope, or is `offline_access`.
    pub fn with_scopes<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        self.scopes = checked_scopes("challenge scopes", scopes)?;
        Ok(self)
    }

    /// For a request without a token: 401, and no error, since nothing was wrong with a token.
    #[must_use]
    pub fn missing(&self) -> HeaderValue {
        self.header(&[], &self.scopes)
    }

    /// For a token that was refused: 401 `invalid_token`.
    #[must_use]
    pub fn invalid_token(&self, description: &str) -> HeaderValue {
        let error = [
            ("error", "invalid_token"),
            ("error_description", description),
        ];
        self.header(&error, &self.scopes)
    }

    /// For a request that carries a token in a way that cannot be read: 400 `invalid_request`.
    #[must_use]
    pub fn invalid_request(&self, description: &str) -> HeaderValue {
        let error = [
            ("error", "invalid_request"),
            ("error_description", description),
        ];
        self.header(&error, &[])
    }

    /// For a token that does not reach: 403 `insufficient_scope`, with *all* scopes that the operation needs, so that
    /// one step up is enough.
    #[must_use]
    pub fn insufficient_scope(&self, needed: &[String], description: &str) -> HeaderValue {
        let error = [
            ("error", "insufficient_scope"),
            ("error_description", description),
        ];
        self.header(&error, needed)
    }

    fn header(&self, parameters: &[(&str, &str)], scopes: &[String]) -> HeaderValue {
        let mut text = String::from("Bearer");
        let mut separator = ' ';
        let mut push = |name: &str, value: &str| {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            text.extend(value.chars().map(quotable));
            text.push('"');
            separator = ',';
        };
        for (name, value) in parameters {
            push(name, value);
        }
        let scopes: Vec<&str> = scopes
            .iter()
            .map(String::as_str)
            .filter(|scope| is_scope(scope) && *scope != OFFLINE_ACCESS)
            .collect();
        if !scopes.is_empty() {
            push("scope", &scopes.join(" "));
        }
        if let Some(url) = &self.resource_metadata {
            push("resource_metadata", url);
        }
        // All that was pushed is printable ASCII.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

/// RFC 6750, section 3, allows neither quotes nor backslashes nor anything beyond printable ASCII in `error_description`
/// and `scope`; so nothing ever needs to be escaped, which readers are known to get wrong.
fn quotable(c: char) -> char {
    match c {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    }
}

/// Refuses what is not a scope that a resource may name.
pub(crate) fn checked_scopes<S: Into<String>>(
    field: &'static str,
    scopes: impl IntoIterator<Item = S>,
) -> Result<Vec<String>, ConfigError> {
    let checked = |scope: S| {
        let scope: String = scope.into();
        if !is_scope(&scope) {
            return Err(ConfigError::Unfit {
                field,
                value: scope,
                problem: "is not a scope: use printable ASCII without spaces, quotes and backslashes",
            });
        }
        if scope == OFFLINE_ACCESS {
            return Err(ConfigError::Unfit {
                field,
                value: scope,
                problem: "is between a client and its authorization server: leave it out",
            });
        }
        Ok(scope)
    };
    scopes.into_iter().map(checked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = "https://mcp.example/.well-known/oauth-protected-resource/mcp";

    fn challenger() -> Challenger {
        Challenger::new()
            .with_resource_metadata(METADATA)
            .and_then(|c| c.with_scopes(["mcp.read", "mcp.write"]))
            .unwrap()
    }

    #[test]
    fn the_challenges_are_exactly_these() {
        let challenger = challenger();
        assert_eq!(
            challenger.missing(),
            format!(r#"Bearer scope="mcp.read mcp.write",resource_metadata="{METADATA}""#)
        );
        assert_eq!(
            challenger.invalid_token("the token has expired"),
            format!(
                r#"Bearer error="invalid_token",error_description="the token has expired",scope="mcp.read mcp.write",resource_metadata="{METADATA}""#
            )
        );
        let needed = ["tools.invoke:write".to_owned()];
        assert_eq!(
            challenger.insufficient_scope(&needed, "more is needed"),
            format!(
                r#"Bearer error="insufficient_scope",error_description="more is needed",scope="tools.invoke:write",resource_metadata="{METADATA}""#
            )
        );
        assert_eq!(
            challenger.invalid_request("twice"),
            format!(
                r#"Bearer error="invalid_request",error_description="twice",resource_metadata="{METADATA}""#
            )
        );
        assert_eq!(Challenger::new().missing(), "Bearer");
    }

    #[test]
    fn nothing_breaks_out_of_its_quotes() {
        let header = Challenger::new().invalid_token("a\"b\\c\r\nSet-Cookie: x\u{e9}\u{0}");
        assert_eq!(
            header,
            r#"Bearer error="invalid_token",error_description="a'b/c??Set-Cookie: x??""#
        );
        let hostile = ["ok".to_owned(), "a\",error=\"x".to_owned(), String::new()];
        assert_eq!(
            Challenger::new().insufficient_scope(&hostile, "-"),
            r#"Bearer error="insufficient_scope",error_description="-",scope="ok""#
        );
    }

    #[test]
    fn offline_access_is_never_asked_for() {
        assert!(Challenger::new().with_scopes(["offline_access"]).is_err());
        let needed = ["offline_access".to_owned()];
        let header = Challenger::new().insufficient_scope(&needed, "-");
        assert!(!header.to_str().unwrap().contains("scope=\"offline"));
    }

    #[test]
    fn the_configuration_is_checked() {
        for bad in ["", "mcp.example", "http://mcp.example/x", "https://h/\"x"] {
            assert!(
                Challenger::new().with_resource_metadata(bad).is_err(),
                "{bad}"
            );
        }
        assert!(Challenger::new().with_scopes(["two words"]).is_err());
    }
}
