//! Properties of what is read from a log that others may have written to.

#[cfg(test)]
mod archived;
#[cfg(test)]
mod fuzzed;
