//! Every example, as a client meets it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows a test by its attribute, not the helpers that tests share"
)]

mod http;
mod stdio;
