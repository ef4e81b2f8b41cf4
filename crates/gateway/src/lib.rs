//! gateway.

pub mod confirm;
pub mod manifest;
pub mod once;
pub mod provider;
pub mod state;
