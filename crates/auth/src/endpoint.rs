//! URLs that a configuration names, checked before anything rests on them.

use url::{Host, Url};

use crate::error::ConfigError;

/// Parses an `https` URL, or an `http` one whose host is this machine.
///
/// The text is the identifier and stays as it is; the parsed form is for looking inside. `Url` tolerates spaces, tabs
/// and backslashes, which would leave the two different, so they are refused.
pub(crate) fn parse(field: &'static str, text: &str) -> Result<Url, ConfigError> {
    let unfit = |problem| ConfigError::Unfit {
        field,
        value: text.chars().take(200).collect(),
        problem,
    };
    ConfigError::unless_empty(field, text.is_empty())?;
    if text.len() > 2_048 {
        return Err(unfit("is longer than 2048 bytes"));
    }
    let plain = |b: u8| b.is_ascii_graphic() && !br#""\<>`"#.contains(&b);
    if !text.bytes().all(plain) {
        return Err(unfit(
            "holds characters that a URL must not have; percent-encode them",
        ));
    }
    let url = Url::parse(text).map_err(|_| unfit("is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unfit("must not hold a user name or a password"));
    }
    if url.fragment().is_some() {
        return Err(unfit("must not have a fragment (`#...`)"));
    }
    let local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(unfit("has no host")),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err(unfit(
            "must begin with https:// (http:// is for this machine alone)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_or_this_machine() {
        for good in [
            "https://idp.example/jwks",
            "http://127.0.0.1:8080/x",
            "http://[::1]/",
            "http://localhost:1",
            "https://h/p?q=1",
        ] {
            assert!(parse("url", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "idp",
            "http://idp.example/",
            "http://localhost.evil.example/",
            "file:///etc/passwd",
            "https://u:p@h/",
            "https://h/#f",
            "https://h/a b",
            "https:\\\\h",
            "https://h/\"",
            "https://h/\u{e9}",
            "data:text/plain,x",
        ] {
            assert!(parse("url", bad).is_err(), "{bad}");
        }
        assert!(parse("url", &format!("https://h/{}", "a".repeat(2_048))).is_err());
    }
}
