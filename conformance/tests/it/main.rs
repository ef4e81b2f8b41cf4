//! The built server as a child process.

#[cfg(test)]
mod stdio;
