//! The words of the Model Context Protocol.
//!
//! Messages, revisions, errors and the checks that are pure functions of them. Nothing here
//! does I/O, awaits, reads a clock or draws randomness: bytes go in, values come out.
//!
//! The canonical types are those of the newest revision; [`legacy`] renders them for older peers.

pub mod app;
pub mod args;
pub mod capability;
pub mod completion;
pub mod content;
pub mod discover;
pub mod elicit;
pub mod error;
pub mod header;
pub mod http;
pub mod initialize;
pub mod jsonrpc;
pub mod legacy;
pub mod logging;
pub mod meta;
pub mod method;
pub mod mrtr;
pub mod ordered;
pub mod prompt;
pub mod raw;
pub mod resource;
pub mod roots;
pub mod sampling;
pub mod skill;
pub mod subscription;
pub mod task;
pub mod tool;
pub mod version;
pub mod wire;

pub use error::{ErrorCode, RpcError};
pub use jsonrpc::{Message, Notification, Request, RequestId, Response};
pub use method::Method;
pub use raw::Raw;
pub use version::{Era, ProtocolVersion};
