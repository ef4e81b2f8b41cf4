//! Takes the bearer token out of a request's headers.
//!
//! Only the `Authorization` header is looked at, and where API keys are taken `X-API-Key`: a token in a query would stand in every log between here and there.
//!
//! Source: RFC 6750, section 2.1; MCP 2026-07-28, basic/authorization, "Token Requirements".

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::api_key;

/// The header that carries an [API key](api_key) and nothing else.
pub const API_KEY: &str = "x-api-key";

/// The most bytes of a token: 16 KiB. Larger ones do not fit the header limits of common servers.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A request without a usable bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// There is more than one header with a token: two readers could pick two tokens.
    #[error("the request has more than one `authorization` or `x-api-key` header")]
    Duplicate,
    /// The token holds characters that a token cannot hold.
    #[error("the bearer token is not well formed")]
    Malformed,
    /// There is no bearer token.
    #[error("the request has no bearer token")]
    Missing,
    /// The token is too long.
    #[error("the bearer token has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
}

impl BearerError {
    /// A fixed word for records and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate_header",
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::TooLong => "too_long",
        }
    }
}

/// Returns the bearer token of a request.
///
/// # Errors
/// If there is none (no header, or one of another scheme), more than one, or one that cannot be a token.
pub fn token(headers: &HeaderMap) -> Result<&str, BearerError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(BearerError::Missing),
        (Some(_), Some(_)) => return Err(BearerError::Duplicate),
        (Some(value), None) => value.to_str().map_err(|_| BearerError::Malformed)?,
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(BearerError::Missing);
    }
    // RFC 9110, section 11.4: one or more spaces between scheme and credentials.
    let token = token.trim_start_matches(' ');
    if token.is_empty() {
        return Err(BearerError::Missing);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(BearerError::TooLong);
    }
    if !is_b64token(token) {
        return Err(BearerError::Malformed);
    }
    Ok(token)
}

/// Returns the bearer token of a request, or the API key of its header [`API_KEY`].
///
/// # Errors
/// As [`token`]; if there are both; if the header holds something else than an API key.
pub fn token_or_api_key(headers: &HeaderMap) -> Result<&str, BearerError> {
    let mut values = headers.get_all(API_KEY).iter();
    let Some(value) = values.next() else {
        return token(headers);
    };
    if values.next().is_some() || headers.contains_key(AUTHORIZATION) {
        return Err(BearerError::Duplicate);
    }
    let key = value.to_str().map_err(|_| BearerError::Malformed)?;
    // Any other token here would pass by rules that look for tokens where they belong.
    if api_key::is_api_key(key) {
        Ok(key)
    } else {
        Err(BearerError::Malformed)
    }
}

/// Source: RFC 6750, section 2.1: `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub(crate) fn is_b64token(token: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() | matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    let body = token.trim_end_matches('=').as_bytes();
    // A token of a thousand bytes is looked at with every request: without a way out in the middle, many bytes at once.
    !body.is_empty() && body.iter().fold(true, |fits, b| fits & allowed(*b))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, BearerError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers).map(str::to_owned)
    }

    #[test]
    fn the_table_of_headers() {
        for (value, expected) in [
            (&b"Bearer abc"[..], Ok("abc")),
            (b"bearer abc", Ok("abc")),
            (b"BEARER abc", Ok("abc")),
            (b"Bearer   abc", Ok("abc")),
            (b"Bearer a-b.c_d~e+f/g==", Ok("a-b.c_d~e+f/g==")),
            (b"Bearer", Err(BearerError::Missing)),
            (b"Bearer ", Err(BearerError::Missing)),
            (b"", Err(BearerError::Missing)),
            (b"abc", Err(BearerError::Missing)),
            (b"Basic dXNlcjpwYXNz", Err(BearerError::Missing)),
            (b"Bearerabc", Err(BearerError::Missing)),
            (b"Bearer\tabc", Err(BearerError::Missing)),
            (b"Bearer a b", Err(BearerError::Malformed)),
            (b"Bearer a,b", Err(BearerError::Malformed)),
            (b"Bearer a=b", Err(BearerError::Malformed)),
            (b"Bearer ==", Err(BearerError::Malformed)),
            (b"Bearer \"abc\"", Err(BearerError::Malformed)),
            (b"Bearer abc ", Err(BearerError::Malformed)),
            (b"Bearer \xc3\xa9", Err(BearerError::Malformed)),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(read(&[value]), expected, "{}", value.escape_ascii());
        }
        assert_eq!(read(&[]), Err(BearerError::Missing));
    }

    #[test]
    fn exactly_one_header() {
        let twice = read(&[b"Bearer abc", b"Bearer abc"]);
        assert_eq!(twice, Err(BearerError::Duplicate));
        let mixed = read(&[b"Basic eA==", b"Bearer abc"]);
        assert_eq!(mixed, Err(BearerError::Duplicate));
    }

    #[test]
    fn an_api_key_has_a_header_of_its_own() {
        let read = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            token_or_api_key(&headers).map(str::to_owned)
        };
        assert_eq!(read(&[("x-api-key", "fmk_1")]), Ok("fmk_1".to_owned()));
        assert_eq!(read(&[("authorization", "Bearer a")]), Ok("a".to_owned()));
        assert_eq!(read(&[("x-api-key", "a.b.c")]), Err(BearerError::Malformed));
        assert_eq!(read(&[]), Err(BearerError::Missing));
        for second in [("x-api-key", "fmk_2"), ("authorization", "Bearer a")] {
            let both = read(&[("x-api-key", "fmk_1"), second]);
            assert_eq!(both, Err(BearerError::Duplicate));
        }
    }

    #[test]
    fn the_bound_is_exact() {
        let longest = "x".repeat(MAX_TOKEN_BYTES);
        assert!(read(&[format!("Bearer {longest}").as_bytes()]).is_ok());
        let longer = read(&[format!("Bearer {longest}x").as_bytes()]);
        assert_eq!(longer, Err(BearerError::TooLong));
    }
}
