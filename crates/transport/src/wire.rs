//! The ways to a server, as a client sees them.
//!
//! A [`Wire`] carries messages and knows nothing of their meaning: which revision is spoken, which
//! headers mirror a message and what answers a server's question is decided by who sends through it.
//! There is one for each way that servers are reached: [`HttpWire`], [`StdioWire`],
//! [`SseWire`] for old servers, and [`Memory`](crate::memory::Memory) for one of the same process.

pub mod http;
mod mux;
mod peek;
pub mod sse;
pub mod stdio;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderMap, HeaderValue};
use bytestring::ByteString;
use fastmcp_protocol::{Raw, RequestId, jsonrpc::encode_call, meta::Peek, wire::Written};
use futures_util::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};

pub use self::{
    http::{HttpWire, HttpWireConfig},
    sse::SseWire,
    stdio::{StdioWire, StdioWireConfig},
};

/// One message on its way to a server.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its id, where it is a request.
    pub id: Option<RequestId>,
    /// Its method, where it has one: what credentials are asked for, and what logs call it.
    pub method: ByteString,
    /// The JSON-RPC message.
    pub body: Body,
    /// Headers that mirror it or name the session; wires without headers pass them over.
    pub headers: HeaderMap,
    /// Whether a stream that breaks is taken up where it broke (`Last-Event-ID`), as 2025-11-25 has
    /// it. Otherwise a broken stream is an error.
    pub resumable: bool,
}

/// A message before it is carried.
#[derive(Clone, Debug)]
pub enum Body {
    /// The call that its id and method say: text only where a wire needs text.
    Call {
        /// The parameters.
        params: Option<Raw>,
        /// What a reader would find in them, where who wrote them knows.
        peek: Option<Arc<Peek>>,
    },
    /// As it stands, such as the answer to a question.
    Text(ByteString),
}

impl<T: Into<ByteString>> From<T> for Body {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl Outgoing {
    /// The message as it goes over a wire of bytes.
    #[must_use]
    pub fn text(&self) -> ByteString {
        match &self.body {
            Body::Text(text) => text.clone(),
            Body::Call { params, .. } => {
                let params = params.as_ref().map(Raw::as_str);
                encode_call(self.id.as_ref(), &self.method, params).into()
            }
        }
    }
}

/// What a server sends back.
pub struct Incoming {
    /// The HTTP status; 200 on wires that have none.
    pub status: u16,
    /// The headers of the answer; empty on wires that have none.
    pub headers: HeaderMap,
    /// The messages in their order: notifications, questions, at last the response. The stream ends
    /// after the response, or where the server ended it. Dropping it closes it.
    pub messages: Messages,
}

/// Messages of a server, as they come.
pub enum Messages {
    /// One that is here already, or none: nearly every answer within the process.
    Only(Option<Written>),
    /// Whatever comes.
    Stream(BoxStream<'static, Result<ByteString, WireError>>),
}

impl Stream for Messages {
    type Item = Result<ByteString, WireError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *self {
            Self::Only(message) => Poll::Ready(message.take().map(|only| Ok(only.text))),
            Self::Stream(stream) => stream.poll_next_unpin(cx),
        }
    }
}

impl From<BoxStream<'static, Result<ByteString, WireError>>> for Messages {
    fn from(stream: BoxStream<'static, Result<ByteString, WireError>>) -> Self {
        Self::Stream(stream)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// What a wire is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WireKind {
    /// Streamable HTTP: headers mirror messages, each request has a stream of its own, and closing
    /// that stream cancels.
    Http,
    /// Standard input and output of a child process.
    Stdio,
    /// The two endpoints of HTTP with SSE, as 2024-11-05 had it.
    Sse,
    /// A server of the same process.
    Memory,
}

/// A way to one server. Cheap to share; every method may be called at once from many tasks.
pub trait Wire: fmt::Debug + Send + Sync + 'static {
    /// What the wire is made of.
    fn kind(&self) -> WireKind;

