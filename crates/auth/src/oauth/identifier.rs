//! Identifiers of issuers and resources, and URLs that others give: looked into, never rewritten.

use url::Url;

/// Longest identifier or URL, in bytes.
const MAX_BYTES: usize = 2_048;

/// Why a text is no identifier.
pub(crate) type Unfit = &'static str;

/// Parses a URL that others gave, to look into it. The text stays what it is.
pub(crate) fn parse(text: &str) -> Result<Url, Unfit> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > MAX_BYTES {
        return Err("is longer than 2048 bytes");
    }
    // What `Url` would tolerate and take out, other readers see.
    let plain = |b: u8| b.is_ascii_graphic() && !br#""\<>`"#.contains(&b);
    if !text.bytes().all(plain) {
        return Err("holds characters that a url must not have");
    }
    let url = Url::parse(text).map_err(|_| "is not a url")?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("is neither an https nor an http url");
    }
    if url.host().is_none() {
        return Err("has no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or a password");
    }
    Ok(url)
}

/// Parses an issuer: no query and no fragment (RFC 8414, section 2).
pub(crate) fn issuer(text: &str) -> Result<Url, Unfit> {
    let url = parse(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    Ok(url)
}

/// Parses a resource: no fragment (RFC 8707, section 2).
pub(crate) fn resource(text: &str) -> Result<Url, Unfit> {
    let url = parse(text)?;
    if url.fragment().is_some() {
        return Err("has a fragment");
    }
    Ok(url)
}

/// Parses a URL that is the id of a client, and of the document that describes it: a path, without `.` and `..`, and no fragment.
///
/// Source: OAuth Client ID Metadata Document (draft-ietf-oauth-client-id-metadata-document), section 3.
pub(crate) fn document(text: &str) -> Result<Url, Unfit> {
    let url = resource(text)?;
    let (_, rest) = split_origin(text);
    let path = rest.split('?').next().unwrap_or_default();
    let is_dots = |segment: &str| {
        // Readers of URLs take these for dots.
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    if path.len() < 2 || path.split('/').any(is_dots) {
        return Err("must have a path, without `.` and `..`");
    }
    Ok(url)
}

/// Splits `https://host:port/path?query` before the path or the query.
pub(crate) fn split_origin(text: &str) -> (&str, &str) {
    let host_at = text.find("://").map_or(0, |at| at + 3);
    let rest = text.get(host_at..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']);
    text.split_at(end.map_or(text.len(), |end| host_at + end))
}

/// Whether two URLs have scheme, host and port in common.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin().is_tuple() && one.origin() == other.origin()
}

/// Whether metadata for `resource` speaks for the server at `server`: the same text, or of the same origin with a path
/// that the server's path lies beneath. Metadata at the root of a host names the host itself.
///
/// Source: RFC 9728, section 3.3; MCP 2026-07-28, basic/authorization, "Canonical Server URI".
pub(crate) fn covers(resource: &str, server: &str) -> bool {
    if resource == server {
        return true;
    }
    let (Ok(of), Ok(at)) = (self::resource(resource), self::resource(server)) else {
        return false;
    };
    if !same_origin(&of, &at) || (of.query().is_some() && of.query() != at.query()) {
        return false;
    }
    let above = of.path().strip_suffix('/').unwrap_or(of.path());
    at.path()
        .strip_prefix(above)
        .is_some_and(|beneath| beneath.is_empty() || beneath.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_others_are_looked_into() {
        for good in ["https://h", "http://127.0.0.1:1/x", "https://h/p?q#f"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h",
            "file:///etc/passwd",
            "https://u:p@h",
            "https://h/a b",
            "https:\\\\h",
            "javascript:alert(1)",
            "https://h/\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(issuer("https://h/p").is_ok());
        assert!(issuer("https://h?x").is_err());
        assert!(issuer("https://h#x").is_err());
        assert!(resource("https://h?x").is_ok());
        assert!(resource("https://h#x").is_err());
        assert!(parse(&format!("https://h/{}", "a".repeat(MAX_BYTES))).is_err());
    }

    #[test]
    fn metadata_speaks_for_its_own_server_alone() {
        for (resource, server) in [
            ("https://h/mcp", "https://h/mcp"),
            ("https://h", "https://h/mcp"),
            ("https://h/", "https://h/mcp"),
            ("https://H", "https://h/mcp"),
            ("https://h:443", "https://h/mcp"),
            ("https://h/mcp/", "https://h/mcp"),
            ("https://h/a", "https://h/a/mcp"),
            ("https://h/mcp", "https://h/mcp?x=1"),
            ("https://h/mcp?x=1", "https://h/mcp?x=1"),
        ] {
            assert!(covers(resource, server), "{resource} {server}");
        }
        for (resource, server) in [
            ("https://evil.example/mcp", "https://h/mcp"),
            ("http://h/mcp", "https://h/mcp"),
            ("https://h:8443/mcp", "https://h/mcp"),
            ("https://h/mc", "https://h/mcp"),
            ("https://h/mcp/x", "https://h/mcp"),
            ("https://h/a/../b", "https://h/a"),
            ("https://h/mcp?x=2", "https://h/mcp?x=1"),
            ("https://h/mcp#x", "https://h/mcp"),
            ("https://h.evil.example", "https://h/mcp"),
            ("", "https://h/mcp"),
        ] {
            assert!(!covers(resource, server), "{resource} {server}");
        }
    }

    #[test]
    fn an_origin_is_split_off_as_text() {
        for (text, origin, rest) in [
            ("https://H:8443", "https://H:8443", ""),
            ("https://h/p?q", "https://h", "/p?q"),
            ("https://h?q", "https://h", "?q"),
        ] {
            assert_eq!(split_origin(text), (origin, rest));
        }
    }
}
