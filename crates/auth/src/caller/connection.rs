//! Over what a caller came.

use std::net::IpAddr;

/// The most bytes of a `User-Agent` that are kept.
const MAX_USER_AGENT_BYTES: usize = 256;

/// The facts of a connection, which the door knows and no token proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    client_address: Option<IpAddr>,
    user_agent: Option<UserAgent>,
}

impl Connection {
    /// Takes the peer's address (a forwarded one only from a configured trusted proxy) and its `User-Agent` header.
    ///
    /// An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) becomes the IPv4 address that it is.
    #[must_use]
    pub fn new(client_address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self {
            client_address: client_address.map(|address| address.to_canonical()),
            user_agent: user_agent.and_then(UserAgent::parse),
        }
    }

    /// The same connection, with the program as MCP's `clientInfo` names it.
    #[must_use]
    pub fn with_client_info(mut self, name: &str, version: &str) -> Self {
        self.user_agent = UserAgent::from_client_info(name, version).or(self.user_agent);
        self
    }

    /// The address that the caller calls from.
    #[must_use]
    pub const fn client_address(&self) -> Option<IpAddr> {
        self.client_address
    }

    /// The program that the caller calls with.
    #[must_use]
    pub const fn user_agent(&self) -> Option<&UserAgent> {
        self.user_agent.as_ref()
    }
}

/// A program, as it names itself. Nobody vouches for it.
///
/// At most 256 bytes of it are kept, without control characters, so that it can stand in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    text: String,
    product: Option<String>,
    version: Option<String>,
}

impl UserAgent {
    /// Reads a `User-Agent` header; `None` if nothing printable is in it.
    ///
    /// Source: RFC 9110, section 10.1.5: the first product is the most significant.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let text = printable(header)?;
        let first = text.split(' ').next().unwrap_or_default();
        let (product, version) = match first.split_once('/') {
            Some((product, version)) => (product, Some(version)),
            None => (first, None),
        };
        let product = is_token(product).then(|| product.to_owned());
        let version = version.filter(|v| is_token(v)).map(str::to_owned);
        Some(Self {
            version: version.filter(|_| product.is_some()),
            product,
            text,
        })
    }

    /// Takes the name and version of an MCP `clientInfo`; `None` if the name has nothing printable in it.
    #[must_use]
    pub fn from_client_info(name: &str, version: &str) -> Option<Self> {
        let name = printable(name)?;
        let version = printable(version);
        let text = match &version {
            Some(version) => [&*name, "/", version].concat(),
            None => name.clone(),
        };
        Some(Self {
            text: printable(&text)?,
            product: Some(name),
            version,
        })
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the program.
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        self.product.as_deref()
    }

    /// The version of the program.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// The text without control characters, trimmed, cut at [`MAX_USER_AGENT_BYTES`] on a character's edge.
fn printable(text: &str) -> Option<String> {
    let plain = |b: &u8| (b' '..=b'~').contains(b);
    if text.len() <= MAX_USER_AGENT_BYTES && text.as_bytes().iter().all(plain) {
        // Nearly every one is, and comes with each request.
        let text = text.trim_matches(' ');
        return (!text.is_empty()).then(|| text.to_owned());
    }
    let mut kept = String::new();
    // The bound holds for what is read, too: a long run of control characters costs nothing.
    for c in text.trim().chars().take(MAX_USER_AGENT_BYTES) {
        if kept.len() + c.len_utf8() > MAX_USER_AGENT_BYTES {
            break;
        }
        if !c.is_control() {
            kept.push(c);
        }
    }
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// Source: RFC 9110, section 5.6.2, "token".
fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_product() {
        for (header, product, version) in [
            (
                "Mozilla/5.0 (X11; Linux) Gecko/1",
                Some("Mozilla"),
                Some("5.0"),
            ),
            ("curl", Some("curl"), None),
            ("  agent/2  ", Some("agent"), Some("2")),
            ("(comment only)", None, None),
            ("/5", None, None),
            ("a/b/c", Some("a"), None),
        ] {
            let agent = UserAgent::parse(header).unwrap();
            assert_eq!(
                (agent.product(), agent.version()),
                (product, version),
                "{header}"
            );
        }
    }

    #[test]
    fn is_bounded_and_printable() {
        assert_eq!(UserAgent::parse(" \u{1b} "), None);
        let agent = UserAgent::parse(&format!("x\u{1b}[31m\n{}", "é".repeat(400))).unwrap();
        assert!(agent.as_str().len() <= MAX_USER_AGENT_BYTES);
        assert!(!agent.as_str().contains(char::is_control));
        let long = UserAgent::from_client_info(&"n".repeat(300), &"v".repeat(300)).unwrap();
        assert!(long.as_str().len() <= MAX_USER_AGENT_BYTES);
    }

    #[test]
    fn client_info_wins_over_the_header() {
        let connection = Connection::new(None, Some("node/22")).with_client_info("my host", "3.1");
        assert_eq!(connection.user_agent().unwrap().as_str(), "my host/3.1");
        let kept = Connection::new(None, Some("node/22")).with_client_info("", "");
        assert_eq!(kept.user_agent().unwrap().product(), Some("node"));
    }
}
