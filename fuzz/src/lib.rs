//! The checks of the fuzz targets. They belong to the crates that decode, whose ordinary tests run
//! them over `fuzz/corpus`; here they are only gathered.

#[path = "../../crates/audit/tests/it/fuzzed.rs"]
mod audit;
#[path = "../../crates/protocol/tests/it/fuzzed.rs"]
mod protocol;
#[path = "../../crates/policy/tests/it/fuzzed.rs"]
mod rules;
#[path = "../../crates/fastmcp/tests/it/fuzzed.rs"]
mod server;
#[path = "../../crates/transport/tests/it/fuzzed.rs"]
mod transport;

/// JSON-RPC messages, and the era that they belong to.
pub fn envelope(bytes: &[u8]) {
    protocol::envelope(bytes);
}

/// Values of headers that mirror the body.
pub fn sentinel(bytes: &[u8]) {
    protocol::sentinel(bytes);
}

/// Headers that mirror arguments.
pub fn mirror(bytes: &[u8]) {
    protocol::mirror(bytes);
}

/// Exact arguments and their canonical form.
pub fn arguments(bytes: &[u8]) {
    protocol::arguments(bytes);
}

/// URIs against templates.
pub fn template(bytes: &[u8]) {
    server::template(bytes);
}

/// Sealed values that come back.
pub fn sealed(bytes: &[u8]) {
    server::sealed(bytes);
}

/// Documents that describe APIs.
pub fn openapi(bytes: &[u8]) {
    server::openapi(bytes);
}

/// Texts of policies.
pub fn policy(bytes: &[u8]) {
    rules::policy(bytes);
}

/// Files of audit records.
pub fn audit_line(bytes: &[u8]) {
    audit::audit_line(bytes);
}

/// Proof files.
pub fn audit_proof(bytes: &[u8]) {
    audit::audit_proof(bytes);
}

/// Checkpoints and public keys.
pub fn audit_checkpoint(bytes: &[u8]) {
    audit::audit_checkpoint(bytes);
}

/// Streams of server-sent events.
pub fn sse(bytes: &[u8]) {
    transport::sse(bytes);
}
