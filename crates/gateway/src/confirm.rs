//! confirm.
