//! initialize.
