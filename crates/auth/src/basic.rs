//! HTTP Basic, as OAuth clients and resource servers prove themselves to an authorization server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

/// The value of `Authorization`, marked as sensitive; `None` if it cannot be sent.
///
/// Source: RFC 6749, section 2.3.1: both parts are form-encoded first.
pub(crate) fn authorization(id: &str, secret: &SecretString) -> Option<HeaderValue> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret.expose_secret()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
