//! mrtr.