    /// Sends a request. The answer's stream holds what belongs to this request; on wires with one
    /// stream for everything (stdio, SSE) that is the response alone, and the rest is in
    /// [`Wire::listen`].
    ///
    /// Over HTTP, refusals for want of credentials are [`WireError::Unauthorized`], whether there are
    /// [`Credentials`] or none; any other status is an answer where its body is a response, else
    /// [`WireError::Status`].
    fn request(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, WireError>>;

    /// Sends a notification, or the answer to a server's question. A status that refuses it is
    /// [`WireError::Status`], whatever its body.
    fn notify(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<(), WireError>>;

    /// Opens the stream on which a server speaks without being asked: a GET over HTTP with `headers`,
    /// what belongs to no request elsewhere.
    ///
    /// Over HTTP a stream whose events have ids is taken up where it broke; another ends with it.
    /// Where one stream carries everything, who began to listen last hears, a listener that is slow
    /// holds up all messages, and while nobody listens the last 256 are kept.
    fn listen(&self, headers: HeaderMap) -> BoxFuture<'_, Result<Incoming, WireError>>;

    /// Ends the session that `headers` name, where the wire has such a thing, and the wire itself.
    /// Afterwards everything fails with [`WireError::Closed`].
    fn close(&self, headers: HeaderMap) -> BoxFuture<'_, ()>;
}

/// Why a message was not carried, or its answer did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// No connection came about, or no process started. Nothing was sent.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// The server may have got the message; its answer did not come whole.
    #[error("the connection to the server broke: {0}")]
    Broken(String),
    /// The answer did not begin in time.
    #[error("the server did not answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The server answered with a status and no JSON-RPC message.
    #[error("the server answered with HTTP status {status}{}", excerpt(.body))]
    Status {
        /// The status.
        status: u16,
        /// The headers.
        headers: Box<HeaderMap>,
        /// The beginning of the body, as text; at most 4 KiB.
        body: String,
    },
    /// The answer is larger than the limit, or no message at all.
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(String),
    /// The credentials were refused, and no better ones are to be had.
    #[error("not authorized: {0}")]
    Unauthorized(String),
    /// The wire was closed, by us or because the process at its end is gone.
    #[error("the connection is closed: {0}")]
    Closed(String),
}

impl WireError {
    /// Whether the server may have received the message, so that sending it again may do a thing
    /// twice.
    #[must_use]
    pub const fn may_have_been_sent(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Unauthorized(_))
    }
}

/// Bytes of a body that [`WireError::Status`] shows.
const BODY_EXCERPT: usize = 4096;

/// The beginning of a body, as [`WireError::Status`] shows it.
pub(crate) fn beginning(body: &str) -> String {
    body.get(..body.floor_char_boundary(BODY_EXCERPT))
        .unwrap_or_default()
        .to_owned()
}

fn excerpt(body: &str) -> String {
    let line: String = body
        .chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", line.trim())
    }
}

/// Proves to a server over HTTP who is asking. Asked before each request.
pub trait Credentials: fmt::Debug + Send + Sync + 'static {
    /// The headers for a request with `http_method` to `url`; none where nothing is known yet.
    ///
    /// # Errors
    ///
    /// [`WireError::Unauthorized`] where no credentials can be had.
    fn headers<'a>(
        &'a self,
        http_method: &'a str,
        url: &'a str,
    ) -> BoxFuture<'a, Result<HeaderMap, WireError>>;

    /// The server answered with 401, or with 403 and a challenge. `true` where there are other
    /// credentials now and the request is to be sent again.
    ///
    /// # Errors
    ///
    /// [`WireError::Unauthorized`], with what a person can do about it.
    fn challenged<'a>(&'a self, challenge: &'a Challenge)
    -> BoxFuture<'a, Result<bool, WireError>>;
}

/// A server's refusal for want of credentials.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// 401 or 403.
    pub status: u16,
    /// The URL that was asked.
    pub url: String,
    /// The JSON-RPC method that was asked for, to count attempts by.
    pub method: ByteString,
    /// The headers of the refusal: `www-authenticate`, `dpop-nonce`.
    pub headers: HeaderMap,
    /// The `authorization` that was refused, where there was one: others may have been got meanwhile.
    pub sent: Option<HeaderValue>,
}
