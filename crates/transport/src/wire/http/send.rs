//! One request, with the credentials that it takes.

use std::error::Error;

use bytestring::ByteString;
use fastmcp_guard::http::FetchError;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming as Body;
use tokio::time::timeout;

use super::{Link, answer};
use crate::wire::{Challenge, Outgoing, WireError};

/// How often the credentials of one request may be refused.
const ROUNDS: u32 = 3;

/// What is asked of a server.
#[derive(Debug)]
pub(in crate::wire) struct Ask {
    pub(super) method: Method,
    pub(super) accept: &'static str,
    pub(super) headers: HeaderMap,
    /// The message; none where it is empty.
    pub(super) body: ByteString,
    /// The JSON-RPC method, where there is one.
    pub(super) rpc_method: ByteString,
}

impl Ask {
    /// To take a message.
    pub(in crate::wire) fn message(outgoing: Outgoing) -> Self {
        Self {
            method: Method::POST,
            accept: "application/json, text/event-stream",
            body: outgoing.text(),
            headers: outgoing.headers,
            rpc_method: outgoing.method,
        }
    }

    /// For a stream of what the server has to say.
    pub(in crate::wire) const fn stream(headers: HeaderMap) -> Self {
        Self {
            method: Method::GET,
            accept: "text/event-stream",
            headers,
            body: ByteString::new(),
            rpc_method: ByteString::new(),
        }
    }
}

impl Link {
    /// Makes a request, again with better credentials where it is refused for want of them, and
    /// returns the head of the answer.
    pub(in crate::wire) async fn send(&self, ask: &Ask) -> Result<Response<Body>, WireError> {
        self.unless_closed(async {
            let mut round = 0;
            loop {
                let (answer, sent) = self.exchange(ask).await?;
                if !is_challenge(&answer) {
                    return Ok(answer);
                }
                round += 1;
                self.challenged(ask, answer, sent, round).await?;
            }
        })
        .await
    }

    /// Returns where there are other credentials now.
    async fn challenged(
        &self,
        ask: &Ask,
        answer: Response<Body>,
        sent: Option<HeaderValue>,
        round: u32,
    ) -> Result<(), WireError> {
        let (head, body) = answer.into_parts();
        // Read all the same: it says why, and the connection can be used again.
        let body = answer::beginning(body).await;
        let challenge = Challenge {
            status: head.status.as_u16(),
            url: self.url.clone(),
            method: ask.rpc_method.clone(),
            headers: head.headers,
            sent,
        };
        let Some(credentials) = &self.config.credentials else {
            return Err(unauthorized(
                "the server asks for credentials",
                &challenge,
                &body,
            ));
        };
        if round > ROUNDS {
            return Err(unauthorized(
                "credentials were refused time and again",
                &challenge,
                &body,
            ));
        }
        if credentials.challenged(&challenge).await? {
            return Ok(());
        }
        Err(unauthorized(
            "the credentials were refused",
            &challenge,
            &body,
        ))
    }

    /// The answer, and the `authorization` that was asked with.
    async fn exchange(
        &self,
        ask: &Ask,
    ) -> Result<(Response<Body>, Option<HeaderValue>), WireError> {
        let mut headers = self.config.headers.clone();
        if let Some(credentials) = &self.config.credentials {
            let proof = credentials.headers(ask.method.as_str(), &self.url).await?;
            replace(&mut headers, &proof);
        }
        replace(&mut headers, &ask.headers);
        headers.insert(header::ACCEPT, HeaderValue::from_static(ask.accept));
        if !ask.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let sent = headers.get(header::AUTHORIZATION).cloned();
        let mut request = Request::new(ask.body.clone().into_bytes());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let limit = self.config.answer_timeout;
        let outcome = timeout(limit, self.fetcher.stream(request)).await;
        let answer = outcome.map_err(|_| WireError::Timeout(limit))?;
        let answer = answer.map_err(failure)?;
        tracing::debug!(http_method = %ask.method, method = %ask.rpc_method, status = %answer.status(), "answer began");
        Ok((answer, sent))
    }
}

/// Replaces, by name, headers of `all` by those of `stronger`.
fn replace(all: &mut HeaderMap, stronger: &HeaderMap) {
    for name in stronger.keys() {
        all.remove(name);
        for value in stronger.get_all(name) {
            all.append(name, value.clone());
        }
    }
}

fn is_challenge(answer: &Response<Body>) -> bool {
    match answer.status() {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN => answer.headers().contains_key(header::WWW_AUTHENTICATE),
        _ => false,
    }
}

fn unauthorized(what: &str, challenge: &Challenge, body: &str) -> WireError {
    let asked = challenge.headers.get(header::WWW_AUTHENTICATE);
    let asked = asked.and_then(|value| value.to_str().ok());
    let asked = asked.map(|value| format!(", `{value}`"));
    WireError::Unauthorized(format!(
        "{what} (HTTP status {}{}){}",
        challenge.status,
        asked.unwrap_or_default(),
        crate::wire::excerpt(body)
    ))
}

/// Says in the words of a wire what the fetcher met.
fn failure(error: FetchError) -> WireError {
    match error {
        FetchError::Timeout { limit, .. } => WireError::Timeout(limit),
        error if error.may_have_been_sent() => WireError::Broken(chain(&error)),
        error => WireError::Unreachable(chain(&error)),
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some wrappers repeat what they wrap.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
