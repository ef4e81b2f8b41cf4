//! The bodies that come in: read whole and bounded, or thrown away so that the answer is read.
//!
//! A client that sends first and reads afterwards loses our answer when we close under it: what it
//! sent and we did not read makes the connection end with a reset. So a body that nobody wants is
//! read to its end where that end is near, and the connection is closed after the answer.
//!
//! Source: RFC 9112, section 9.6.

use std::{
    fmt,
    future::{Future, poll_fn},
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, Version, header};
use http_body_util::BodyExt as _;

use crate::limits::Limits;

/// Bytes of a body that comes with a refused request which are read and thrown away, at most.
const UNWANTED_BYTES: u64 = 1024 * 1024;
/// How long that may take.
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(2);

/// How the body of one request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intake {
    /// Whether an answer may end the connection. Requests over HTTP/2 end alone.
    closes: bool,
    /// Whether the client sends the body only once it is told to.
    waits: bool,
}

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It has more bytes than this.
    TooLarge(usize),
    /// It was not sent within this time.
    TooSlow(Duration),
    /// It ended early, or was framed badly.
    Broken(String),
}

impl Unread {
    /// The status that says so.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => 413,
            Self::TooSlow(_) => 408,
            Self::Broken(_) => 400,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "body is larger than {limit} bytes"),
            Self::TooSlow(limit) => {
                write!(f, "body took longer than {} s", limit.as_secs_f64())
            }
            Self::Broken(cause) => write!(f, "body could not be read: {cause}"),
        }
    }
}

impl std::error::Error for Unread {}

impl Intake {
    /// How the body of a request of `version` with `headers` comes in.
    #[must_use]
    pub fn of(version: Version, headers: &HeaderMap) -> Self {
        Self {
            closes: version < Version::HTTP_2,
            waits: headers.contains_key(header::EXPECT),
        }
    }

    /// Reads a body of at most [`Limits::message_bytes`] within [`Limits::body_timeout`]. What is
    /// larger is thrown away, up to [`Limits::discarded_bytes`].
    ///
    /// # Errors
    ///
    /// [`Unread`]; then the answer goes through [`Self::closing`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, what was read is lost.
    pub async fn read<B>(self, body: B, limits: &Limits) -> Result<Bytes, Unread>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: fmt::Display,
    {
        let mut body = std::pin::pin!(body);
        let read = within(
            limits.body_timeout,
            collect(body.as_mut(), limits.message_bytes),
        )
        .await
        .unwrap_or(Err(Unread::TooSlow(limits.body_timeout)));
        if matches!(read, Err(Unread::TooLarge(_))) {
            self.discard(body, limits.discarded_bytes, limits.discard_timeout)
                .await;
        }
        read
    }

    /// Takes the body of a request that was refused for something else, up to 1 MiB; whether the
    /// connection is of use afterwards. If it is not, the answer goes through [`Self::closing`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, a part of the body was thrown away.
    pub async fn refuse<B>(self, body: B) -> bool
    where
        B: http_body::Body<Data = Bytes>,
    {
        body.is_end_stream()
            || self
                .discard(std::pin::pin!(body), UNWANTED_BYTES, UNWANTED_TIMEOUT)
                .await
    }

    /// Ends a request that was refused by its head: takes the body as [`Self::refuse`] does, and gives
    /// `refusal` as it has to be given then.
    pub(super) async fn turn_away<B, R>(self, body: B, refusal: Response<R>) -> Response<R>
    where
        B: http_body::Body<Data = Bytes>,
    {
        if self.refuse(body).await {
            refusal
        } else {
            self.closing(refusal)
        }
    }

    /// Reads a body and throws it away; whether it came to its end.
    async fn discard<B>(self, mut body: std::pin::Pin<&mut B>, most: u64, timeout: Duration) -> bool
    where
        B: http_body::Body<Data = Bytes>,
    {
        if !self.closes {
            return true;
        }
        if self.waits || body.size_hint().lower() > most {
            return false;
        }
        let read = async {
            let mut left = most;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(rest) = left.checked_sub(length) else {
                    return false;
                };
                left = rest;
            }
            true
        };
        tokio::time::timeout(timeout, read).await.unwrap_or(false)
    }

    /// Ends the connection after `response`, where that is how a request ends.
    #[must_use]
    pub fn closing<B>(self, mut response: Response<B>) -> Response<B> {
        if self.closes {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Waits for `future` at most `limit`. A body that came with its head is there at the second look:
/// setting a clock for it would cost more than to read it.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut looked = false;
    let early = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if looked => Poll::Ready(None),
        Poll::Pending => {
            looked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    match early.await {
        Some(output) => Some(output),
        None => tokio::time::timeout(limit, future).await.ok(),
    }
}

/// Reads a body of at most `limit` bytes; a body of one chunk is not copied.
async fn collect<B>(mut body: std::pin::Pin<&mut B>, limit: usize) -> Result<Bytes, Unread>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge(limit));
    }
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Unread::Broken(e.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len);
        if so_far + data.len() > limit {
            return Err(Unread::TooLarge(limit));
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let mut both = BytesMut::with_capacity(first.len() + data.len());
                both.extend_from_slice(&first);
                both.extend_from_slice(&data);
                rest = Some(both);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}
