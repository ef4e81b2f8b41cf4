//! fastmcp.

pub mod seal;
