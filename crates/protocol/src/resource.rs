//! resource.
