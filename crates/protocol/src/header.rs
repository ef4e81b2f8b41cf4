//! HTTP headers that mirror the body.
//!
//! Source: MCP 2026-07-28, basic/transports/streamable-http, "Headers" (SEP-2243).

mod param;

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use param::{BadMirror, MirroredParam, check_params, mirrored_params};

/// The revision.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// The method of the body.
pub const METHOD: &str = "mcp-method";
/// The name, URI or task id that the body addresses.
pub const NAME: &str = "mcp-name";
/// What the name of a mirrored argument begins with.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// The session of a legacy client.
pub const SESSION_ID: &str = "mcp-session-id";

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// A header value says that it is base64 and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value between `=?base64?` and `?=` is not base64 of UTF-8 text")]
pub struct BadSentinel;

/// Reads a header value: text between `=?base64?` and `?=` is decoded, strictly; anything else is literal.
///
/// # Errors
///
/// [`BadSentinel`] when the marked text is not standard base64 of UTF-8.
pub fn decode(value: &str) -> Result<Cow<'_, str>, BadSentinel> {
    let value = value.trim_matches([' ', '\t']);
    let Some(inner) = value.strip_prefix(OPEN).and_then(|v| v.strip_suffix(CLOSE)) else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(inner).map_err(|_| BadSentinel)?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| BadSentinel)
}

/// Writes a header value that [`decode`] reads back.
#[must_use]
pub fn encode(value: &str) -> Cow<'_, str> {
    let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b));
    let trimmed = value.starts_with(' ') || value.ends_with(' ');
    let marked = value.starts_with(OPEN) && value.ends_with(CLOSE);
    if printable && !trimmed && !marked {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_values_are_trimmed_and_kept() {
        assert_eq!(decode(" add\t"), Ok("add".into()));
        assert_eq!(decode("=?base64?YWRk"), Ok("=?base64?YWRk".into()));
        assert_eq!(decode("=?BASE64?YWRk?="), Ok("=?BASE64?YWRk?=".into()));
    }

    #[test]
    fn marked_values_are_decoded_strictly() {
        assert_eq!(decode("=?base64?w7xiZXI=?="), Ok("über".into()));
        assert_eq!(decode("=?base64?w7xiZXI?="), Err(BadSentinel));
        assert_eq!(decode("=?base64?w7xi*XI=?="), Err(BadSentinel));
        assert_eq!(decode("=?base64?/w==?="), Err(BadSentinel));
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        for value in [
            "",
            "add",
            " lead",
            "über",
            "a\tb",
            "=?base64?YWRk?=",
            "a\nb",
        ] {
            assert_eq!(decode(&encode(value)), Ok(value.into()), "{value:?}");
        }
    }
}
