//! What proves to the API who is asking.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};

use super::{document::Node, encode::escape};
use crate::error::{Error, Result};

/// A credential for one security scheme of the document. Its value is never shown.
#[derive(Clone)]
pub struct Credential(Value);

#[derive(Clone)]
enum Value {
    Key(String),
    Bearer(String),
    Basic(String, String),
}

impl Credential {
    /// The value of an `apiKey` scheme, which goes where the document says: a header, the query or a cookie.
    pub fn api_key(key: impl Into<String>) -> Self {
        Self(Value::Key(key.into()))
    }

    /// The token of an `http` scheme `bearer`, of `oauth2` or of `openIdConnect`.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self(Value::Bearer(token.into()))
    }

    /// User and password of an `http` scheme `basic`.
    pub fn basic(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Value::Basic(user.into(), password.into()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// A credential in its place.
#[derive(Clone)]
pub(super) enum Proof {
    Header(HeaderName, HeaderValue),
    /// Both parts escaped.
    Query(String, String),
    /// Both parts escaped.
    Cookie(String, String),
}

impl Proof {
    /// The credential as the scheme at `scheme` wants it.
    pub(super) fn of(name: &str, scheme: &Node<'_>, credential: &Credential) -> Result<Self> {
        let unfit = |wanted: &str| {
            Error::internal(format!(
                "credential for `{name}`: the scheme wants {wanted}"
            ))
        };
        let authorization = |text: String| {
            let mut value =
                HeaderValue::from_str(&text).map_err(|_| unfit("visible ASCII characters"))?;
            value.set_sensitive(true);
            Ok(Self::Header(http::header::AUTHORIZATION, value))
        };
        let scheme_of_http = scheme.text("scheme")?.unwrap_or_default();
        match (scheme.needed("type")?, &credential.0) {
            ("apiKey", Value::Key(key)) => key_in(scheme, key)
                .map_err(|e| Error::internal(format!("credential for `{name}`: {e}"))),
            ("http", Value::Bearer(token)) if scheme_of_http.eq_ignore_ascii_case("bearer") => {
                authorization(format!("Bearer {token}"))
            }
            ("oauth2" | "openIdConnect", Value::Bearer(token)) => {
                authorization(format!("Bearer {token}"))
            }
            ("http", Value::Basic(user, password))
                if scheme_of_http.eq_ignore_ascii_case("basic") =>
            {
                if user.contains(':') {
                    return Err(unfit("a user without `:`"));
                }
                authorization(format!(
                    "Basic {}",
                    STANDARD.encode(format!("{user}:{password}"))
                ))
            }
            ("apiKey", _) => Err(unfit("`Credential::api_key`")),
            ("http", _) if scheme_of_http.eq_ignore_ascii_case("bearer") => {
                Err(unfit("`Credential::bearer`"))
            }
            ("http", _) if scheme_of_http.eq_ignore_ascii_case("basic") => {
                Err(unfit("`Credential::basic`"))
            }
            ("oauth2" | "openIdConnect", _) => Err(unfit("`Credential::bearer`")),
            _ => Err(unfit(
                "what cannot be given here; give headers with `headers_by`",
            )),
        }
    }

    /// Whether `text` repeats the secret.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let secret = match self {
            Self::Header(_, value) => value.to_str().unwrap_or_default(),
            Self::Query(_, value) | Self::Cookie(_, value) => value,
        };
        let secret = secret.rsplit(' ').next().unwrap_or_default();
        !secret.is_empty() && text.contains(secret)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, name) = match self {
            Self::Header(name, _) => ("header", name.as_str()),
            Self::Query(name, _) => ("query", name.as_str()),
            Self::Cookie(name, _) => ("cookie", name.as_str()),
        };
        write!(f, "Proof({place} {name})")
    }
}

fn key_in(scheme: &Node<'_>, key: &str) -> Result<Proof> {
    let name = scheme.needed("name")?;
    match scheme.needed("in")? {
        "header" => {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| scheme.wrong("`name` is no name of a header"))?;
            let mut value = HeaderValue::from_str(key)
                .map_err(|_| Error::internal("give visible ASCII characters"))?;
            value.set_sensitive(true);
            Ok(Proof::Header(name, value))
        }
        "query" => Ok(Proof::Query(escape(name).into(), escape(key).into())),
        "cookie" => Ok(Proof::Cookie(escape(name).into(), escape(key).into())),
        _ => Err(scheme.wrong("`in` must be `header`, `query` or `cookie`")),
    }
}
