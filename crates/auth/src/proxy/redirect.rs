//! Where answers to clients may be sent.
//!
//! Source: RFC 6749, section 3.1.2; RFC 8252, sections 7 and 8; RFC 9700, sections 2.1 and 4.1.

use url::{Host, Url};

use crate::error::ConfigError;
use crate::oauth::identifier::{self, split_origin};

/// Longest redirect URI, in bytes.
pub(super) const MAX_BYTES: usize = 1_024;

/// Applications whose scheme is no reversed domain name, as RFC 8252, section 7.1, would have it.
const KNOWN_APPLICATIONS: [&str; 8] = [
    "claude",
    "code-oss",
    "cursor",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "windsurf",
    "zed",
];

/// To which redirect URIs clients may have their answers sent.
///
/// # Defaults
///
/// Any `https` URI; `http` URIs of this machine (`127.0.0.1`, `[::1]`, `localhost`); URIs of applications whose scheme is
/// a reversed domain name (`com.example.app:/callback`, RFC 8252, section 7.1) or one of `claude`, `code-oss`, `cursor`,
/// `vscode`, `vscode-insiders`, `vscodium`, `windsurf` and `zed`. Other schemes start programs that nobody thought of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectRules {
    patterns: Option<Vec<Pattern>>,
    schemes: Vec<String>,
}

/// A pattern of URIs, compared part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    scheme: String,
    host: String,
    /// Whether any name beneath the host is meant, and not the host itself.
    beneath: bool,
    port: Port,
    path: String,
    /// Whether the path is only how it begins.
    begins: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Any,
    Exactly(Option<u16>),
}

impl RedirectRules {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows what this pattern says, and nothing else but other patterns: `https://app.example/callback`,
    /// `https://*.example.com/*`, `http://localhost:*/*`. A star stands for the names beneath a host, for every port, or
    /// for the end of a path; everything else is compared exactly.
    ///
    /// # Errors
    /// If it is no pattern.
    pub fn allow(mut self, pattern: &str) -> Result<Self, ConfigError> {
        let parsed = Pattern::parse(pattern).ok_or_else(|| ConfigError::Unfit {
            field: "redirect_uris",
            value: pattern.chars().take(200).collect(),
            problem: "is no pattern: write `scheme://host/path`, where the host may begin with `*.`, \
                      the port may be `*`, and the path may end in `*`",
        })?;
        self.patterns.get_or_insert_default().push(parsed);
        Ok(self)
    }

    /// Allows applications of this scheme too, such as `myeditor`.
    ///
    /// # Errors
    /// If it is no scheme, or one that a browser runs or reads itself.
    pub fn allow_scheme(mut self, scheme: &str) -> Result<Self, ConfigError> {
        let begins = scheme.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if !begins || !scheme.bytes().all(rest) || scheme.len() > 64 || is_of_browsers(scheme) {
            return Err(ConfigError::Unfit {
                field: "redirect_uris",
                value: scheme.chars().take(64).collect(),
                problem: "is no scheme of an application",
            });
        }
        self.schemes.push(scheme.to_owned());
        Ok(self)
    }

    /// Why a client may not have its answers sent to `uri`.
    pub(super) fn check(&self, uri: &str) -> Result<(), &'static str> {
        let url = parsed(uri)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err("must be https, or http to this machine"),
            scheme if self.is_application(scheme) => {}
            _ => return Err("has a scheme that is not allowed here"),
        }
        match &self.patterns {
            Some(patterns) if !patterns.iter().any(|pattern| pattern.matches(&url)) => {
                Err("is not allowed here")
            }
            _ => Ok(()),
        }
    }

    fn is_application(&self, scheme: &str) -> bool {
        KNOWN_APPLICATIONS.contains(&scheme)
            || self.schemes.iter().any(|allowed| allowed == scheme)
            || (scheme.contains('.') && !is_of_browsers(scheme))
    }
}

