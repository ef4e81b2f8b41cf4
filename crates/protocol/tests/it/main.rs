//! Checks that need the official schemas, and properties of what is read from outside.

#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod property;
#[cfg(test)]
mod schema;
