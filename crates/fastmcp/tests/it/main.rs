//! Whole paths over the in-memory transport and over sockets.

#[cfg(test)]
mod ask;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod extension;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod http;
#[cfg(test)]
mod listen;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod stdio;
#[cfg(test)]
mod tools;