/// What a browser would run, read or show itself.
fn is_of_browsers(scheme: &str) -> bool {
    [
        "about",
        "blob",
        "chrome",
        "data",
        "file",
        "filesystem",
        "ftp",
        "http",
        "https",
        "intent",
        "javascript",
        "mailto",
        "resource",
        "vbscript",
        "view-source",
        "ws",
        "wss",
    ]
    .contains(&scheme)
}

/// Looks into a redirect URI, which stays what it is.
fn parsed(uri: &str) -> Result<Url, &'static str> {
    if uri.is_empty() || uri.len() > MAX_BYTES {
        return Err("must have 1 to 1024 bytes");
    }
    if uri.starts_with("http:") || uri.starts_with("https:") {
        return match identifier::resource(uri) {
            Ok(url) => Ok(url),
            Err(_) => Err("is no url without a fragment, a user name or a password"),
        };
    }
    let plain = |b: u8| b.is_ascii_graphic() && !br#""\<>`"#.contains(&b);
    if !uri.bytes().all(plain) || uri.contains('#') {
        return Err("holds characters that it must not have");
    }
    match Url::parse(uri) {
        Ok(url) if url.username().is_empty() && url.password().is_none() => Ok(url),
        _ => Err("is not a url"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether `given` is the URI that was registered: the same text, or for this machine the same but for the port, which
/// a native application cannot know beforehand.
///
/// Source: RFC 9700, section 2.1 (exact string matching); RFC 8252, section 7.3.
pub(super) fn is_same(registered: &str, given: &str) -> bool {
    if registered == given {
        return true;
    }
    let (Ok(one), Ok(other)) = (parsed(registered), parsed(given)) else {
        return false;
    };
    let local = |url: &Url| url.scheme() == "http" && is_loopback(url);
    local(&one)
        && local(&other)
        && one.host() == other.host()
        && split_origin(registered).1 == split_origin(given).1
}

/// What an approval of `uri` is remembered under; none for what any program of the machine may answer at, since then
/// nothing but a person's look tells who asks (RFC 8252, section 8.6).
pub(super) fn remembered(uri: &str) -> Option<&str> {
    parsed(uri)
        .ok()
        .filter(|url| url.scheme() == "https")
        .map(|_| uri)
}

/// Whether an error may be sent there before anybody agreed to anything: only to this machine, since everybody can
/// register a URI, and would have a redirect from our name to theirs (RFC 9700, section 4.11.2).
pub(super) fn takes_errors(uri: &str) -> bool {
    parsed(uri).is_ok_and(|url| url.scheme() == "http" && is_loopback(&url))
}

/// How a person is told where the answer goes.
pub(super) fn shown(uri: &str) -> String {
    match parsed(uri) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let host = url.host_str().unwrap_or_default().to_owned();
            if is_loopback(&url) {
                return format!("{host} (a program on this machine)");
            }
            url.port()
                .map_or(host.clone(), |port| format!("{host}:{port}"))
        }
        Ok(url) => format!("{}: (an application on this machine)", url.scheme()),
        Err(_) => String::new(),
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (authority, port) = match authority.strip_suffix(":*") {
            Some(authority) => (authority, Port::Any),
            None => (authority, Port::Exactly(None)),
        };
        let (host, beneath) = match authority.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (authority, false),
        };
        let (path, begins) = match path.strip_suffix('*') {
            Some(path) => (path, true),
            None => (path, false),
        };
        if host.is_empty()
            || text.contains(['?', '#', '@'])
            || host.contains('*')
            || path.contains('*')
        {
            return None;
        }
        let url = Url::parse(&format!("{scheme}://{host}{path}")).ok()?;
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            beneath,
            port: match port {
                Port::Any => Port::Any,
                Port::Exactly(_) => Port::Exactly(url.port()),
            },
            path: url.path().to_owned(),
            begins,
        })
    }

    fn matches(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let host = if self.beneath {
            let above = host.strip_suffix(&self.host);
            above.is_some_and(|above| above.len() > 1 && above.ends_with('.'))
        } else {
            host == self.host
        };
        let path = if self.begins {
            url.path().starts_with(&self.path)
        } else {
            url.path() == self.path
        };
        let port = match self.port {
            Port::Any => true,
            Port::Exactly(port) => url.port() == port,
        };
        url.scheme() == self.scheme && host && path && port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_without_a_word() {
        let rules = RedirectRules::new();
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "http://127.0.0.1:33418/",
            "http://[::1]/callback",
            "http://localhost:1/callback?x=1",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "com.example.app:/callback",
        ] {
            assert_eq!(rules.check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "http://app.example/callback",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "https://u:p@app.example/",
            "https://app.example/#x",
            "https://app.example/a b",
            "https:\\\\app.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "ms-msdt:/id",
            "intent://x#y",
            "/callback",
        ] {
            assert!(rules.check(bad).is_err(), "{bad}");
        }
        assert!(
            rules
                .check(&format!("https://h/{}", "a".repeat(MAX_BYTES)))
                .is_err()
        );
    }

    #[test]
    fn a_registered_uri_is_matched_exactly_but_for_the_port_of_this_machine() {
        for (registered, given) in [
            ("https://h/cb", "https://h/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb"),
            ("http://127.0.0.1:1/cb?x=1", "http://127.0.0.1:2/cb?x=1"),
            ("http://localhost:1/cb", "http://localhost:2/cb"),
            ("http://[::1]:1/cb", "http://[::1]:2/cb"),
        ] {
            assert!(is_same(registered, given), "{registered} {given}");
        }
        for (registered, given) in [
            ("https://h/cb", "https://h/cb/"),
            ("https://h/cb", "https://h/cb?x"),
            ("https://h/cb", "https://h:8443/cb"),
            ("https://h/cb", "https://H/cb"),
            ("https://h/cb", "http://h/cb"),
            ("https://h/cb", "https://h.evil.example/cb"),
            ("https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb"),
            ("http://127.0.0.1:1/cb", "http://localhost:1/cb"),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:1/other"),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb?x"),
            (
                "http://127.0.0.1:1/cb",
                "http://127.0.0.1:1@evil.example/cb",
            ),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1.evil.example/cb"),
            ("app.example:/cb", "app.example:/cb2"),
        ] {
            assert!(!is_same(registered, given), "{registered} {given}");
        }
    }

    #[test]
    fn patterns_are_compared_part_by_part() {
        let rules = RedirectRules::new()
            .allow("https://*.example.com/callback")
            .and_then(|rules| rules.allow("http://localhost:*/*"))
            .unwrap();
        for good in [
            "https://a.example.com/callback",
            "https://a.b.example.com/callback",
            "http://localhost:99/x",
        ] {
            assert_eq!(rules.check(good), Ok(()), "{good}");
        }
        for bad in [
            "https://example.com/callback",
            "https://evilexample.com/callback",
            "https://a.example.com.evil.test/callback",
            "https://evil.test/?https://a.example.com/callback",
            "https://a.example.com/callback/more",
            "https://a.example.com:8443/callback",
            "http://127.0.0.1:99/x",
        ] {
            assert!(rules.check(bad).is_err(), "{bad}");
        }
        for bad in [
            "*",
            "https://",
            "https://*",
            "https://a.*.b/",
            "https://a/*/b",
            "h",
        ] {
            assert!(RedirectRules::new().allow(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schemes_of_applications_are_named() {
        let rules = RedirectRules::new().allow_scheme("myeditor").unwrap();
        assert_eq!(rules.check("myeditor://cb"), Ok(()));
        for bad in ["", "javascript", "A", "1a", "https", "a b"] {
            assert!(RedirectRules::new().allow_scheme(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn approvals_and_errors_know_where_they_may_go() {
        assert!(remembered("https://h/cb").is_some());
        assert!(remembered("http://127.0.0.1:1/cb").is_none());
        assert!(remembered("cursor://x").is_none());
        assert!(takes_errors("http://127.0.0.1:1/cb"));
        assert!(!takes_errors("https://evil.example/cb"));
        assert_eq!(shown("https://app.example:8443/cb"), "app.example:8443");
        assert!(shown("cursor://x/y").starts_with("cursor:"));
    }
}
