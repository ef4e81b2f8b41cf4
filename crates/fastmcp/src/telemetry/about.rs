//! What a request is.

use std::net::IpAddr;

use fastmcp_protocol::{
    Message, Method, ProtocolVersion, RequestId, header::SESSION_ID, meta::Peek,
};
use fastmcp_transport::{Peer, PeerKind};

use super::trace::Trace;
use crate::call::Kind;

/// The most characters of an address or id that is shown.
const SHOWN: usize = 256;
/// A method or failure that has no name of its own. Source: OpenTelemetry, `_OTHER`.
pub(super) const OTHER: &str = "_OTHER";

/// What is told of one request.
#[derive(Debug)]
pub(crate) struct About {
    pub(super) method: &'static str,
    pub(super) version: Option<&'static str>,
    pub(super) session: Option<String>,
    pub(super) id: Option<String>,
    pub(super) tool: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) transport: &'static str,
    pub(super) protocol: Option<&'static str>,
    pub(super) address: Option<IpAddr>,
    pub(super) trace: Trace,
}

impl About {
    /// What is known of a message before it is answered. A tool or prompt that `knows` knows not has no name
    /// here: clients could make up names without end.
    pub(crate) fn of(
        peer: &Peer,
        (message, version, peek): (&Message, Option<ProtocolVersion>, &Peek),
        knows: impl Fn(Kind, &str) -> bool,
    ) -> Option<Self> {
        let (method, id) = match message {
            Message::Request(request) => (&request.method, Some(&request.id)),
            Message::Notification(notification) => (&notification.method, None),
            Message::Response(_) => return None,
        };
        let parsed = Method::parse(method);
        let target = peek.target.as_deref();
        let named = |of: Method, kind| {
            let known = target.filter(|name| parsed == Some(of) && knows(kind, name));
            known.map(str::to_owned)
        };
        let reads = matches!(
            parsed,
            Some(Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe)
        );
        let over_http = peer.kind == PeerKind::Http;
        Some(Self {
            method: parsed.map_or(OTHER, Method::as_str),
            version: version.map(|v| v.as_str()),
            session: peer.header(SESSION_ID).map(short),
            id: id.map(|id| match id {
                RequestId::Number(number) => number.to_string(),
                RequestId::String(text) => short(text),
            }),
            tool: named(Method::ToolsCall, Kind::Tool),
            prompt: named(Method::PromptsGet, Kind::Prompt),
            resource: target.filter(|_| reads).map(short),
            transport: if over_http { "tcp" } else { "pipe" },
            protocol: over_http.then_some("http"),
            address: peer.address.map(|address| address.ip()),
            trace: Trace::of(&peek.meta),
        })
    }

    /// The name of the span: what there are few of.
    pub(super) fn name(&self) -> String {
        match self.tool.as_ref().or(self.prompt.as_ref()) {
            Some(target) => format!("{} {target}", self.method),
            None => self.method.to_owned(),
        }
    }

    pub(super) fn operation(&self) -> Option<&'static str> {
        (self.method == Method::ToolsCall.as_str()).then_some("execute_tool")
    }
}

fn short(text: impl AsRef<str>) -> String {
    text.as_ref().chars().take(SHOWN).collect()
}
