//! Which hosts and origins a request may name.
//!
//! A page in a browser can reach loopback under a name of its own (DNS rebinding), so the names are
//! checked before anything else. Source: MCP 2026-07-28, streamable-http, "Security Warning".

use std::collections::BTreeSet;

use http::{HeaderMap, Uri, header};

/// The host names under which the server may be addressed, ports apart.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    names: BTreeSet<String>,
    origins: BTreeSet<String>,
    any: bool,
}

/// A request names a host or origin that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header} `{value}` is not allowed here; allow it by configuration if it is yours")]
pub struct Forbidden {
    header: &'static str,
    value: String,
}

impl Default for AllowedHosts {
    /// The names of loopback: `localhost`, `127.0.0.1` and `[::1]`.
    fn default() -> Self {
        Self {
            names: ["localhost", "127.0.0.1", "[::1]"]
                .map(str::to_owned)
                .into(),
            origins: BTreeSet::new(),
            any: false,
        }
    }
}

impl AllowedHosts {
    /// Allows every name: for servers behind a proxy that checks them.
    #[must_use]
    pub fn any() -> Self {
        Self {
            any: true,
            ..Self::default()
        }
    }

    /// Allows `host`, a name without scheme; a port is cut off.
    #[must_use]
    pub fn allow_host(mut self, host: &str) -> Self {
        self.names.insert(host_name(host).to_ascii_lowercase());
        self
    }

    /// Allows the origin `origin`, for example `https://app.example.com`.
    #[must_use]
    pub fn allow_origin(mut self, origin: &str) -> Self {
        self.origins
            .insert(origin.trim_end_matches('/').to_ascii_lowercase());
        self
    }

    /// Checks `Host` and `Origin`.
    ///
    /// # Errors
    ///
    /// [`Forbidden`] when one of them is not allowed, is sent twice, or `Host` is missing.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Forbidden> {
        if self.any {
            return Ok(());
        }
        let host = single(headers, &header::HOST, "Host")?;
        // Over HTTP/2 the request line has it; where both do, both count.
        let authority = uri.authority().map(http::uri::Authority::as_str);
        for named in [host, authority] {
            if let Some(name) = named.filter(|name| !self.names_host(name)) {
                return Err(forbidden("Host", name));
            }
        }
        if host.is_none() && authority.is_none() {
            return Err(forbidden("Host", ""));
        }
        match single(headers, &header::ORIGIN, "Origin")? {
            Some(origin) if !self.names_origin(origin) => Err(forbidden("Origin", origin)),
            _ => Ok(()),
        }
    }

    fn names_host(&self, host: &str) -> bool {
        let host = host_name(host);
        // The names are few, and this runs for every request.
        self.names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host))
    }

    fn names_origin(&self, origin: &str) -> bool {
        if self.origins.contains(origin.to_ascii_lowercase().as_str()) {
            return true;
        }
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| !host.contains(['/', '@', '?', '#']) && self.names_host(host))
    }
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
    shown: &'static str,
) -> Result<Option<&'a str>, Forbidden> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| forbidden(shown, "not ASCII")),
        (Some(_), Some(_)) => Err(forbidden(shown, "sent twice")),
    }
}

fn forbidden(header: &'static str, value: &str) -> Forbidden {
    Forbidden {
        header,
        value: value.chars().take(128).collect(),
    }
}

/// The name in `host[:port]`; an IPv6 literal keeps its brackets.
fn host_name(host: &str) -> &str {
    if host.starts_with('[') {
        return host
            .find(']')
            .and_then(|end| host.get(..=end))
            .unwrap_or(host);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        AllowedHosts::default()
            .allow_host("mcp.example.com")
            .allow_origin("https://app.example.com")
            .check(&Uri::from_static("/mcp"), &headers)
            .is_ok()
    }

    #[test]
    fn loopback_and_configured_names_pass() {
        for host in [
            "localhost",
            "localhost:8000",
            "127.0.0.1:1",
            "[::1]:8000",
            "MCP.example.com",
        ] {
            assert!(check(&[("host", host)]), "{host}");
        }
        assert!(check(&[
            ("host", "localhost:1"),
            ("origin", "http://localhost:1")
        ]));
        assert!(check(&[
            ("host", "localhost:1"),
            ("origin", "https://app.example.com")
        ]));
    }

    #[test]
    fn other_names_are_refused() {
        for host in [
            "evil.test",
            "evil.test:8000",
            "localhost.evil.test",
            "localhost.",
            "[::2]:1",
            "",
        ] {
            assert!(!check(&[("host", host)]), "{host}");
        }
        assert!(!check(&[]), "no host at all");
        for origin in [
            "https://evil.test",
            "null",
            "http://localhost@evil.test",
            "file://",
            "http://127.0.0.1.evil.test",
        ] {
            assert!(
                !check(&[("host", "localhost"), ("origin", origin)]),
                "{origin}"
            );
        }
        assert!(!check(&[
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("origin", "http://localhost")
        ]));
        assert!(!check(&[("host", "localhost"), ("host", "evil.test")]));
    }
}
