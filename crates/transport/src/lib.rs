//! The doors: bytes in, messages out, and the limits that hold at every one of them. And the wires, by
//! which clients go to such doors.
//!
//! A transport frames messages, decides their era with pure functions of `fastmcp-protocol`, and
//! hands them to a [`Door`]. It never interprets `params` and never knows a tool. A [`Wire`] knows
//! less still: it carries messages, and finds the answer to each.

pub mod browser;
pub mod door;
pub mod exchange;
pub mod http;
pub mod limits;
pub mod loopback;
pub mod memory;
pub mod outlet;
pub mod peer;
pub mod replay;
pub mod sse;
pub mod stdio;
pub mod wire;

pub use door::{Call, Denied, Door, Inbound, Reason, Reply, TurnedAway, What};
pub use exchange::{Exchange, Step};
pub use limits::{Http2Limits, Limits};
pub use outlet::{Frame, Outlet};
pub use peer::{ClientCertificate, Peer, PeerKind};
pub use replay::{Replay, ReplayLimits};
pub use wire::{
    Body, Challenge, Credentials, HttpWire, HttpWireConfig, Incoming, Messages, Outgoing, SseWire,
    StdioWire, StdioWireConfig, Wire, WireError, WireKind,
};
