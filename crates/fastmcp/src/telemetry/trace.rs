//! The trace that a request belongs to.
//!
//! Source: W3C Trace Context and Baggage; MCP SEP-414.

use std::collections::HashMap;

use bytestring::ByteString;
use fastmcp_protocol::meta::RequestMeta;

use crate::context::current;

/// The most bytes of a state. Source: W3C Trace Context, section 3.3.1.5.
const MAX_STATE: usize = 512;
/// The most bytes of baggage. Source: W3C Baggage, section 3.3.2.
const MAX_BAGGAGE: usize = 8192;

/// A trace as a client told of it. What is not as the specifications say is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    parent: Option<ByteString>,
    state: Option<ByteString>,
    baggage: Option<ByteString>,
}

impl Trace {
    pub(super) fn of(meta: &RequestMeta) -> Self {
        let parent = meta.traceparent.clone().filter(|text| is_parent(text));
        Self {
            // A state belongs to a parent.
            state: meta
                .tracestate
                .clone()
                .filter(|text| parent.is_some() && is_plain(text, MAX_STATE)),
            baggage: meta
                .baggage
                .clone()
                .filter(|text| is_plain(text, MAX_BAGGAGE)),
            parent,
        }
    }

    /// As members of `_meta`.
    fn members(self) -> impl Iterator<Item = (&'static str, ByteString)> {
        let all = [
            ("traceparent", self.parent),
            ("tracestate", self.state),
            ("baggage", self.baggage),
        ];
        all.into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }

    pub(super) fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    pub(super) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    pub(super) fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }
}

/// The members of `_meta` that carry on the trace of the request that is handled here.
pub(crate) fn inherited() -> impl Iterator<Item = (&'static str, ByteString)> {
    let trace = current().map(|context| Trace::of(context.meta()));
    trace.unwrap_or_default().members()
}

/// The members of `_meta` that carry on the trace that was written down as `fields`; what these leave out is as the
/// request that is handled here has it.
pub(crate) fn carried(
    mut fields: HashMap<String, String>,
) -> impl Iterator<Item = (&'static str, ByteString)> {
    let mut take = |name| fields.remove(name).map(ByteString::from);
    let own = Trace::of(&RequestMeta {
        traceparent: take("traceparent"),
        tracestate: take("tracestate"),
        baggage: take("baggage"),
        ..RequestMeta::default()
    });
    let before = current().map(|context| Trace::of(context.meta()));
    let before = before.unwrap_or_default();
    let (parent, state) = match own.parent {
        Some(parent) => (Some(parent), own.state),
        None => (before.parent, before.state),
    };
    let baggage = own.baggage.or(before.baggage);
    Trace {
        parent,
        state,
        baggage,
    }
    .members()
}

/// Whether a text is a `traceparent`: version, trace, span and flags in lower-case hexadecimals, neither trace nor
/// span all zeros, version not `ff`.
fn is_parent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let hex = |part: &&str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    match parts.as_slice() {
        [version, trace, span, flags, rest @ ..] => {
            let some = |part: &str| part.bytes().any(|b| b != b'0');
            hex(version, 2)
                && *version != "ff"
                && (*version != "00" || rest.is_empty())
                && text.len() <= 256
                && hex(trace, 32)
                && some(trace)
                && hex(span, 16)
                && some(span)
                && hex(flags, 2)
        }
        _ => false,
    }
}

fn is_plain(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_as_the_specification_says() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_parent(good));
        assert!(is_parent(&format!("cc{}-what-comes", &good[2..])));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert!(!is_parent(wrong), "{wrong}");
        }
    }
}
