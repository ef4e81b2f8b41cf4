//! The pages of the documentation whose code the tests compile.

#![doc = include_str!("../docs/from-python.md")]
