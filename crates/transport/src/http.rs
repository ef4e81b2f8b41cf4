//! Streamable HTTP.
//!
//! Source: MCP 2026-07-28, basic/transports/streamable-http; MCP 2025-11-25, basic/transports.

mod body;
#[cfg(feature = "compression")]
pub mod compression;
mod connection;
pub mod intake;
pub mod origin;
mod patient;
pub mod serve;
mod service;

pub use body::Body;
#[cfg(feature = "compression")]
pub use compression::Compression;
pub use intake::{Intake, Unread};
pub use origin::AllowedHosts;
pub use serve::{RemoteAddr, Serve};
pub use service::{HttpConfig, HttpService};
