//! The doors over real sockets and pipes, with a door of their own behind them; and the wires, against
//! our own doors, sockets that misbehave and child processes.

#[cfg(test)]
mod body;
#[cfg(test)]
mod bounds;
#[cfg(test)]
#[cfg(feature = "compression")]
mod compression;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod http_wire;
#[cfg(test)]
mod server;
#[cfg(test)]
mod sse_wire;
#[cfg(test)]
#[cfg(unix)]
mod stdio_wire;
#[cfg(test)]
mod support;
