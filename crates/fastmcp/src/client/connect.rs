//! What is agreed on with a server, and everything that depends on it.
//!
//! Servers of the modern era are told who asks with every message; servers of the legacy one
//! greet first and remember. Which one it is, a question finds out: see [`negotiate`].

mod dress;
mod listen;
mod negotiate;
mod question;
mod watch;

use fastmcp_protocol::{
    Era, ErrorCode, ProtocolVersion, RpcError,
    discover::{DiscoverResult, ResultEnvelope, ResultKind},
    elicit::ElicitUrl,
    legacy,
    meta::{self, Implementation},
    tool::CallToolResult,
};
use fastmcp_transport::{WireError, WireKind};
use http::HeaderValue;

use super::{
    call::{Answered, Call},
    link::Link,
};
use crate::error::{Error, ErrorKind, Result};

pub(super) use dress::{cancellation, dress, notification};
pub(super) use listen::listens;
pub(super) use negotiate::{Failed, Start, agree_again, negotiate};
pub(super) use question::asked;
pub(super) use watch::{announces_roots, ping, set_level, subscribes_one_by_one, unwatch, watch};

/// What was agreed on with a server.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    version: ProtocolVersion,
    described: DiscoverResult,
    server: Option<Implementation>,
    session: Option<HeaderValue>,
}

/// What puts a refused message right, before it is sent once more. None of these did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// To agree anew.
    Agree,
    /// To see what tools look like now.
    ListTools,
}

impl Agreed {
    /// What a client proposes in the first message.
    pub(super) fn proposed(version: ProtocolVersion) -> Self {
        Self {
            version,
            described: DiscoverResult::default(),
            server: None,
            session: None,
        }
    }

    /// What a server that needs no session says of itself.
    fn discovered(version: ProtocolVersion, described: DiscoverResult) -> Self {
        let server = described
            .meta
            .as_ref()
            .and_then(|m| m.get(meta::SERVER_INFO));
        Self {
            server: server.and_then(|info| serde_json::from_value(info.clone()).ok()),
            version,
            described,
            session: None,
        }
    }

    pub(super) const fn version(&self) -> ProtocolVersion {
        self.version
    }

    pub(super) const fn described(&self) -> &DiscoverResult {
        &self.described
    }

    pub(super) const fn server(&self) -> Option<&Implementation> {
        self.server.as_ref()
    }

    /// Whether every message says for itself who sends it.
    pub(super) fn is_stateless(&self) -> bool {
        self.version.era() == Era::Modern
    }

    /// The kind of a result. Results of legacy servers have none.
    pub(super) fn kind<'a>(&self, envelope: &'a ResultEnvelope<'_>) -> ResultKind<'a> {
        if self.is_stateless() {
            envelope.kind()
        } else {
            ResultKind::Complete
        }
    }

    /// An error in the words of the newest revision.
    pub(super) fn canonical_error(&self, error: RpcError) -> RpcError {
        if self.is_stateless() {
            error
        } else {
            legacy::canonical_error(error)
        }
    }

    /// What a tool returned, in the words of the newest revision.
    pub(super) fn canonical_result(&self, result: CallToolResult) -> CallToolResult {
        if self.is_stateless() {
            result
        } else {
            legacy::canonical_call_tool_result(result)
        }
    }
}

impl Link {
    /// Whether headers mirror messages.
    pub(super) fn mirrors(&self) -> bool {
        self.wire.kind() == WireKind::Http && self.agreed.load().is_stateless()
    }
}

/// What puts right why `call` was refused; none where it was not, or nothing does.
pub(super) fn remedy(
    link: &Link,
    agreed: &Agreed,
    call: Call<'_>,
    answered: &Result<Answered, WireError>,
) -> Option<Remedy> {
    let (status, code) = match answered {
        Ok(Answered {
            status,
            outcome: Err(error),
            ..
        }) => (*status, Some(error.code)),
        Err(WireError::Status { status, .. }) => (*status, None),
        _ => return None,
    };
    if !agreed.is_stateless() {
        // Source: MCP 2025-11-25, basic/transports, "Session Management".
        let lost = status == 404 && code != Some(ErrorCode::METHOD_NOT_FOUND);
        return (lost && agreed.session.is_some()).then_some(Remedy::Agree);
    }
    match code? {
        ErrorCode::UNSUPPORTED_VERSION => Some(Remedy::Agree),
        ErrorCode::HEADER_MISMATCH if call.method == "tools/call" && link.mirrors() => {
            Some(Remedy::ListTools)
        }
        _ => None,
    }
}

/// The addresses that a legacy server wants opened before it is called again, each with its id.
pub(super) fn addresses(error: &Error) -> Option<Vec<(String, ElicitUrl)>> {
    let ErrorKind::Protocol(code) = error.kind() else {
        return None;
    };
    let mut rpc = RpcError::new(code, "");
    rpc.data = error.data().cloned().map(Box::new);
    legacy::url_elicitations(&rpc).filter(|addresses| !addresses.is_empty())
}

/// Ends the session, where there is one, and the connection.
pub(super) async fn hang_up(link: &Link) {
    let headers = dress::headers(&link.agreed.load());
    link.wire.close(headers).await;
}

/// Ends everything, and waits until it is over.
pub(super) async fn close(link: &Link) {
    link.stop.cancel();
    hang_up(link).await;
    link.tasks.close();
    link.tasks.wait().await;
}
