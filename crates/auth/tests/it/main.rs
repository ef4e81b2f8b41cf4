//! The OAuth client against an authorization server and a resource of its own, over real sockets on this machine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows a test by its attribute, not the helpers that tests share"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a test tells its story from beginning to end"
)]

mod authorization;
mod authorization_server;
mod browser;
mod discovery;
mod document;
mod grants;
mod host;
mod identity_provider;
mod introspection;
mod lifetime;
mod logout;
mod proofs;
mod provider;
mod proxy;
mod registration;
mod resource;
mod world;
