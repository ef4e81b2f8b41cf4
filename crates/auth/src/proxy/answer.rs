//! What endpoints take and answer.
//!
//! Source: RFC 6749, sections 3.1, 4.1.2.1 and 5.2; RFC 9207, section 2.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::record::Request;

/// The answer of an endpoint.
pub(super) type Answer = Response<Bytes>;

/// Most parameters of a request.
const MAX_PARAMETERS: usize = 40;

/// Most bytes of a query.
const MAX_QUERY: usize = 8 * 1024;

/// A request that an endpoint refuses, as OAuth names it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) why: &'static str,
}

impl Refused {
    pub(super) const fn new(error: &'static str, why: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            why,
        }
    }

    /// It cannot be answered now.
    pub(super) const fn unavailable() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "temporarily_unavailable",
            why: "try again in a moment",
        }
    }
}

impl From<super::record::VaultError> for Refused {
    fn from(error: super::record::VaultError) -> Self {
        tracing::error!(%error, "the proxy cannot use its store");
        Self::unavailable()
    }
}

impl From<fastmcp_guard::random::RandomError> for Refused {
    fn from(error: fastmcp_guard::random::RandomError) -> Self {
        tracing::error!(%error, "the proxy has no randomness");
        Self::unavailable()
    }
}

/// The parameters of a request, each once.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query or a form. A parameter without a value is none; one that occurs twice could be read in two ways.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let unfit = |why| Err(Refused::new("invalid_request", why));
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if read.len() == MAX_PARAMETERS {
                return unfit("there are too many parameters");
            }
            if read.iter().any(|(known, _)| *known == name) {
                return unfit("a parameter occurs twice");
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    /// Reads the query of a URL.
    pub(super) fn of_query(uri: &http::Uri) -> Result<Self, Refused> {
        let query = uri.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(Refused::new("invalid_request", "the query is too long"));
        }
        Self::parse(query)
    }

    /// Reads the form that a body is.
    pub(super) fn of_form(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        let unfit = Refused::new(
            "invalid_request",
            "the body must be application/x-www-form-urlencoded",
        );
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(unfit);
        }
        Self::parse(std::str::from_utf8(body).map_err(|_| unfit)?)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn need(&self, name: &str, why: &'static str) -> Result<&str, Refused> {
        self.get(name).ok_or(Refused::new("invalid_request", why))
    }
}

/// An answer in JSON that nobody keeps, for pages of every origin: nothing here rests on cookies.
pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Bytes::from(body.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    every_origin(headers);
    answer
}

fn every_origin(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
}

/// The answer to a browser that asks whether it may ask.
pub(super) fn preflight() -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    every_origin(headers);
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, mcp-protocol-version",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// A refusal as JSON.
pub(super) fn refusal(refused: &Refused) -> Answer {
    let body = json!({"error": refused.error, "error_description": refused.why});
    let mut answer = json(refused.status, &body);
    if refused.status == StatusCode::SERVICE_UNAVAILABLE {
        let after = HeaderValue::from_static("5");
        answer.headers_mut().insert(header::RETRY_AFTER, after);
    }
    answer
}

/// Sends the browser to `url`, by GET whatever it came with (303), and tells nobody whence.
pub(super) fn redirect(url: &str) -> Answer {
    let mut answer = Response::new(Bytes::new());
    let Ok(location) = HeaderValue::from_str(url) else {
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return answer;
    };
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// `url` with these parameters behind those that it has.
pub(super) fn extended(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        query.append_pair(name, value);
    }
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{joint}{}", query.finish())
}

/// Answers the client with `parameters`; who answers is said (RFC 9207).
pub(super) fn to_client(request: &Request, issuer: &str, parameters: &[(&str, &str)]) -> Answer {
    let mut all = parameters.to_vec();
    if let Some(state) = &request.state {
        all.push(("state", state));
    }
    all.push(("iss", issuer));
    redirect(&extended(&request.redirect_uri, &all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_occur_once_and_have_values() {
        let read = Parameters::parse("a=1&b=&c=x%20y").unwrap();
        assert_eq!(read.get("a"), Some("1"));
        assert_eq!(read.get("b"), None);
        assert_eq!(read.get("c"), Some("x y"));
        for bad in ["a=1&a=2", "a=1&%61=1"] {
            assert!(Parameters::parse(bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect();
        assert!(Parameters::parse(&many.join("&")).is_err());
    }

    #[test]
    fn urls_keep_the_query_that_they_have() {
        assert_eq!(
            extended("https://h/cb", &[("a", "b c")]),
            "https://h/cb?a=b+c"
        );
        assert_eq!(
            extended("https://h/cb?x=1", &[("a", "&")]),
            "https://h/cb?x=1&a=%26"
        );
        assert_eq!(extended("https://h/cb?", &[("a", "b")]), "https://h/cb?a=b");
        assert_eq!(extended("app:/cb", &[("a", "b")]), "app:/cb?a=b");
    }

    #[test]
    fn forms_are_declared() {
        let mut headers = HeaderMap::new();
        assert!(Parameters::of_form(&headers, b"a=1").is_err());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        assert!(Parameters::of_form(&headers, b"a=1").is_ok());
        assert!(Parameters::of_form(&headers, b"a=\xff").is_err());
    }
}
