//! meta.
