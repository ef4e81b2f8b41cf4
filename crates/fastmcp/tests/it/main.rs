//! Whole paths over the in-memory transport and over sockets.

mod eras;
mod http;
mod stdio;
mod tools;
