//! Compressed answers.
//!
//! Whole JSON answers are compressed where the client accepts it and they are large enough to gain.
//! Streams of events are not, for three reasons: their frames are small, and each would have to be
//! flushed alone, which costs most of the gain; an encoder costs a stream more memory (32 KiB to
//! megabytes) than all else that it has; and what sits between us and the client tends to hold
//! compressed streams back.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use tower_service::Service as _;

use crate::http::Body;

/// Answers that are larger leave the task of their connection while they are compressed.
const LARGE: usize = 64 * 1024;

/// Compresses answers with zstd, brotli or gzip, as `Accept-Encoding` has it.
///
/// Off unless [`HttpConfig::compression`](crate::http::HttpConfig::compression) is set: over TLS,
/// the length of a compressed answer tells an observer something of what is in it. Where one answer
/// holds both a secret and a text that an attacker may choose, they can guess the secret byte by byte
/// (BREACH, CVE-2013-3587). Leave it off for servers whose tools give back secrets beside arguments,
/// and for clients that a web page can drive.
///
/// Source: RFC 9110, sections 8.4 and 12.5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Bytes from which on an answer is compressed. Default 1 KiB: below that, what is saved is less
    /// than a packet.
    pub threshold: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { threshold: 1_024 }
    }
}

impl Compression {
    /// Compresses `response` for a client that sent `accepted`, its `Accept-Encoding` headers. What
    /// cannot be compressed stays as it is.
    pub(super) async fn apply(
        self,
        accepted: HeaderMap,
        response: Response<Body>,
    ) -> Response<Body> {
        let Some(whole) = response
            .body()
            .whole()
            .filter(|whole| whole.len() >= self.threshold)
        else {
            return response;
        };
        let encoded = if whole.len() < LARGE {
            encode(accepted, whole).await
        } else {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || runtime.block_on(encode(accepted, whole)))
                .await
                .ok()
                .flatten()
        };
        let (mut parts, body) = response.into_parts();
        parts.headers.append(
            header::VARY,
            http::HeaderValue::from_name(header::ACCEPT_ENCODING),
        );
        let Some((encoding, text)) = encoded else {
            return Response::from_parts(parts, body);
        };
        parts.headers.insert(header::CONTENT_ENCODING, encoding);
        Response::from_parts(parts, Body::encoded(text))
    }
}

/// The encoding that was agreed on, and `whole` in it; nothing where that is none.
async fn encode(accepted: HeaderMap, whole: Bytes) -> Option<(http::HeaderValue, Bytes)> {
    let mut request = Request::new(());
    *request.headers_mut() = accepted;
    let mut service =
        tower_http::compression::Compression::new(Answer(whole)).compress_when(always);
    let Ok(response) = service.call(request).await;
    let (mut parts, body) = response.into_parts();
    let encoding = parts.headers.remove(header::CONTENT_ENCODING)?;
    let mut body = pin!(body);
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(&frame.ok()?.into_data().ok()?);
    }
    Some((encoding, text.freeze()))
}

fn always(_: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    true
}

/// The service that gives one answer: what negotiates and encodes wants one.
struct Answer(Bytes);

impl tower_service::Service<Request<()>> for Answer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::new(self.0.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn negotiated(accept: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(
                header::ACCEPT_ENCODING,
                http::HeaderValue::from_static(value),
            );
        }
        let (encoding, text) = encode(headers, Bytes::from_static(&[b' '; 4_096])).await?;
        assert!(text.len() < 100, "{}", text.len());
        Some(encoding.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn the_client_chooses_the_encoding() {
        let cases: &[(&[&'static str], Option<&str>)] = &[
            (&[], None),
            (&["identity"], None),
            (&["deflate, compress"], None),
            (&["gzip"], Some("gzip")),
            (&["br"], Some("br")),
            (&["zstd"], Some("zstd")),
            (&["gzip;q=0.5, br;q=0.2, zstd;q=0"], Some("gzip")),
            (&["gzip;q=0.2", "br;q=0.9"], Some("br")),
            (&["gzip;q=0"], None),
            (&["identity;q=0, gzip;q=0"], None),
            (&["gzip;q=nonsense"], None),
        ];
        for (accept, wanted) in cases {
            assert_eq!(negotiated(accept).await.as_deref(), *wanted, "{accept:?}");
        }
    }
}
