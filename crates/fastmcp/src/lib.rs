//! fastmcp.
