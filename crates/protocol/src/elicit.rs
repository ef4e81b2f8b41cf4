//! elicit.
