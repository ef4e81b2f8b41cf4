//! subscription.
