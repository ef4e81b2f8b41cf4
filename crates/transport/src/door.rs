//! What stands behind a door.

use std::{future::Future, pin::Pin, sync::Arc};

use bytestring::ByteString;
use fastmcp_protocol::{Message, RpcError, http::Route, tool::CallToolResult, wire::Written};
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::{outlet::Outlet, peer::Peer};

/// A call under way: polled by whoever waits for its answer, finished by a tracker if nobody does.
pub type Call = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Answers what comes through the doors.
pub trait Door: Send + Sync + 'static {
    /// Who is calling, once that is known.
    type Caller: Clone + std::fmt::Debug + Send + Sync + 'static;

    /// Authenticates, from what the connection and the headers prove. Runs once per request,
    /// before the body is read.
    fn admit(&self, peer: &Peer) -> impl Future<Output = Result<Self::Caller, Denied>> + Send;

    /// Whether who was let in as `caller` still is, by the same proof. Asked every so often for as long as a stream is
    /// open ([`Limits::recheck`](crate::Limits::recheck)), which ends where not. Default: for ever.
    fn still_admits(
        &self,
        peer: &Peer,
        caller: &Self::Caller,
    ) -> impl Future<Output = bool> + Send {
        let _ = (peer, caller);
        std::future::ready(true)
    }

    /// Takes note of a request over HTTP that was refused before it became a call; `caller` sent it, if that was asked
    /// by then. Whom [`Self::admit`] did not let in is not told of again. Default: nothing.
    fn turned_away(&self, peer: &Peer, caller: Option<&Self::Caller>, why: TurnedAway<'_>) {
        let _ = (peer, caller, why);
    }

    /// Begins to answer `inbound`.
    fn call(self: &Arc<Self>, caller: Self::Caller, inbound: Inbound) -> Call;
}

/// Why a request was refused before it became a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway<'a> {
    /// In one of few words.
    pub reason: Reason,
    /// What was answered.
    pub message: &'a str,
}

impl<'a> TurnedAway<'a> {
    /// Because of `reason`, with this answer.
    #[must_use]
    pub const fn new(reason: Reason, message: &'a str) -> Self {
        Self { reason, message }
    }
}

/// What was wrong with a request that was refused before it became a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It names a host or an origin that is not allowed.
    Host,
    /// Too many calls were under way.
    Busy,
    /// Its headers do not fit together, or not with its body.
    Headers,
    /// Its body cannot be read.
    Body,
    /// It names a session of somebody else.
    Session,
}

impl Reason {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Busy => "busy",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Session => "session",
        }
    }
}

/// What came in.
#[derive(Debug)]
pub struct Inbound {
    /// The thing itself.
    pub what: What,
    /// From whom.
    pub peer: Arc<Peer>,
    /// Where messages go that come before the answer.
    pub outlet: Outlet,
    /// Fires when the answer is no longer wanted.
    pub cancel: CancellationToken,
}

/// The kinds of things that come in.
#[derive(Debug)]
pub enum What {
    /// A message and where it belongs.
    Message(Message, Route),
    /// A legacy client listens for what the server has to say. Source: MCP 2025-11-25, transports.
    Listen {
        /// Where it was when the stream broke.
        last_event_id: Option<ByteString>,
    },
    /// A legacy client ends its session. Source: as above.
    Terminate,
}

/// The answer.
#[derive(Debug)]
pub enum Reply {
    /// A JSON-RPC response.
    Message {
        /// The HTTP status; ignored by other doors and once a stream has begun.
        status: u16,
        /// The response.
        body: ByteString,
        /// The id of a session that was opened.
        session: Option<ByteString>,
        /// What a reader would find in the response, for a client of the same process.
        found: Option<Box<CallToolResult>>,
    },
    /// The caller may not, with the token that it has. Other doors than HTTP, and streams that have
    /// begun, give the body alone.
    Denied {
        /// The `WWW-Authenticate` header, which says what it takes.
        challenge: HeaderValue,
        /// The response.
        body: ByteString,
    },
    /// Taken note of: 202, no body.
    Accepted,
    /// Nothing to say: the status alone, or the end of a stream.
    Status(u16),
}

impl Reply {
    /// A response with status 200.
    pub fn ok(body: impl Into<ByteString>) -> Self {
        Self::with_status(200, body)
    }

    /// A response with `status`.
    pub fn with_status(status: u16, body: impl Into<ByteString>) -> Self {
        Self::Message {
            status,
            body: body.into(),
            session: None,
            found: None,
        }
    }

    /// A response with status 200 to a client of the same process, with what it need not read.
    #[must_use]
    pub fn written(written: Written) -> Self {
        Self::Message {
            status: 200,
            body: written.text,
            session: None,
            found: written.found,
        }
    }
}

/// Why a peer is not let in.
#[derive(Clone, Debug)]
pub struct Denied {
    /// 401 or 403; 503 where the verifier is away.
    pub status: u16,
    /// The `WWW-Authenticate` header.
    pub challenge: Option<HeaderValue>,
    /// The error.
    pub error: RpcError,
}
